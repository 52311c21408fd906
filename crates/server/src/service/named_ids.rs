//! Ids that follow from what they are the ids of, so that nothing has to be kept for them: UUIDs of version 5.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use domain::Uuid;

/// The id of what has this name within the namespace.
#[must_use]
pub fn named_id(namespace: Uuid, name: &[u8]) -> Uuid {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[namespace.as_bytes(), name].concat());
    let mut bytes = [0; 16];
    // RFC 9562: the first half and more of the hash.
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_standard() {
        let dns = Uuid::from_u128(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);
        assert_eq!(named_id(dns, b"www.example.com").to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    }
}
