//! Rendezvous hashing: each key has an order of the nodes that changes only where nodes come and go.

/// How a node ranks for a key: the lowest comes first. Each node is first for an even share of the keys, and one that goes
/// leaves its keys to all others.
pub const fn rendezvous(key: u64, node: u64) -> u64 {
    mix(key ^ mix(node))
}

/// One step of SplitMix64: derives further draws from one random number.
pub const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
