//! What each data plane was sent last, so that the next document has what changed since: digests in memory, and no more. Where they are
//! missing, such as after a restart, a document is whole.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use domain::DataPlaneId;
use proof::Digest;

use crate::limits::{SENT_DOCUMENTS_MAX, SENT_PLANES_MAX, SENT_ROWS_MAX};
use crate::rows::{Key, key_of};
use crate::tables::TABLES;
use crate::wire::{Rows, WireRow};

/// The rows of a document, by table and key.
#[derive(Debug, Default)]
pub(crate) struct SentDocument {
    nonce: String,
    rows: BTreeMap<(&'static str, Key), Digest>,
}

impl SentDocument {
    /// # Errors
    /// A row can't be written as JSON.
    pub(crate) fn of(nonce: &str, rows: &Rows) -> Result<Self, serde_json::Error> {
        let mut document = Self { nonce: nonce.to_owned(), rows: BTreeMap::new() };
        for table in TABLES {
            for row in rows.get(table.name).into_iter().flatten() {
                let digest = Digest::of(&[&serde_json::to_vec(row)?]);
                document.rows.insert((table.name, key_of(table, row)), digest);
            }
        }
        Ok(document)
    }

    /// Takes out a row that is not sent after all.
    pub(crate) fn leave_out(&mut self, table: &'static str, key: Key) {
        self.rows.remove(&(table, key));
    }

    /// Keeps the rows that a data plane with `base` does not have.
    pub(crate) fn keep_changed(&self, base: &Self, rows: &mut Rows) {
        for table in TABLES {
            let Some(rows) = rows.get_mut(table.name) else { continue };
            rows.retain(|row: &WireRow| {
                let key = (table.name, key_of(table, row));
                base.rows.get(&key) != self.rows.get(&key)
            });
        }
    }

    /// The keys that `base` has and this one has not, by table.
    pub(crate) fn gone_since(&self, base: &Self) -> BTreeMap<String, Vec<Key>> {
        let mut gone: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for place @ (table, key) in base.rows.keys() {
            if !self.rows.contains_key(place) {
                gone.entry((*table).to_owned()).or_default().push(key.clone());
            }
        }
        gone
    }
}

/// The last documents of each data plane: the one that it has, and one that may have been lost on the way.
#[derive(Debug, Default)]
pub struct SentRows(Mutex<BTreeMap<DataPlaneId, VecDeque<Arc<SentDocument>>>>);

impl SentRows {
    pub(crate) fn get(&self, id: DataPlaneId, nonce: &str) -> Option<Arc<SentDocument>> {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&id)?.iter().find(|document| document.nonce == nonce).map(Arc::clone)
    }

    pub(crate) fn keep(&self, id: DataPlaneId, document: SentDocument) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if document.rows.len() > SENT_ROWS_MAX {
            sent.remove(&id);
            return;
        }
        if !sent.contains_key(&id) && sent.len() >= SENT_PLANES_MAX {
            // Whichever goes is sent a whole document once.
            sent.pop_first();
        }
        let documents = sent.entry(id).or_default();
        documents.truncate(SENT_DOCUMENTS_MAX - 1);
        documents.push_front(Arc::new(document));
    }
}
