//! Hands files over to the server: one call each, beside the session, while the task's lease holds. What was cut off is begun
//! anew; the server keeps only what arrived as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use proto::agent::MAX_MESSAGE;
use proto::agent::v1::agent_link_client::AgentLinkClient;
use proto::agent::v1::{UploadBegin, UploadPart, Uploaded, upload_part::Part};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::link::causes;

/// So much goes with one message.
const PIECE: usize = 256 * 1024;
/// How many messages wait for the network.
const AHEAD: usize = 4;
/// How often it is tried while the server cannot be reached.
const TRIES: u32 = 6;
/// How long to wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The names of files on their way to the server begin with this.
const SPOOLED: &str = "backstay-handover-";

/// A way to the server.
#[derive(Clone)]
pub(crate) struct Handover {
    pub(crate) endpoint: Endpoint,
    pub(crate) authorization: MetadataValue<Ascii>,
}

/// Where the file of a task lies on its way.
pub(crate) fn spooled(folder: &Path, task: &str) -> PathBuf {
    folder.join(format!("{SPOOLED}{task}"))
}

/// Removes what an agent that was killed has left behind.
pub(crate) fn clean(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(SPOOLED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Handover {
    /// Hands the file over; the error is in words.
    pub(crate) async fn give(&self, task: i64, lease: &str, file: &Path) -> Result<(), String> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.try_once(task, lease, file).await {
                Ok(()) => return Ok(()),
                Err(Failure::Final(reason)) => return Err(reason),
                Err(Failure::Passing(reason)) if attempt == TRIES => return Err(reason),
                Err(Failure::Passing(reason)) => {
                    tracing::warn!(task, reason, "a file could not be handed over yet");
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_once(&self, task: i64, lease: &str, path: &Path) -> Result<(), Failure> {
        let mut file = File::open(path).await.map_err(|error| Failure::local(&error))?;
        let size = file.metadata().await.map_err(|error| Failure::local(&error))?.len();
        let channel = self.endpoint.connect().await.map_err(|error| Failure::Passing(causes(&error)))?;
        let mut client = AgentLinkClient::new(channel).max_encoding_message_size(MAX_MESSAGE);
        let (out, parts) = mpsc::channel(AHEAD);
        let mut request = Request::new(ReceiverStream::new(parts));
        request.metadata_mut().insert("authorization", self.authorization.clone());
        let begin = Part::Begin(UploadBegin { task, lease: lease.to_owned(), size });
        let send = async {
            let mut next = Some(begin);
            while let Some(part) = next {
                // The server has ended the call, and says why.
                if out.send(UploadPart { part: Some(part) }).await.is_err() {
                    break;
                }
                let mut piece = vec![0; PIECE];
                let count = file.read(&mut piece).await?;
                piece.truncate(count);
                next = (count > 0).then(|| Part::Data(Bytes::from(piece).into()));
            }
            drop(out);
            Ok::<_, std::io::Error>(())
        };
        let (sent, answer) = tokio::join!(send, client.upload(request));
        let Uploaded { size: arrived } = answer.map_err(Failure::from)?.into_inner();
        sent.map_err(|error| Failure::local(&error))?;
        if arrived == size { Ok(()) } else { Err(Failure::Passing("not all of the file has arrived".to_owned())) }
    }
}

enum Failure {
    /// It may go better another time.
    Passing(String),
    /// It will not.
    Final(String),
}

impl Failure {
    fn local(error: &std::io::Error) -> Failure {
        Failure::Final(format!("the file cannot be read: {error}"))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let message = status.message().to_owned();
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal => {
                Failure::Passing(if message.is_empty() { status.code().to_string() } else { message })
            }
            _ => Failure::Final(message),
        }
    }
}
