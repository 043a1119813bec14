//! What the operator states of providers in place of the built-in capability manifest, and every revision of the manifest
//! that was ever served.

use database::act::{Act, Written};
use database::error::StoreFuture;

/// What is stated of a provider. Its facts are text that the catalogue writes and reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityStatement {
    /// The canonical slug.
    pub provider: String,
    pub facts: String,
    /// The day that the revision is named by.
    pub day: String,
    pub stated_unix_ms: u64,
    /// A key, a person or `system`.
    pub stated_by: String,
    /// Ignored on writing.
    pub version: u64,
}

/// A change of what is stated of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementChange {
    pub provider: String,
    /// `None` takes back what was stated.
    pub facts: Option<String>,
    pub day: String,
    /// What the audit calls it: `state` or `restore`.
    pub verb: &'static str,
    /// What the audit says of it.
    pub detail: String,
}

/// A revision of the manifest of one provider or, where that is empty, of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityRevision {
    pub provider: String,
    pub revision: String,
    /// The JSON that was served: the facts, or for all providers the revision of each.
    pub content: String,
    pub facts: Option<String>,
    pub day: String,
    pub served_unix_ms: u64,
    pub served_by: String,
}

/// The revisions that are served with these statements, whoever writes at the same time.
pub type RevisionsOf = Box<dyn FnOnce(&[CapabilityStatement]) -> Vec<CapabilityRevision> + Send + Sync>;

pub trait Capabilities: Send + Sync {
    /// `None` if nothing is stated of the provider.
    fn statement<'a>(&'a self, provider: &'a str) -> StoreFuture<'a, Option<CapabilityStatement>>;
    /// Changes what is stated of a provider, and keeps the revisions that it makes. Refused unless the statement is at the
    /// expected version, which is 0 where nothing is stated.
    fn change(
        &self,
        change: StatementChange,
        revisions: RevisionsOf,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<Option<CapabilityStatement>>>;
    /// Keeps the revisions that are served; those that are known stay as they were first kept.
    fn keep(&self, revisions: Vec<CapabilityRevision>) -> StoreFuture<'_, ()>;
    /// A revision by its id.
    fn revision<'a>(&'a self, provider: &'a str, revision: &'a str) -> StoreFuture<'a, CapabilityRevision>;
    /// The latest revisions of a provider, newest first.
    fn revisions<'a>(&'a self, provider: &'a str, most: u32) -> StoreFuture<'a, Vec<CapabilityRevision>>;
}
