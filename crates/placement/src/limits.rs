//! What is assumed of nodes that nothing was measured at, and bounds.

/// The time to the first token where no node was measured, in microseconds.
pub(crate) const USUAL_US: u64 = 300_000;
/// The longest time to a first token that is reckoned with.
pub(crate) const ALONE_US_MAX: u64 = 600_000_000;
/// How long a whole answer takes where that was not measured.
pub(crate) const USUAL_WHOLE_US: u64 = 5_000_000;
/// The tokens of an answer where only the time of one is known.
pub(crate) const USUAL_ANSWER_TOKENS: u64 = 250;
/// The longest time of a token that is reckoned with.
pub(crate) const TOKEN_US_MAX: u64 = 10_000_000;
/// What a request in its decode phase adds to the time to another one's first token, as a share of that time: one in so many.
pub(crate) const DECODE_SHARE: u64 = 8;
/// The least share of a prompt that is computed, however much of it is cached: one in so many.
pub(crate) const LEAST_FRESH_SHARE: u64 = 16;
/// How full a KV cache may be before new sequences push others out, in thousandths.
pub(crate) const KV_ROOM_PERMILLE: u64 = 850;
/// Loading an adapter that is not in the node's memory.
pub(crate) const ADAPTER_LOAD_US: u64 = 2_000_000;
/// Nodes whose expected times differ by less than one in so many count as equal.
pub(crate) const EQUAL_SHARE: u64 = 8;
/// The slots that a fingerprint may be in, and so the nodes that are remembered for it.
pub(crate) const SLOTS: usize = 8;
/// Fingerprints of one workspace's prompts that are remembered, each with a node: 256 KiB.
pub(crate) const BUCKETS: usize = 4_096;
/// Nodes with a part of a prompt that are told apart; of more, those with the longest.
pub(crate) const HOLDERS_MAX: usize = 32;
/// How long a node is taken to have a prefix in its cache after it was sent it.
pub(crate) const HELD_S: u64 = 20 * 60;
/// The bytes of a server's metrics that are read, and of one line of them.
pub const METRICS_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const LINE_BYTES_MAX: usize = 4 * 1024;
