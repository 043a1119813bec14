//! A workspace's configuration as a document: read, compared with the live objects, applied, and exported.

pub mod changes;
pub mod document;
pub mod kinds;
pub mod live;
