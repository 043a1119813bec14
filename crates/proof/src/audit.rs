//! The audit's hash chain: each entry's hash covers the previous hash and the entry itself, and a signed head
//! states the chain's length. A changed, removed, reordered or inserted entry no longer fits.

use serde::{Deserialize, Serialize};

use crate::{Digest, PublicKey, Signature, SigningKey};

/// The chain of entries that belong to no workspace.
pub const INSTALLATION: &str = "installation";

/// One audit entry, as it is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its position in the chain, from 1.
    pub sequence: u64,
    pub id: String,
    pub unix_ms: u64,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub detail: String,
    pub request_id: Option<String>,
    /// Hashes of the object before and after, without its secrets.
    pub before: Option<Digest>,
    pub after: Option<Digest>,
}

impl Entry {
    /// The hash of the chain up to and including this entry: SHA-256 over the 32 bytes of the previous hash
    /// and a JSON array without spaces, which any language can reproduce.
    pub fn link(&self, chain: &str, previous: Digest) -> Digest {
        let fields = (
            "tidegate audit 1",
            chain,
            self.sequence,
            &self.id,
            self.unix_ms,
            &self.actor,
            &self.action,
            &self.target,
            &self.detail,
            &self.request_id,
            &self.before,
            &self.after,
        );
        // A tuple of strings and numbers always serialises.
        let text = serde_json::to_vec(&fields).unwrap_or_default();
        Digest::of(&[&previous.0, &text])
    }
}

/// An entry and the hash that is stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    #[serde(flatten)]
    pub entry: Entry,
    pub hash: Digest,
}

/// A chain's length and last hash, signed by its installation at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub chain: String,
    pub length: u64,
    pub hash: Digest,
    pub signed_unix_ms: u64,
    pub public_key: PublicKey,
    pub signature: Signature,
}

impl Head {
    pub fn sign(key: &SigningKey, chain: &str, length: u64, hash: Digest, unix_ms: u64) -> Self {
        let signature = key.sign(&Self::text(chain, length, hash, unix_ms));
        let (chain, public_key) = (chain.to_owned(), key.public());
        Self { chain, length, hash, signed_unix_ms: unix_ms, public_key, signature }
    }

    /// Whether the key inside signed it; whose key that is, is another question.
    pub fn is_signed(&self) -> bool {
        let text = Self::text(&self.chain, self.length, self.hash, self.signed_unix_ms);
        self.public_key.verify(&text, &self.signature)
    }

    fn text(chain: &str, length: u64, hash: Digest, unix_ms: u64) -> Vec<u8> {
        format!("tidegate audit head 1\n{chain}\n{length}\n{hash}\n{unix_ms}\n").into_bytes()
    }
}

/// Consecutive entries of a chain that can be verified offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub object: String,
    pub chain: String,
    /// The hash before the first entry: zeros at the chain's start.
    pub anchor: Digest,
    pub entries: Vec<Linked>,
    /// The head at the last entry.
    pub head: Head,
}

pub const OBJECT: &str = "audit_proof";

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("it isn't a proof of an audit, but \"{0}\"")]
    Object(String),
    #[error("entry {0} was changed: its hash is another one")]
    Changed(u64),
    #[error("entry {wanted} is missing: {found} comes in its place")]
    Order { wanted: u64, found: u64 },
    #[error("the first entry says that it begins the chain, but there is a hash before it")]
    Anchor,
    #[error("the entries end at {found}, and the signed head says {signed}")]
    End { found: u64, signed: u64 },
    #[error("the signed head is of another chain or another hash")]
    Head,
    #[error("the head was not signed by the key that it names")]
    Signature,
    #[error("it is signed by the key {found}, and the trusted one is {trusted}")]
    Key { found: String, trusted: String },
    #[error("it ends at entry {length}, and a head that was kept says that there were {kept}")]
    Cut { length: u64, kept: u64 },
    #[error("entry {0} is another one than it was when its head was kept")]
    Rewritten(u64),
    #[error("the head that was kept of entry {0} was not signed by the key that it names")]
    Kept(u64),
}

/// The result of a successful verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub first: u64,
    pub last: u64,
    pub head: Digest,
    pub key: PublicKey,
}

impl Proof {
    /// Recomputes every hash, and checks the signature with the trusted key or, without one, with the key
    /// inside.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(&self, trusted: Option<PublicKey>) -> Result<Verified, VerifyError> {
        if self.object != OBJECT {
            return Err(VerifyError::Object(self.object.clone()));
        }
        let first = self.entries.first().map_or(self.head.length, |linked| linked.entry.sequence);
        let (mut hash, mut last) = (self.anchor, first.saturating_sub(1));
        if first == 1 && self.anchor != Digest::ZERO {
            return Err(VerifyError::Anchor);
        }
        if self.entries.is_empty() {
            last = first;
        }
        for linked in &self.entries {
            let (wanted, found) = (last.saturating_add(1), linked.entry.sequence);
            if found != wanted || found == last {
                return Err(VerifyError::Order { wanted, found });
            }
            hash = linked.entry.link(&self.chain, hash);
            if hash != linked.hash {
                return Err(VerifyError::Changed(found));
            }
            last = found;
        }
        self.check_head(last, hash, trusted)?;
        Ok(Verified { first, last, head: hash, key: self.head.public_key })
    }

    /// The chain's hash at `place`, if these entries determine it.
    pub fn hash_at(&self, sequence: u64) -> Option<Digest> {
        let Some(first) = self.entries.first().map(|linked| linked.entry.sequence) else {
            return (sequence == self.head.length).then_some(self.head.hash);
        };
        if sequence.checked_add(1) == Some(first) {
            return Some(self.anchor);
        }
        let at = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.entries.get(at).map(|linked| linked.hash)
    }

    /// Checks a head that was stored elsewhere against this proof, which must itself hold; `false` if its
    /// position is outside of these entries.
    ///
    /// # Errors
    /// If they disagree, or the head was not signed by the installation that signed the proof.
    pub fn keeps(&self, kept: &Head) -> Result<bool, VerifyError> {
        let Some(hash) = self.hash_at(kept.length) else { return Ok(false) };
        if !kept.is_signed() {
            return Err(VerifyError::Kept(kept.length));
        }
        if kept.public_key != self.head.public_key {
            let (found, trusted) = (kept.public_key.fingerprint(), self.head.public_key.fingerprint());
            return Err(VerifyError::Key { found, trusted });
        }
        if hash == kept.hash && kept.chain == self.chain {
            Ok(true)
        } else {
            Err(VerifyError::Rewritten(kept.length))
        }
    }

    fn check_head(&self, last: u64, hash: Digest, trusted: Option<PublicKey>) -> Result<(), VerifyError> {
        let head = &self.head;
        if head.length != last {
            return Err(VerifyError::End { found: last, signed: head.length });
        }
        if head.hash != hash || head.chain != self.chain {
            return Err(VerifyError::Head);
        }
        if let Some(trusted) = trusted.filter(|trusted| *trusted != head.public_key) {
            let (found, trusted) = (head.public_key.fingerprint(), trusted.fingerprint());
            return Err(VerifyError::Key { found, trusted });
        }
        if head.is_signed() { Ok(()) } else { Err(VerifyError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> (Proof, SigningKey) {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let mut hash = Digest::ZERO;
        let entries: Vec<Linked> = (1..=5)
            .map(|sequence| {
                let entry = Entry {
                    sequence,
                    id: format!("aud_{sequence}"),
                    unix_ms: 1_000 + sequence,
                    actor: "key_1".into(),
                    action: "route.create".into(),
                    target: "rte_é\"\u{1}".into(),
                    detail: String::new(),
                    request_id: (sequence > 2).then(|| "trc_1".into()),
                    before: None,
                    after: Some(Digest::of(&[b"x"])),
                };
                hash = entry.link("ws_1", hash);
                Linked { entry, hash }
            })
            .collect();
        let head = Head::sign(&key, "ws_1", 5, hash, 9);
        let (object, chain) = (OBJECT.to_owned(), "ws_1".to_owned());
        (Proof { object, chain, anchor: Digest::ZERO, entries, head }, key)
    }

    #[test]
    fn an_untouched_chain_holds_and_reads_back() {
        let (proof, key) = proof();
        let text = serde_json::to_string(&proof).unwrap();
        let read: Proof = serde_json::from_str(&text).unwrap();
        assert_eq!(read, proof);
        let holds = read.verify(Some(key.public())).unwrap();
        assert_eq!((holds.first, holds.last), (1, 5));
    }

    #[test]
    fn a_later_stretch_holds_over_its_anchor() {
        let (mut proof, _) = proof();
        proof.anchor = proof.entries[1].hash;
        proof.entries.drain(..2);
        assert_eq!(proof.verify(None).unwrap().first, 3);
    }

    /// Whoever has the key and the database can forge a consistent chain; a head stored elsewhere exposes it.
    #[test]
    fn a_history_written_anew_is_found_by_a_head_that_was_kept() {
        let (proof, key) = proof();
        let kept = |length: usize| Head::sign(&key, "ws_1", length as u64, proof.entries[length - 1].hash, 5);
        assert_eq!((proof.keeps(&kept(3)), proof.keeps(&kept(5))), (Ok(true), Ok(true)));
        let mut rewritten = proof.clone();
        let mut hash = Digest::ZERO;
        for linked in &mut rewritten.entries {
            if linked.entry.sequence == 2 {
                linked.entry.actor = "key_2".into();
            }
            hash = linked.entry.link("ws_1", hash);
            linked.hash = hash;
        }
        rewritten.head = Head::sign(&key, "ws_1", 5, hash, 9);
        assert!(rewritten.verify(Some(key.public())).is_ok(), "it holds by itself");
        assert_eq!(rewritten.keeps(&kept(1)), Ok(true), "before the place nothing is another");
        assert_eq!(rewritten.keeps(&kept(3)), Err(VerifyError::Rewritten(3)));
        let mut later = proof.clone();
        later.anchor = later.entries[1].hash;
        later.entries.drain(..2);
        assert_eq!(
            (later.keeps(&kept(1)), later.keeps(&kept(2))),
            (Ok(false), Ok(true)),
            "its anchor counts"
        );
        let beyond = Head::sign(&key, "ws_1", 6, Digest::ZERO, 5);
        assert_eq!(proof.keeps(&beyond), Ok(false));
        let mut forged = kept(3);
        forged.hash = Digest::ZERO;
        assert_eq!(proof.keeps(&forged), Err(VerifyError::Kept(3)));
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        let theirs = Head::sign(&other, "ws_1", 3, proof.entries[2].hash, 5);
        assert!(matches!(proof.keeps(&theirs), Err(VerifyError::Key { .. })));
    }

    type Touch = fn(&mut Proof);

    #[test]
    fn whatever_is_touched_is_found() {
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        let cases: [(&str, Touch); 9] = [
            ("changed", |proof| proof.entries[2].entry.actor = "key_2".into()),
            ("changed", |proof| proof.entries[0].entry.after = None),
            ("missing", |proof| drop(proof.entries.remove(2))),
            ("missing", |proof| proof.entries.swap(1, 3)),
            ("missing", |proof| proof.entries.insert(3, proof.entries[2].clone())),
            ("end at", |proof| drop(proof.entries.pop())),
            ("changed", |proof| proof.anchor = Digest::of(&[b"y"])),
            ("not signed", |proof| proof.head.signed_unix_ms += 1),
            ("another chain", |proof| proof.head.chain = "ws_2".into()),
        ];
        for (why, touch) in cases {
            let (mut touched, _) = proof();
            touch(&mut touched);
            // The first entry's anchor is checked before anything is hashed.
            let found = touched.verify(None).unwrap_err();
            let message = found.to_string();
            assert!(message.contains(why) || found == VerifyError::Anchor, "{why}: {message}");
        }
        let (mut forged, key) = proof();
        forged.head = Head::sign(&other, "ws_1", 5, forged.head.hash, 9);
        assert!(forged.verify(None).is_ok(), "whose key it is, is told and not guessed");
        assert!(matches!(forged.verify(Some(key.public())), Err(VerifyError::Key { .. })));
    }
}
