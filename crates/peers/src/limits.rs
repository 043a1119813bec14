//! What a node accepts from its peers and stores of them at most. Peers are authenticated, yet any of them may be broken or captured.

use std::time::Duration;

/// Members of all lists together.
pub const MEMBERS_MAX: usize = 256;
pub(crate) const NAME_BYTES_MAX: usize = 64;
pub(crate) const ADDRESSES_MAX: usize = 16;
/// Addresses of one key that announcements on the local network add to those of its list.
pub(crate) const ANNOUNCED_ADDRESSES_MAX: usize = 4;
/// How often a node announces itself on the local network, and how long others remember it.
pub(crate) const ANNOUNCE_EVERY: Duration = Duration::from_secs(20);
pub(crate) const ANNOUNCED_FOR: Duration = Duration::from_secs(60);
/// The shortest pause between two answers to questions who is there.
pub(crate) const ANSWERS_EVERY: Duration = Duration::from_secs(1);
/// A packet of multicast DNS (RFC 6762, 17).
pub(crate) const DATAGRAM_BYTES_MAX: usize = 9_000;
/// Own relays of a node.
pub const RELAYS_MAX: usize = 8;
/// Size of a file of members, and of a list that a gateway signs.
pub(crate) const LIST_BYTES_MAX: u64 = 1 << 20;
/// Models that are stored of one member.
pub(crate) const MODELS_MAX: usize = 256;

/// The head of a request or an answer: method or status, path and headers.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
pub(crate) const BODY_BYTES_MAX: usize = domain::limits::BODY_BYTES_MAX;
/// What is read of a peer's description of itself.
pub(crate) const STATE_BYTES_MAX: usize = 512 * 1024;
/// Requests of one peer that are answered at the same time; more wait at the sender.
pub(crate) const STREAMS_MAX: u32 = 256;
/// Connections that are open to this node at the same time, those in their handshake included.
pub(crate) const CONNECTIONS_MAX: usize = 2 * MEMBERS_MAX;
/// Bytes of a stream that are sent before its reader has taken them: flow control. The QUIC library closes a connection at 1,024 gaps in
/// a stream; a window this small can't hold that many lost packets of 1,200 bytes, however slow the reader is.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;

pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request must have arrived by then, and each piece of its body.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a peer may compute an answer that is not a stream, until its head arrives. Then another is tried.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// A peer describes itself within this time.
pub(crate) const STATE_TIMEOUT: Duration = Duration::from_secs(4);
/// A peer that is silent for so long is taken for gone.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(6);
pub(crate) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
/// How often peers are dialled and asked what they serve.
pub(crate) const STATE_EVERY: Duration = Duration::from_secs(2);
/// A description that is older is not acted upon.
pub(crate) const STATE_AGE_MAX: Duration = Duration::from_secs(20);

/// How long a liar is ejected.
pub(crate) const EJECTED_FOR: Duration = Duration::from_secs(60 * 60);
pub(crate) const EJECTED_MAX: usize = MEMBERS_MAX;

/// Bits of a sketch of cached prefixes; a sketch is sent with each description.
pub(crate) const SKETCH_BITS: u64 = 16 * 1024;
/// Blocks of prompts in a generation of the sketch: at this number one block in a hundred is a false hit.
pub(crate) const SKETCH_BLOCKS_MAX: usize = 1_500;
/// Bytes of a prompt to a block.
pub(crate) const PREFIX_BLOCK_BYTES: usize = 512;
/// Blocks of one prompt that are looked at.
pub(crate) const PREFIX_BLOCKS_MAX: usize = 256;

/// The size of a chunk. The last one of a file is shorter.
pub const CHUNK_BYTES: usize = 4 << 20;
/// So many bytes of a chunk arrive within `CHUNK_TIMEOUT`: a slow link is no failure, a peer that sends next to nothing is one.
pub(crate) const CHUNK_PACE_BYTES: usize = 256 * 1024;
/// Chunks and manifests that are in memory at the same time while peers take them, for all peers together; further ones wait.
pub(crate) const CHUNKS_SERVED_MAX: usize = 64;
pub(crate) const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const FILES_MAX: usize = 512;
pub(crate) const FILE_NAME_BYTES_MAX: usize = 200;
/// Size of all files of one shared folder.
pub(crate) const FOLDER_BYTES_MAX: u64 = 1 << 40;
pub(crate) const MANIFEST_BYTES_MAX: usize = 32 << 20;
/// A peer may hash a large model first.
pub(crate) const MANIFEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Chunks that are fetched from one peer at the same time.
pub(crate) const CHUNKS_AT_A_TIME: usize = 2;
/// Rounds of dialling peers again without a chunk in between, after which a fetch gives up and keeps what it has.
pub(crate) const FETCH_ROUNDS_MAX: u32 = 5;
pub(crate) const FETCH_PAUSE: Duration = Duration::from_millis(500);
/// Paths whose digests are kept: those of a node's models and registered adapters.
pub(crate) const DIGESTED_PATHS_MAX: usize = 1_024;
/// Disk space that a fetch must leave free.
pub(crate) const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Output tokens that leave no text: tags, ends of turns, bytes of a character that is not complete.
pub(crate) const HIDDEN_TOKENS_MAX: u64 = 64;
/// Prompt tokens that a chat template may add, beside a token for each byte of the request.
pub(crate) const TEMPLATE_TOKENS_MAX: u64 = 2_048;
/// The length of one line of a stream of events that is read for its usage.
pub(crate) const EVENT_BYTES_MAX: usize = 1 << 20;
/// The length of an answer in one piece that is read for its usage.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 << 20;
