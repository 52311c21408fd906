//! A file that an agent hands over: checked against the task's lease when it begins, durable when it is answered.

use std::time::Duration;

use domain::Code;
use domain::task::{LeaseToken, TaskId};
use proto::agent::v1::{UploadBegin, UploadPart, Uploaded, upload_part::Part};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::wire;
use crate::authority::ClientCertificate;
use crate::service::Service;

/// How long the agent may be silent within a file.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn receive(
    service: &Service,
    credentials: (&str, Option<ClientCertificate>),
    mut parts: Streaming<UploadPart>,
) -> Result<Uploaded, Status> {
    let Some(Part::Begin(UploadBegin { task, lease, size })) = next(&mut parts).await? else {
        return Err(Status::invalid_argument("an agent says first what it hands over"));
    };
    let mut incoming =
        service.begin_upload(credentials, TaskId(task), LeaseToken(lease), size).await.map_err(|e| status(&e))?;
    while let Some(part) = next(&mut parts).await? {
        let Part::Data(data) = part else {
            return Err(Status::invalid_argument("an agent says once what it hands over"));
        };
        incoming.write(&data).await.map_err(|e| status(&e))?;
    }
    incoming.finish().await.map(|size| Uploaded { size }).map_err(|e| status(&e))
}

async fn next(parts: &mut Streaming<UploadPart>) -> Result<Option<Part>, Status> {
    let silent = |_| Status::deadline_exceeded("the agent was silent for too long");
    let message = timeout(SILENCE, parts.message()).await.map_err(silent)??;
    Ok(message.and_then(|message| message.part))
}

/// What will not pass by itself ends the task, so that somebody learns of it.
fn status(error: &domain::Error) -> Status {
    match error.code {
        Code::StorageFull => Status::resource_exhausted(error.message.clone()),
        Code::LeaseLost | Code::Disabled => Status::failed_precondition(error.message.clone()),
        _ => wire::status(error),
    }
}
