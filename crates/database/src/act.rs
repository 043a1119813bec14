//! The actor and time of a change: passed to every mutating method and recorded in the audit with the change.

use domain::{AuditId, TraceId};
use world::World;

use crate::premise::Premise;

/// One act of a person, a key or the system. The audit entry is written in the same transaction as the
/// change, under this act's id. An act covers exactly one change, so it can't be cloned.
#[derive(Debug, PartialEq, Eq)]
pub struct Act {
    pub id: AuditId,
    /// The id of a key or member, or `system`.
    pub actor: String,
    pub trace: Option<TraceId>,
    pub unix_ms: u64,
    /// What the change was checked against; it is refused as `rules_changed` if that is no longer so.
    pub premise: Option<Premise>,
}

impl Act {
    pub fn new(world: &World, actor: impl Into<String>, trace: Option<TraceId>) -> Self {
        let unix_ms = world.clock.unix_ms();
        Self {
            id: AuditId::new(unix_ms, world.id_bytes()),
            actor: actor.into(),
            trace,
            unix_ms,
            premise: None,
        }
    }

    /// The same act, for a change that was checked.
    pub fn on(self, premise: Option<Premise>) -> Self {
        Self { premise, ..self }
    }

    pub fn system(world: &World) -> Self {
        Self::new(world, "system", None)
    }
}

/// The result of a change, and the configuration version that contains it: what read-your-writes waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    pub version: u64,
    pub row: T,
}
