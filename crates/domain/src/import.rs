//! What images may be imported from: addresses of the world, and what the operator allows beside them. The server asks when
//! an import is wished, and the agent again when it connects, because a name may lead elsewhere by then.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What the operator allows beside what is public.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRules {
    /// Networks that may be reached though they are internal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Folders on the agent's machine that files may be taken from, as absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
}

impl ImportRules {
    /// Whether this address may be connected to.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether a file may be taken, as far as its path tells: it lies below a root and does not climb. Links are for who
    /// opens it to look at.
    #[must_use]
    pub fn admit_file(&self, path: &str) -> bool {
        let climbs = path.split('/').any(|part| part == "..");
        let below = |root: &String| {
            let root = root.trim_end_matches('/');
            path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
        };
        path.starts_with('/') && !climbs && self.roots.iter().any(below)
    }
}

/// Addresses that begin alike, like `10.0.0.0/8`; one address is a network, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The network in a text.
    ///
    /// # Errors
    /// `invalid_field`, which says what would be right.
    pub fn parse(text: &str) -> Result<Network> {
        let wrong = || {
            Error::invalid("network", format!("'{text}' is no address and no network"))
                .hint("an address like 10.0.0.7, or a network like 10.0.0.0/8")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        Ok(Network { address, bits })
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, width: u32| {
            let rest = width - u32::from(self.bits);
            own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as Deserialize>::deserialize(d)?;
        Network::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether an address is one of the world: not of this machine, of a network beside it, or of none.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let of_protocols = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let of_benchmarks = a == 198 && (b == 18 || b == 19);
    let internal = address.is_private() || address.is_loopback() || address.is_link_local();
    // 0.0.0.0/8 is this machine, and from 224 on are groups and what is reserved.
    !(internal || a == 0 || a >= 224 || shared || of_protocols || of_benchmarks || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        // Translated by a gateway (RFC 6052), which reaches what it reaches.
        (0x64, 0xff9b) => [c, d, e, f] == [0; 4] && embedded(g, h),
        // Tunnels: 6to4 has an address in it, Teredo a veiled one.
        (0x2002, _) => embedded(b, c),
        (0x2001, 0) => false,
        // Documentation.
        (0x2001, 0x0db8) => false,
        // Everything that is given out to the world lies in 2000::/3.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_addresses_of_the_world_are_public() {
        let rules = ImportRules::default();
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!rules.admit(address(inside)), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2a00::1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert!(rules.admit(address(outside)), "{outside}");
        }
    }

    #[test]
    fn the_operator_lets_networks_through() {
        let network = |text: &str| Network::parse(text).expect("a network");
        let rules = ImportRules { networks: vec![network("10.1.0.0/16"), network("::1")], roots: Vec::new() };
        assert!(rules.admit(address("10.1.2.3")) && rules.admit(address("::ffff:10.1.2.3")));
        assert!(rules.admit(address("::1")));
        assert!(!rules.admit(address("10.2.0.1")) && !rules.admit(address("127.0.0.1")));
        assert!(network("0.0.0.0/0").contains(address("127.0.0.1")));
        assert!(!network("0.0.0.0/0").contains(address("::1")));
        assert!(network("::/0").contains(address("fe80::1")));
        for wrong in ["", "host", "10.0.0.0/33", "10.0.0.0/x", "10.0.0/8", "::/129"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
        let text = serde_json::to_string(&rules).expect("JSON");
        assert_eq!(serde_json::from_str::<ImportRules>(&text).expect("the same"), rules);
    }

    #[test]
    fn files_lie_below_a_root_and_do_not_climb() {
        let rules = ImportRules { networks: Vec::new(), roots: vec!["/srv/images".into(), "/media/".into()] };
        for right in ["/srv/images/a.raw", "/srv/images/b/c.raw", "/media/x", "/srv/images/..a"] {
            assert!(rules.admit_file(right), "{right}");
        }
        for wrong in ["/srv/images", "/srv/images2/a", "/srv/images/../secret", "srv/images/a", "/etc/passwd", ""] {
            assert!(!rules.admit_file(wrong), "{wrong}");
        }
        assert!(!ImportRules::default().admit_file("/srv/images/a.raw"));
    }
}
