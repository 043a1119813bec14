//! Whether a peer's address is in a CIDR block.

use std::net::IpAddr;

use snapshot::IpNet;

/// An IPv4 peer of a dual-stack listener appears as an IPv4-mapped IPv6 address; both forms are the same
/// peer.
pub fn is_within(peer: IpAddr, block: &IpNet) -> bool {
    match (peer.to_canonical(), block.address.to_canonical()) {
        (IpAddr::V4(peer), IpAddr::V4(network)) => {
            // A block such as ::ffff:a.b.c.d/120 counts the 96 bits of the mapping too.
            let bits = if block.address.is_ipv6() {
                block.prefix_bits.saturating_sub(96)
            } else {
                block.prefix_bits
            };
            same_prefix(u128::from(peer.to_bits()), u128::from(network.to_bits()), bits, 32)
        }
        (IpAddr::V6(peer), IpAddr::V6(network)) => {
            same_prefix(peer.to_bits(), network.to_bits(), block.prefix_bits, 128)
        }
        _ => false,
    }
}

fn same_prefix(a: u128, b: u128, prefix_bits: u8, width: u8) -> bool {
    let shift = u32::from(width.saturating_sub(prefix_bits));
    // `None` is a shift by the full width: a prefix of zero bits, which matches everything.
    (a ^ b).checked_shr(shift).is_none_or(|rest| rest == 0)
}
