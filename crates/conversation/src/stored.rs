//! What responses report about objects that providers store.

/// What a response reports about a stored object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredObjectReport {
    /// The provider's id.
    pub id: String,
    pub created_unix_ms: Option<u64>,
    pub expires_unix_ms: Option<u64>,
    /// The tokens of a cached prompt.
    pub tokens: Option<u64>,
    /// A file's purpose, or the status of a batch in customer storage.
    pub purpose: String,
    /// The provider's ids of the files that it names, besides itself.
    pub files: Vec<String>,
    /// The object for lists, with our ids and without the prompt.
    pub list_entry: String,
}
