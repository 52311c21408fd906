//! The API of Yandex Cloud Backup and of the three services that its clients need beside it: names and numbers are the
//! vendor's, the `.proto` files are of our own writing. What is served and how is not said here.

use std::fmt;

use prost::Name;

use self::cloud::{backup, iam};

/// All files of the API with what they import and with what may stand in its `Any` fields, as an encoded
/// `google.protobuf.FileDescriptorSet`. It holds what the code does not: routes, the types in operations, the rules of
/// fields. Read it with something that keeps options; the messages of `prost-types` drop them.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/yandex.bin");

/// The vendor's packages, as deep as they are named.
#[path = "generated"]
pub mod cloud {
    /// Backups: machines, policies, archives.
    #[path = "."]
    pub mod backup {
        #[rustfmt::skip]
        #[path = "yandex.cloud.backup.v1.rs"]
        #[expect(clippy::allow_attributes, missing_docs, reason = "generated; most names say it all")]
        pub mod v1;
    }

    #[rustfmt::skip]
    #[path = "yandex.cloud.endpoint.rs"]
    #[expect(clippy::allow_attributes, reason = "generated")]
    pub mod endpoint;

    /// Tokens.
    #[path = "."]
    pub mod iam {
        #[rustfmt::skip]
        #[path = "yandex.cloud.iam.v1.rs"]
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1;
    }
    #[rustfmt::skip]
    #[path = "yandex.cloud.operation.rs"]
    #[expect(clippy::allow_attributes, clippy::module_inception, reason = "generated")]
    pub mod operation;
}

/// Tokens and what they are got with are for nobody's log: `Debug` shows the fields that are named here.
macro_rules! debug_without_secret {
    ($($message:ty: $($shown:ident)*;)*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(Self::NAME)$(.field(stringify!($shown), &self.$shown))*.finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_secret! {
    backup::v1::ActivateProviderRequest: folder_id name skip_default_policy;
    backup::v1::GetAgentInstallCommandResponse: ;
    backup::v1::GetInstanceRegistrationTokenResponse: expired_at;
    backup::v1::ListActivatedProvidersRequest: folder_id;
    iam::v1::CreateIamTokenRequest: identity;
    iam::v1::CreateIamTokenResponse: expires_at;
    iam::v1::RevokeIamTokenRequest: ;
}

impl fmt::Debug for iam::v1::create_iam_token_request::Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::YandexPassportOauthToken(_) => "YandexPassportOauthToken(..)",
            Self::Jwt(_) => "Jwt(..)",
        })
    }
}
