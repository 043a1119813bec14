//! Blocks of addresses.

use super::words;

pub(super) fn parse_networks(text: &str) -> Option<Vec<egress::IpNet>> {
    words(text).map(parse_network).collect()
}

pub(super) fn parse_blocks(text: &str) -> Option<Vec<snapshot::IpNet>> {
    let block = |(address, prefix_bits)| snapshot::IpNet { address, prefix_bits };
    words(text).map(|word| read_block(word).map(block)).collect()
}

/// Parses `10.0.0.0/8` or a single address.
fn parse_network(block: &str) -> Option<egress::IpNet> {
    let (address, prefix_bits) = read_block(block)?;
    egress::IpNet::new(address, prefix_bits)
}

fn read_block(block: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, bits) = block.split_once('/').map_or((block, None), |(a, b)| (a, Some(b)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match bits {
        None => bits_max,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max)?,
    };
    Some((address, prefix_bits))
}
