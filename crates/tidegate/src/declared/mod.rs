//! A workspace's configuration as a document: read, compared with what is there, brought about, and written out again.

pub mod changes;
pub mod document;
pub mod kinds;
pub mod live;
