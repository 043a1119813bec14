//! What a purge removes of agents' state.

use database::handle::Database;

#[derive(Clone, Copy)]
pub struct StatePurges<'a>(pub &'a Database);
