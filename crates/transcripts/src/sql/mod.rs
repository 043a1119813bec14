//! The SQL of agents' state.

mod artifacts;
mod branches;
mod contents;
mod events;
mod purging;
mod sessions;
