//! Machines (section 12.1): list and read them, take them out, look around on them, and let new ones join.

use domain::query::{Clause, Direction, Filter, Order, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::resource::{Resource, ResourceKind};
use domain::task::{NotRun, kind};
use domain::token::Joins;
use domain::{Code, Error, Uuid};
use proto::yandex::cloud::backup::v1::list_directory_response::FilesystemItem;
use proto::yandex::cloud::backup::v1::list_directory_response::filesystem_item::Type;
use proto::yandex::cloud::backup::v1::resource_service_server::SERVICE_NAME;
use proto::yandex::cloud::backup::v1::{
    CreateDirectoryRequest, DeleteResourceRequest, GetInstanceRegistrationTokenRequest,
    GetInstanceRegistrationTokenResponse, GetResourceRequest, GetResourceResponse, ListDirectoryRequest,
    ListDirectoryResponse, ListResourceOperationsRequest, ListResourceOperationsResponse, ListResourcesRequest,
    ListResourcesResponse, ListTasksRequest, ListTasksResponse, ResourceType,
};
use proto::yandex::cloud::operation::Operation;

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use super::machine_map::{self, instance_id, stamp};
use super::operations::operation_message;
use super::pages::{self, DEFAULT_SIZE};
use super::task_map;
use crate::service::{DirectoryEntry, DirectoryKind, View};

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "List", list);
    handlers.on(SERVICE_NAME, "Get", get);
    handlers.on(SERVICE_NAME, "Delete", delete);
    handlers.on(SERVICE_NAME, "ListTasks", list_tasks);
    handlers.on(SERVICE_NAME, "ListDirectory", list_directory);
    handlers.on(SERVICE_NAME, "CreateDirectory", create_directory);
    handlers.on(SERVICE_NAME, "ListOperations", list_operations);
    handlers.on(SERVICE_NAME, "GetInstanceRegistrationToken", get_instance_registration_token);
}

async fn list(call: Call, request: ListResourcesRequest) -> Result<ListResourcesResponse, Failure> {
    let folder = call.folder(&request.folder_id).await?;
    let mut filter = Filter::all().is(RecordField::Tenant, Value::Uuid(folder.id))?;
    let (kinds, external) = match machine_map::of_type(request.r#type()) {
        Some((kind, external)) => (vec![kind], Some(external)),
        // Volumes, mailboxes and images are no machines (Y56).
        None => (vec![ResourceKind::ComputeVm, ResourceKind::BareMetal], None),
    };
    let kinds = kinds.into_iter().map(|k| Pattern::Is(Value::Text(k.name().to_owned()))).collect();
    filter = filter.and(RecordField::Kind, Test::AnyOf(kinds))?;
    if let Some(external) = external {
        filter = filter.is(RecordField::External, Value::Bool(external))?;
    }
    let order = Order::by(vec![(RecordField::CreatedAt, Direction::Asc)])?;
    let query = Query { filter, order, page: call.page(DEFAULT_SIZE)?, total: false };
    let found = call.service().resources(call.caller()?, &query).await?.items;
    let rows = found.iter().map(|view| machine_map::resource(view, false)).collect();
    let (resources, next_page_token) = call.cut(rows, DEFAULT_SIZE, |i| machine_map::place(&found[i].resource))?;
    Ok(ListResourcesResponse { resources, next_page_token })
}

async fn get(call: Call, request: GetResourceRequest) -> Result<GetResourceResponse, Failure> {
    let found = call.service().known_instance(call.caller()?, &request.compute_instance_id).await?;
    let view = call.service().resource_view(call.caller()?, found).await?;
    Ok(GetResourceResponse { resource: Some(machine_map::resource(&view, request.include_tenant_info)) })
}

async fn delete(call: Call, request: DeleteResourceRequest) -> Result<Operation, Failure> {
    let found = call.service().instance(call.caller()?, &request.compute_instance_id).await?;
    if Uuid::try_parse(&request.resource_id) != Ok(found.id) {
        return Err(Failure::not_found("resource", &request.resource_id));
    }
    call.check_level()?;
    let done = call.service().unregister(call.caller()?, found.id, call.idempotency.clone()).await?;
    Ok(operation_message(&call, &done))
}

async fn list_tasks(call: Call, request: ListTasksRequest) -> Result<ListTasksResponse, Failure> {
    let machine = call.service().known_instance(call.caller()?, &request.compute_instance_id).await?;
    let filter = Filter::all().and(TaskField::ResourceId, Test::AnyOf(vec![Pattern::IsUuid(machine.id)]))?;
    // Whoever carries live calls by tasks marks them so (Y58).
    let live = Test::AnyOf(vec![Pattern::Is(Value::Text("internal".to_owned()))]);
    // A run that is left out because the one before is not done is no task here (Y100).
    let skipped = Test::AnyOf(vec![Pattern::Is(Value::Text(NotRun::Skipped.name().to_owned()))]);
    let backup = Test::AnyOf(vec![Pattern::Is(Value::Text(kind::BACKUP.to_owned()))]);
    let skipped = vec![Clause::new(TaskField::Tag, skipped)?, Clause::new(TaskField::Type, backup)?];
    let filter = filter.and_none_of(vec![vec![Clause::new(TaskField::Tag, live)?], skipped]);
    let order = Order::by(vec![(TaskField::Id, Direction::Desc)])?;
    let query = Query { filter, order, page: call.page(DEFAULT_SIZE)?, total: false };
    let found = call.service().tasks(call.caller()?, &query, View::default()).await?.items;
    let name = instance_id(&machine);
    let rows = found.iter().map(|task| task_map::task(task, &name)).collect();
    let (tasks, next_page_token) = call.cut(rows, DEFAULT_SIZE, |i| task_map::place(&found[i]))?;
    Ok(ListTasksResponse { tasks, next_page_token })
}

async fn list_directory(call: Call, request: ListDirectoryRequest) -> Result<ListDirectoryResponse, Failure> {
    let machine = machine_in(&call, &request.folder_id, &request.compute_instance_id).await?;
    let found = call.service().list_directory(call.caller()?, machine.id, request.path).await;
    let mut items: Vec<_> = found.map_err(|e| about(e, &machine))?.into_iter().map(item).collect();
    // Directories first, then names in byte order (Y45).
    items.sort_by(|a, b| (a.r#type() == Type::File, &a.name).cmp(&(b.r#type() == Type::File, &b.name)));
    pages::whole(ListDirectoryResponse { items }, "ask for a directory below it")
}

async fn create_directory(call: Call, request: CreateDirectoryRequest) -> Result<Operation, Failure> {
    let machine = machine_in(&call, &request.folder_id, &request.compute_instance_id).await?;
    let (caller, key) = (call.caller()?, call.idempotency.clone());
    let done = call.service().create_directory(caller, machine.id, request.path, key).await;
    Ok(operation_message(&call, &done.map_err(|e| about(e, &machine))?))
}

async fn list_operations(
    call: Call,
    request: ListResourceOperationsRequest,
) -> Result<ListResourceOperationsResponse, Failure> {
    let machine = call.service().known_instance(call.caller()?, &request.compute_instance_id).await?;
    let filter = Filter::all().is(RecordField::Resource, Value::Uuid(machine.id))?;
    let order = Order::by(vec![(RecordField::CreatedAt, Direction::Desc)])?;
    let query = Query { filter, order, page: call.page(DEFAULT_SIZE)?, total: false };
    let found = call.service().operations(call.caller()?, &query).await?.items;
    let rows = found.iter().map(|view| operation_message(&call, view)).collect();
    let place = |i: usize| {
        let operation = &found[i].operation;
        domain::query::Key(vec![Some(Value::Time(operation.created_at)), Some(Value::Uuid(operation.id))])
    };
    let (operations, next_page_token) = call.cut(rows, DEFAULT_SIZE, place)?;
    Ok(ListResourceOperationsResponse { operations, next_page_token })
}

async fn get_instance_registration_token(
    call: Call,
    request: GetInstanceRegistrationTokenRequest,
) -> Result<GetInstanceRegistrationTokenResponse, Failure> {
    let folder = call.folder(&request.folder_id).await?;
    let joins = joins(request.r#type(), Vec::new());
    let (token, id) = call.service().registration_token(call.caller()?, folder.id, joins).await?;
    Ok(GetInstanceRegistrationTokenResponse { instance_registration_id: id, expired_at: token.expires_at.map(stamp) })
}

/// What machines of a type become when they join; without a type, their agents' findings decide.
pub(super) fn joins(kind: ResourceType, policies: Vec<Uuid>) -> Joins {
    match machine_map::of_type(kind) {
        Some((kind, external)) => Joins { kind: Some(kind), external, policies },
        None => Joins { kind: None, external: false, policies },
    }
}

/// The machine of a call that names its folder too; one of another folder is none (Y9).
async fn machine_in(call: &Call, folder: &str, instance: &str) -> Result<Resource, Failure> {
    let folder = call.folder(folder).await?;
    let machine = call.service().instance(call.caller()?, instance).await?;
    if machine.tenant != folder.id {
        return Err(Failure::not_found("instance", instance));
    }
    Ok(machine)
}

/// The failure of a live call. That a folder is not there says the machine; that it cannot be used is a matter of state.
fn about(error: Error, machine: &Resource) -> Failure {
    match error.code {
        Code::InvalidField => Failure::from(error),
        // More than fits into one answer (Y42).
        Code::BodyTooLarge => Failure::exhausted("response size", error.message),
        _ => Failure::from(error).about(instance_id(machine)),
    }
}

fn item(entry: DirectoryEntry) -> FilesystemItem {
    let (kind, file_type) = match entry.kind {
        DirectoryKind::Volume => (Type::Volume, Type::Directory),
        DirectoryKind::Directory => (Type::Directory, Type::Directory),
        DirectoryKind::File => (Type::File, Type::File),
    };
    let size = i64::try_from(entry.size).unwrap_or(i64::MAX).min((1 << 53) - 1);
    FilesystemItem { name: entry.name, r#type: kind as i32, file_type: file_type as i32, size }
}
