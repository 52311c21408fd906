//! The line that installs an agent on a machine (section 12.4, Y86).

use domain::{Code, Error, Uuid};
use proto::yandex::cloud::backup::v1::get_agent_install_command_request::AgentInstallCommandType as Kind;
use proto::yandex::cloud::backup::v1::setup_service_server::SERVICE_NAME;
use proto::yandex::cloud::backup::v1::{GetAgentInstallCommandRequest, GetAgentInstallCommandResponse, ResourceType};

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use super::resources::joins;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "GetAgentInstallCommand", get_agent_install_command);
}

async fn get_agent_install_command(
    call: Call,
    request: GetAgentInstallCommandRequest,
) -> Result<GetAgentInstallCommandResponse, Failure> {
    let folder = call.folder(&request.folder_id).await?;
    let mut policies = Vec::with_capacity(request.policy_ids.len());
    for id in &request.policy_ids {
        let policy = Uuid::try_parse(id).map_err(|_| Failure::not_found("policy", id))?;
        let fits = call.service().check_policy_for_machines(call.caller()?, folder.id, policy).await;
        fits.map_err(|e| Failure::from(e).about(id.as_str()))?;
        policies.push(policy);
    }
    let (kind, shell) = match request.r#type() {
        Kind::AgentInstallBashExternalVm => (ResourceType::ExternalVm, true),
        Kind::AgentInstallBashExternalServer => (ResourceType::ExternalServer, true),
        Kind::AgentInstallPowershellExternalVm => (ResourceType::ExternalVm, false),
        Kind::AgentInstallPowershellExternalServer => (ResourceType::ExternalServer, false),
        Kind::Unspecified => return Err(Failure::field("type", "Field is required")),
    };
    if !shell {
        let none = Error::new(Code::NoInstaller, "there is no agent for Windows yet");
        return Err(Failure::from(none).about(request.r#type().as_str_name()));
    }
    let command = call.service().install_command(call.caller()?, Some(folder.id), joins(kind, policies)).await?;
    Ok(GetAgentInstallCommandResponse { command })
}
