//! The keys of a workspace that was purged whole: once nothing is sealed under them, they are dropped, so that what is left
//! of sealed content anywhere opens no more.

use proof::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What became of the keys that sealed what was purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shredding {
    /// Those that the workspace had once every place was purged.
    pub keys: Vec<ShreddedKey>,
    pub since_unix_ms: u64,
    /// `None` as long as what remains is sealed under a new key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<ShreddingEnd>,
}

/// A key, as far as it may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShreddedKey {
    pub id: String,
    /// SHA-256 of the key as it was stored, wrapped by the master key: whoever finds a copy in a backup knows it by this.
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum ShreddingEnd {
    Shredded {
        unix_ms: u64,
    },
    /// A legal hold came before the keys were replaced.
    Held {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

impl ShreddingEnd {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Shredded { .. } => "shredded",
            Self::Held { .. } => "held",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why the keys still exist.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Shredded { .. } => None,
            Self::Held { reason } | Self::Failed { reason } => Some(reason),
        }
    }

    /// When they were dropped.
    pub const fn shredded_unix_ms(&self) -> Option<u64> {
        match self {
            Self::Shredded { unix_ms } => Some(*unix_ms),
            Self::Held { .. } | Self::Failed { .. } => None,
        }
    }
}

/// What shredding doesn't reach, on any database.
const BACKUPS: &str = "Backups made before hold these keys, wrapped by the master key of their time: whoever has both opens the content in them. Rotate the master key and destroy the old one, or the backups, to end that.";
/// PostgreSQL does not overwrite what it deletes.
const POSTGRES: &str = "PostgreSQL reuses the bytes of the deleted keys after its next vacuum, and its log goes with its archive; until then both hold them, wrapped by the master key.";
const LOG: &str = "A reader kept the write-ahead log from being emptied: it holds the deleted keys, wrapped by the master key, until that reader ends.";

impl Shredding {
    /// Of keys by their ids, as they are stored.
    pub fn of<'a>(keys: impl Iterator<Item = (&'a str, &'a [u8])>, since_unix_ms: u64) -> Self {
        let described = |(id, wrapped): (&str, &[u8])| ShreddedKey {
            id: id.to_owned(),
            fingerprint: Digest::of(&[wrapped]).to_string(),
        };
        Self { keys: keys.map(described).collect(), since_unix_ms, end: None }
    }

    pub fn names(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id == key_id)
    }

    pub const fn is_shredded(&self) -> bool {
        matches!(self.end, Some(ShreddingEnd::Shredded { .. }))
    }

    pub const fn is_failed(&self) -> bool {
        matches!(self.end, Some(ShreddingEnd::Failed { .. }))
    }

    /// The part of a receipt.
    pub(crate) fn line(&self, is_scrubbed: bool, is_sqlite: bool) -> Value {
        let evidence = self.is_shredded().then_some(
            "What remains was sealed again under a new key, nothing is sealed under these keys, and their rows were deleted. Gateways wipe them from memory ten minutes later, once requests that began before are over.",
        );
        let beyond: &[&str] = match (self.is_shredded(), is_sqlite, is_scrubbed) {
            (false, _, _) => &[],
            (true, false, _) => &[BACKUPS, POSTGRES],
            (true, true, false) => &[BACKUPS, LOG],
            (true, true, true) => &[BACKUPS],
        };
        json!({
            "status": self.end.as_ref().map(ShreddingEnd::as_str),
            "keys": self.keys,
            "shredded_at_unix_ms": self.end.as_ref().and_then(ShreddingEnd::shredded_unix_ms),
            "reason": self.end.as_ref().and_then(ShreddingEnd::reason),
            "evidence": evidence,
            "does_not_reach": beyond,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shredding(end: Option<ShreddingEnd>) -> Shredding {
        let keys = ["wk_1", "wk_2"].into_iter().map(|id| (id, id.as_bytes()));
        Shredding { end, ..Shredding::of(keys, 7) }
    }

    #[test]
    fn a_receipt_claims_no_more_than_was_done() {
        let reason = || "a hold".to_owned();
        for (end, is_sqlite, is_scrubbed, status, beyond) in [
            (ShreddingEnd::Shredded { unix_ms: 9 }, true, true, "shredded", vec![BACKUPS]),
            (ShreddingEnd::Shredded { unix_ms: 9 }, true, false, "shredded", vec![BACKUPS, LOG]),
            (ShreddingEnd::Shredded { unix_ms: 9 }, false, false, "shredded", vec![BACKUPS, POSTGRES]),
            (ShreddingEnd::Held { reason: reason() }, true, true, "held", vec![]),
            (ShreddingEnd::Failed { reason: reason() }, false, false, "failed", vec![]),
        ] {
            let is_shredded = status == "shredded";
            let line = shredding(Some(end)).line(is_scrubbed, is_sqlite);
            assert_eq!((&line["status"], &line["does_not_reach"]), (&json!(status), &json!(beyond)));
            assert_eq!(line["evidence"].is_string(), is_shredded, "{line}");
            assert_eq!(line["shredded_at_unix_ms"] == json!(9), is_shredded, "{line}");
            assert_eq!(line["reason"] == json!("a hold"), !is_shredded, "{line}");
        }
    }

    #[test]
    fn how_far_it_is_is_read_back_and_a_key_is_named_by_its_stored_form() {
        for end in [None, Some(ShreddingEnd::Shredded { unix_ms: 9 })] {
            let one = shredding(end);
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Shredding>(&text).unwrap(), one);
            assert!(one.names("wk_2") && !one.names("wk_3"));
            assert_eq!(one.keys[0].fingerprint, Digest::of(&[b"wk_1"]).to_string());
        }
    }
}
