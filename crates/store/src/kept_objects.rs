//! Ownership of objects that providers store (files, batches, videos), by Tidegate's ids for them.

use database::handle::Database;
use domain::{ObjectOwner, StoredObject, StoredObjectId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObjectRow {
    pub id: StoredObjectId,
    pub owner: ObjectOwner,
    pub object: StoredObject,
}

#[derive(Clone, Copy)]
pub struct ProviderObjects<'a>(pub &'a Database);
