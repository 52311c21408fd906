//! The fixed lists of names as OpenAPI schemas, made from the domain's own lists so that they cannot differ.

use std::borrow::Cow;

use domain::backup::BackupKind;
use domain::channel::Event;
use domain::resource::{Registration, ResourceKind, ResourceStatus};
use domain::task::{Priority, ResultCode, State};
use domain::token::TokenKind;
use domain::{ActorKind, Role};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Declares a type that stands only in the OpenAPI document, for the names of a domain enum.
macro_rules! names {
    ($($schema:ident of $domain:ident: $about:literal;)+) => {
        $(
            #[doc = $about]
            #[derive(Debug)]
            pub enum $schema {}

            impl PartialSchema for $schema {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some($about))
                        .enum_values(Some($domain::NAMES.iter().copied()))
                        .into()
                }
            }

            impl ToSchema for $schema {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($schema))
                }
            }
        )+
    };
}

names! {
    TaskState of State: "Where a task is.";
    ActivityState of State: "Where an activity is; it is never `assigned`, unless it is its task's root.";
    ResultName of ResultCode: "How a task or activity ended.";
    PriorityName of Priority: "How urgent a task is.";
    RoleName of Role: "What a caller may do: `viewer` sees everything, `operator` also creates and cancels tasks, runs policies and restores, `admin` may do all; `issuer` only creates and cancels tasks, `consumer` only takes and reports on them.";
    ActorKindName of ActorKind: "What sort of credential is behind a call.";
    TokenKindName of TokenKind: "Whom a token stands for.";
    BackupKindName of BackupKind: "Whether a backup is the first of its archive; every backup restores alone.";
    ResourceKindName of ResourceKind: "What sort of thing is protected.";
    ResourceStatusName of ResourceStatus: "What is going on with a resource.";
    NotificationEventName of Event: "What a channel can tell of: `failure` of a task, a scheduled run that was `missed`, and `recovery`, a task that went well after the one before of its kind, policy and resource had not.";
    RegistrationName of Registration: "Where the registration of a resource is.";
}
