//! Classifies IP addresses for the guard: public, allowed by a setting, or never reachable.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    base: IpAddr,
    prefix: u8,
}

/// Why a string is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network; write one as 10.0.0.0/8")]
pub struct IpNetError(String);

domain::words! {
    /// The class of an address: whether it may be reached, and which setting decides.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AddressKind {
        Public = "a public address",
        Loopback = "a loopback address",
        /// RFC 1918, unique local, carrier-grade NAT: someone's internal network.
        Private = "a private address",
        /// The host's own link: cloud metadata lives here.
        LinkLocal = "a link-local address",
        /// A known address of a cloud's metadata service.
        Metadata = "a cloud metadata address",
        /// Multicast, unspecified, documentation, future use.
        Reserved = "a reserved address",
        /// An IPv4 address embedded in IPv6: mapped, compatible, NAT64, 6to4, Teredo.
        Embedded = "an IPv4 address inside an IPv6 one",
    }
}

const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Classifies an address.
pub fn kind(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = address.octets();
    if METADATA_V4.contains(&address) {
        return AddressKind::Metadata;
    }
    match (a, b, c) {
        (127, ..) => AddressKind::Loopback,
        (10, ..) | (192, 168, _) => AddressKind::Private,
        (172, 16..=31, _) | (100, 64..=127, _) => AddressKind::Private,
        (169, 254, _) => AddressKind::LinkLocal,
        (0 | 224..=255, ..) => AddressKind::Reserved,
        // IETF assignments, documentation, the 6to4 relay, benchmarks.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => {
            AddressKind::Reserved
        }
        _ => AddressKind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> AddressKind {
    if address.is_loopback() {
        return AddressKind::Loopback;
    }
    if address.is_unspecified() || address.is_multicast() {
        return AddressKind::Reserved;
    }
    if METADATA_V6.contains(&address) {
        return AddressKind::Metadata;
    }
    let [a, b, c, d, e, f, ..] = address.segments();
    match (a, b) {
        _ if (a, b, c, d, e) == (0, 0, 0, 0, 0) && (f == 0 || f == 0xffff) => AddressKind::Embedded,
        // The translated form ::ffff:0:a.b.c.d of RFC 2765.
        _ if (a, b, c, d, e, f) == (0, 0, 0, 0, 0xffff, 0) => AddressKind::Embedded,
        (0x64, 0xff9b) | (0x2002, _) | (0x2001, 0) => AddressKind::Embedded,
        (0xfe80..=0xfebf, _) => AddressKind::LinkLocal,
        (0xfec0..=0xfeff | 0xfc00..=0xfdff, _) => AddressKind::Private,
        // An ISATAP identifier carries IPv4 in its last 32 bits, whatever the prefix.
        _ if address.segments().get(4..6).is_some_and(|s| s == [0, 0x5efe] || s == [0x200, 0x5efe]) => {
            AddressKind::Embedded
        }
        // IETF assignments (2001::/23), documentation, the discard prefix, what is not global unicast.
        (0x2001, 1..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) | (0x100, _) => AddressKind::Reserved,
        (0x2000..=0x3fff, _) => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

impl IpNet {
    /// `None` if the prefix is longer than the address.
    pub fn new(base: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if base.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { base, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                u32::from(base) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                u128::from(base) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for IpNet {
    type Err = IpNetError;

    /// A single address is the network of itself.
    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let wrong = || IpNetError(text.to_owned());
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(whole), str::parse).map_err(|_| wrong())?;
        Self::new(base, prefix).ok_or_else(wrong)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_apart() {
        let cases = [
            ("1.1.1.1", AddressKind::Public),
            ("127.0.0.1", AddressKind::Loopback),
            ("127.255.3.9", AddressKind::Loopback),
            ("10.1.2.3", AddressKind::Private),
            ("172.15.0.1", AddressKind::Public),
            ("172.16.0.1", AddressKind::Private),
            ("172.31.255.255", AddressKind::Private),
            ("172.32.0.1", AddressKind::Public),
            ("192.168.0.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::Private),
            ("100.128.0.1", AddressKind::Public),
            ("100.100.100.200", AddressKind::Metadata),
            ("169.254.169.254", AddressKind::Metadata),
            ("169.254.1.1", AddressKind::LinkLocal),
            ("168.63.129.16", AddressKind::Metadata),
            ("0.0.0.0", AddressKind::Reserved),
            ("0.1.2.3", AddressKind::Reserved),
            ("224.0.0.1", AddressKind::Reserved),
            ("255.255.255.255", AddressKind::Reserved),
            ("198.18.0.1", AddressKind::Reserved),
            ("203.0.113.9", AddressKind::Reserved),
            ("::", AddressKind::Reserved),
            ("::1", AddressKind::Loopback),
            ("::7f00:1", AddressKind::Embedded),
            ("::ffff:127.0.0.1", AddressKind::Embedded),
            ("::ffff:8.8.8.8", AddressKind::Embedded),
            ("::ffff:0:127.0.0.1", AddressKind::Embedded),
            ("64:ff9b::7f00:1", AddressKind::Embedded),
            ("64:ff9b:1::7f00:1", AddressKind::Embedded),
            ("2002:7f00:1::", AddressKind::Embedded),
            ("2001:0:1::1", AddressKind::Embedded),
            ("2600:1:2:3:0:5efe:7f00:1", AddressKind::Embedded),
            ("fe80::1", AddressKind::LinkLocal),
            ("fec0::1", AddressKind::Private),
            ("fc00::1", AddressKind::Private),
            ("fd00:ec2::254", AddressKind::Metadata),
            ("fd12::1", AddressKind::Private),
            ("ff02::1", AddressKind::Reserved),
            ("2001:db8::1", AddressKind::Reserved),
            ("2606:4700::1111", AddressKind::Public),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn networks_hold_what_they_say() {
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        assert!(net.contains("10.255.0.1".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        assert!(!net.contains("::a00:1".parse().unwrap()));
        let all: IpNet = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        let one: IpNet = "fd00::5".parse().unwrap();
        assert!(one.contains("fd00::5".parse().unwrap()) && !one.contains("fd00::6".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "x/8", "", "10.0.0.0/-1"] {
            assert!(wrong.parse::<IpNet>().is_err(), "{wrong}");
        }
    }
}
