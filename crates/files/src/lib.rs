//! Files of projects: content of any size in object storage, sealed piece by piece, behind one port for every API that has
//! files ([0049](../../../docs/decisions/0049-files-in-object-storage.md)).

mod bucket;
mod content_type;
mod faults;
mod kept;
mod limits;
mod outbound;
mod sql;
mod store;
mod sweep;

pub use bucket::{BucketError, BucketKeys, BucketPlace, BucketSettings};
pub use content_type::ANY_TYPE;
pub use sql::{StoredFiles, stored};
pub use store::{FileLimits, FileSettings, Files};
