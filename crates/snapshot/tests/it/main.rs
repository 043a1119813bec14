//! Snapshots by hand, and the keeper over a source that is told what to say.

mod keeper;
mod lookups;
mod support;
