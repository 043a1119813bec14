//! The SQL of agents' state.

mod artifacts;
mod branches;
mod contents;
mod events;
mod kept_answers;
mod kept_turns;
mod purging;
mod sessions;
mod warm;
