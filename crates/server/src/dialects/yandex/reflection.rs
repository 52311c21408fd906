//! Reflection, in both versions that clients ask for (Y48). It answers from descriptors that keep their options, so that
//! code generated from it is the same as from the vendor's files (Y3); libraries for this lose them.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use axum::Router;
use prost_reflect::{DescriptorPool, FileDescriptor};
use tonic_health::pb::health_server;
use tonic_reflection::pb::{v1, v1alpha};

use super::{Yandex, methods};

/// Everything that is described: the API, health, and reflection itself.
fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let mut pool = methods::pool().clone();
        for set in [tonic_health::pb::FILE_DESCRIPTOR_SET, v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET] {
            pool.decode_file_descriptor_set(set).expect("the libraries' descriptors are whole; a test reads them");
        }
        pool
    });
    &POOL
}

/// The full names of the services that are served.
pub(super) fn services(yandex: &Yandex) -> Vec<String> {
    let ours = methods::pool().services().map(|s| s.full_name().to_owned());
    let mut services: Vec<_> = ours.filter(|s| yandex.handlers.has_service(s)).collect();
    let beside = [
        health_server::SERVICE_NAME,
        v1::server_reflection_server::SERVICE_NAME,
        v1alpha::server_reflection_server::SERVICE_NAME,
    ];
    services.extend(beside.map(str::to_owned));
    services.sort_unstable();
    services
}

/// The file that declares a symbol: a service, a method, a message, a field, an enum, one of its values, an extension.
fn file_of(symbol: &str) -> Option<FileDescriptor> {
    let pool = pool();
    let symbol = symbol.trim_start_matches('.');
    let itself = pool
        .get_service_by_name(symbol)
        .map(|s| s.parent_file())
        .or_else(|| pool.get_message_by_name(symbol).map(|m| m.parent_file()))
        .or_else(|| pool.get_enum_by_name(symbol).map(|e| e.parent_file()))
        .or_else(|| pool.get_extension_by_name(symbol).map(|e| e.parent_file()));
    itself.or_else(|| {
        let (owner, name) = symbol.rsplit_once('.')?;
        let method = pool.get_service_by_name(owner).filter(|s| s.methods().any(|m| m.name() == name));
        let message = pool
            .get_message_by_name(owner)
            .filter(|m| m.get_field_by_name(name).is_some() || m.oneofs().any(|o| o.name() == name));
        // The names of an enum's values stand beside it.
        let value = || pool.all_enums().find(|e| beside(e.full_name()) == owner && e.get_value_by_name(name).is_some());
        method
            .map(|s| s.parent_file())
            .or_else(|| message.map(|m| m.parent_file()))
            .or_else(|| value().map(|e| e.parent_file()))
    })
}

fn beside(full_name: &str) -> &str {
    full_name.rsplit_once('.').map_or("", |(owner, _)| owner)
}

/// A file and everything that it imports, encoded, the file first.
fn with_imports(file: FileDescriptor) -> Vec<Vec<u8>> {
    let (mut files, mut seen) = (vec![file.clone()], HashSet::from([file.name().to_owned()]));
    let mut next = 0;
    while let Some(file) = files.get(next).cloned() {
        files.extend(file.dependencies().filter(|f| seen.insert(f.name().to_owned())));
        next += 1;
    }
    files.iter().map(FileDescriptor::encode_to_vec).collect()
}

/// The numbers of the extensions of a message.
fn extension_numbers(message: &str) -> Option<Vec<i32>> {
    let message = pool().get_message_by_name(message)?;
    Some(message.extensions().filter_map(|e| i32::try_from(e.number()).ok()).collect())
}

fn file_of_extension(message: &str, number: i32) -> Option<FileDescriptor> {
    let extension = pool().get_message_by_name(message)?.get_extension(u32::try_from(number).ok()?)?;
    Some(extension.parent_file())
}

pub(super) fn routes(yandex: &Arc<Yandex>) -> Router<Arc<Yandex>> {
    Router::new()
        .route_service(&format!("/{}/{{*method}}", v1::server_reflection_server::SERVICE_NAME), in_v1::service(yandex))
        .route_service(
            &format!("/{}/{{*method}}", v1alpha::server_reflection_server::SERVICE_NAME),
            in_v1alpha::service(yandex),
        )
}

/// One version: they differ in the name of their package only.
macro_rules! version {
    ($module:ident, $pb:ident) => {
        mod $module {
            use std::sync::Arc;

            use futures::stream::{BoxStream, StreamExt};
            use tonic::{Code, Request, Response, Status, Streaming};
            use tonic_reflection::pb::$pb::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$pb::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$pb::server_reflection_server::{ServerReflection, ServerReflectionServer};
            use tonic_reflection::pb::$pb::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
                ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
            };

            use super::{Yandex, extension_numbers, file_of, file_of_extension, pool, services, with_imports};

            pub(super) fn service(yandex: &Arc<Yandex>) -> ServerReflectionServer<Reflection> {
                ServerReflectionServer::new(Reflection { services: services(yandex).into() })
            }

            pub(super) struct Reflection {
                services: Arc<[String]>,
            }

            #[tonic::async_trait]
            impl ServerReflection for Reflection {
                type ServerReflectionInfoStream = BoxStream<'static, Result<ServerReflectionResponse, Status>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let services = self.services.clone();
                    let answers = request.into_inner().map(move |r| r.map(|r| answer(&services, r)));
                    Ok(Response::new(answers.boxed()))
                }
            }

            fn answer(services: &[String], request: ServerReflectionRequest) -> ServerReflectionResponse {
                let message_response = match &request.message_request {
                    Some(MessageRequest::ListServices(_)) => {
                        let service = services.iter().map(|name| ServiceResponse { name: name.clone() }).collect();
                        MessageResponse::ListServicesResponse(ListServiceResponse { service })
                    }
                    Some(MessageRequest::FileByFilename(name)) => files(pool().get_file_by_name(name)),
                    Some(MessageRequest::FileContainingSymbol(symbol)) => files(file_of(symbol)),
                    Some(MessageRequest::FileContainingExtension(wanted)) => {
                        files(file_of_extension(&wanted.containing_type, wanted.extension_number))
                    }
                    Some(MessageRequest::AllExtensionNumbersOfType(name)) => match extension_numbers(name) {
                        Some(extension_number) => {
                            MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                                base_type_name: name.clone(),
                                extension_number,
                            })
                        }
                        None => error(Code::NotFound, "there is no such message"),
                    },
                    None => error(Code::InvalidArgument, "nothing is asked for"),
                };
                ServerReflectionResponse {
                    valid_host: request.host.clone(),
                    original_request: Some(request),
                    message_response: Some(message_response),
                }
            }

            fn files(file: Option<prost_reflect::FileDescriptor>) -> MessageResponse {
                match file {
                    Some(file) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                        file_descriptor_proto: with_imports(file),
                    }),
                    None => error(Code::NotFound, "nothing of this name is declared"),
                }
            }

            fn error(code: Code, text: &str) -> MessageResponse {
                MessageResponse::ErrorResponse(ErrorResponse {
                    error_code: code as i32,
                    error_message: text.to_owned(),
                })
            }
        }
    };
}

version!(in_v1, v1);
version!(in_v1alpha, v1alpha);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_lead_to_their_files() {
        for (symbol, file) in [
            ("yandex.cloud.backup.v1.PolicyService", "yandex/cloud/backup/v1/policy_service.proto"),
            ("yandex.cloud.backup.v1.PolicyService.Apply", "yandex/cloud/backup/v1/policy_service.proto"),
            (".yandex.cloud.backup.v1.PolicySettings.Interval.Type", "yandex/cloud/backup/v1/policy.proto"),
            ("yandex.cloud.backup.v1.Policy.name", "yandex/cloud/backup/v1/policy.proto"),
            ("yandex.cloud.backup.v1.PolicySettings.Interval.SECONDS", "yandex/cloud/backup/v1/policy.proto"),
            ("yandex.cloud.required", "yandex/cloud/validation.proto"),
            ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
        ] {
            assert_eq!(file_of(symbol).map(|f| f.name().to_owned()).as_deref(), Some(file), "{symbol}");
        }
        assert!(file_of("yandex.cloud.backup.v1.Nothing").is_none());
        assert!(file_of("yandex.cloud.backup.v1.PolicyService.Nothing").is_none());
        let health = file_of(health_server::SERVICE_NAME).expect("described");
        assert!(file_of(v1::server_reflection_server::SERVICE_NAME).is_some() && health.services().len() == 1);
    }

    #[test]
    fn options_and_imports_are_there() {
        let file = file_of("yandex.cloud.backup.v1.PolicyService").expect("described");
        let files = with_imports(file);
        let mut read = DescriptorPool::new();
        for file in files.iter().rev() {
            // Out of order is fine for clients, which know all before they link.
            let _ = read.decode_file_descriptor_proto(file.as_slice());
        }
        let whole: Vec<u8> = files.concat();
        let route = b"/backup/v1/policies/{policy_id}:apply";
        assert!(whole.windows(route.len()).any(|w| w == route), "the routes are among the options");
    }

    #[test]
    fn extensions_are_found() {
        let numbers = extension_numbers("google.protobuf.FieldOptions").expect("a message");
        assert!(numbers.contains(&101_501) && numbers.contains(&101_511), "{numbers:?}");
        let file = file_of_extension("google.protobuf.MethodOptions", 72_295_728).expect("declared");
        assert_eq!(file.name(), "google/api/annotations.proto");
    }
}
