//! What the fields of a request may contain on an account that several workspaces share. Each dialect has a
//! table of them.

/// What a field may contain.
#[derive(Debug, Clone, Copy)]
pub enum FieldRule {
    /// Anything: it never refers to a stored object.
    Plain,
    /// Only references to stored objects.
    Reference,
    /// A request for deferred completion, whose result is fetched later by an id.
    Deferral,
    /// A string, or a list of strings.
    Text(Text),
    /// An object with these fields, a list of such objects, or a string.
    Object(Text, &'static Fields),
    /// Items of a conversation, which may refer to stored items by id alone.
    Items(&'static Fields),
}

/// What a string in a field means.
#[derive(Debug, Clone, Copy)]
pub enum Text {
    Plain,
    Reference,
    /// A file id. The id of a file that this project uploaded was already replaced by the provider's.
    File,
    /// A URL to fetch.
    Address,
    /// Encoded bytes, or a URL to fetch them from.
    Bytes,
}

/// The fields of an object, by name.
#[derive(Debug)]
pub struct Fields(pub &'static [(&'static str, FieldRule)]);
