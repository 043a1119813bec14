//! What the operator states of providers in place of the built-in capability manifest, and every revision of the manifest
//! that was ever served.

use database::handle::Database;

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

#[derive(Clone, Copy)]
pub struct Capabilities<'a>(pub &'a Database);
