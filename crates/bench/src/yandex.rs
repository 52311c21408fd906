//! Lists of the Yandex dialect, by gRPC and by REST: how they are asked for, and which rows an answer has.

use anyhow::Result;
use domain::Uuid;
use prost::Message as _;
use proto::yandex::cloud::backup::v1::resource_service_client::ResourceServiceClient;
use proto::yandex::cloud::backup::v1::{
    ListResourcesRequest, ListResourcesResponse, ListTasksRequest, ListTasksResponse,
};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

/// A list, from its beginning.
#[derive(Debug, Clone)]
pub(crate) enum Listing {
    /// The tasks of the machine with this id.
    Tasks { machine: String, size: u16 },
    /// The machines of a folder.
    Machines { folder: Uuid, size: u16 },
}

impl Listing {
    /// The address in REST.
    pub(crate) fn rest(&self) -> String {
        match self {
            Listing::Tasks { machine, size } => format!("/backup/v1/resources/{machine}/tasks?pageSize={size}"),
            Listing::Machines { folder, size } => format!("/backup/v1/resources?folderId={folder}&pageSize={size}"),
        }
    }

    /// The message of gRPC.
    pub(crate) fn grpc(&self) -> Asked {
        let page_token = String::new();
        match self {
            Listing::Tasks { machine, size } => Asked::Tasks(ListTasksRequest {
                compute_instance_id: machine.clone(),
                page_size: (*size).into(),
                page_token,
            }),
            Listing::Machines { folder, size } => Asked::Machines(ListResourcesRequest {
                folder_id: folder.to_string(),
                page_size: (*size).into(),
                page_token,
                ..Default::default()
            }),
        }
    }
}

/// A request by gRPC.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Tasks(ListTasksRequest),
    Machines(ListResourcesRequest),
}

impl Asked {
    /// The same for the page behind this token.
    pub(crate) fn page(&self, token: &str) -> Asked {
        let mut next = self.clone();
        match &mut next {
            Asked::Tasks(request) => token.clone_into(&mut request.page_token),
            Asked::Machines(request) => token.clone_into(&mut request.page_token),
        }
        next
    }
}

/// An answer by gRPC.
#[derive(Debug)]
pub(crate) enum Answered {
    Tasks(ListTasksResponse),
    Machines(ListResourcesResponse),
}

impl Answered {
    /// How many bytes its message has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Answered::Tasks(answer) => answer.encoded_len(),
            Answered::Machines(answer) => answer.encoded_len(),
        }
    }

    /// The ids of what is listed, in the words of the native API.
    pub(crate) fn rows(&self) -> Vec<String> {
        match self {
            Answered::Tasks(answer) => answer.tasks.iter().map(|task| task.id.to_string()).collect(),
            Answered::Machines(answer) => answer.resources.iter().map(|machine| machine.resource_id.clone()).collect(),
        }
    }

    /// The token of the next page.
    pub(crate) fn next(&self) -> Option<&str> {
        let token = match self {
            Answered::Tasks(answer) => &answer.next_page_token,
            Answered::Machines(answer) => &answer.next_page_token,
        };
        Some(token.as_str()).filter(|token| !token.is_empty())
    }
}

/// A client by gRPC: one connection for all callers, as such clients have.
#[derive(Debug, Clone)]
pub(crate) struct Grpc(ResourceServiceClient<Channel>);

impl Grpc {
    /// A client of the server at this address. It connects when it asks.
    pub(crate) fn new(base: &str, patience: std::time::Duration) -> Result<Grpc> {
        let channel = Endpoint::from_shared(base.to_owned())?.timeout(patience).tcp_nodelay(true).connect_lazy();
        Ok(Grpc(ResourceServiceClient::new(channel)))
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&self, token: &HeaderValue, asked: &Asked) -> Result<Answered> {
        let mut client = self.0.clone();
        Ok(match asked {
            Asked::Tasks(request) => {
                Answered::Tasks(client.list_tasks(with(token, request.clone())?).await?.into_inner())
            }
            Asked::Machines(request) => {
                Answered::Machines(client.list(with(token, request.clone())?).await?.into_inner())
            }
        })
    }
}

fn with<M>(token: &HeaderValue, message: M) -> Result<tonic::Request<M>> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(AUTHORIZATION.as_str(), MetadataValue::try_from(token.as_bytes())?);
    Ok(request)
}
