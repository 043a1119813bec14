//! What is passed on from a runtime, beside the limits in `domain::limits`.

use std::time::Duration;

/// Events of a training job on one page, like the rows of other pages.
pub(crate) const TRAINING_EVENTS_MAX: u32 = 1_000;
/// The part of a runtime's message that is passed on: it may quote many lines of a file.
pub(crate) const RUNTIME_MESSAGE_CHARS_MAX: usize = 8_192;
/// Words that a data plane says of itself.
pub(crate) const PROGRAM_BYTES_MAX: usize = 64;
/// The ends of two chains, as a data plane repeats them.
pub(crate) const HISTORY_BYTES_MAX: usize = 256;
/// Budgets that a data plane asks about in one call.
pub(crate) const LEASES_AT_ONCE_MAX: usize = 10_000;
/// How often the credentials of tunnels are looked up whose nodes get no requests.
pub(crate) const TUNNELS_CHECKED_EVERY: Duration = Duration::from_millis(500);
/// How long nodes admit each other by a list that the gateway has signed: so long a mesh works without it.
pub(crate) const PEER_LIST_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Nodes of one workspace in a mesh.
pub(crate) const PEER_LIST_MEMBERS_MAX: usize = 128;
/// Models that the list names of a node; nodes ask each other for all.
pub(crate) const PEER_LIST_MODELS_MAX: usize = 4;
/// Addresses of a node in a mesh, and peers that it reports as ejected, with texts of at most so many bytes.
pub(crate) const MESH_ADDRESSES_MAX: usize = 4;
pub(crate) const MESH_EJECTED_MAX: usize = 32;
pub(crate) const MESH_TEXT_BYTES_MAX: usize = 256;
