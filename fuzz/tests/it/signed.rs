//! Fuzzes signed documents, such as receipts of purges, and proofs of the audit log.

use bolero::check;
use proof::SigningKey;
use proof::audit::Proof;
use proof::document::{read, sign, verify};
use serde_json::Value;

use crate::material::fuzz;

#[test]
fn fuzz_signed_document() {
    let key = SigningKey::from_seed(&[7; 32]).expect("a key");
    fuzz("signed_document", check!(), |bytes| {
        let Ok(document) = read(bytes) else { return false };
        let _ = verify(&document, None);
        let signed = sign(document, &key).expect("its numbers are whole");
        assert_eq!(verify(&signed, Some(key.public())), Ok(key.public()));
        let again = read(&serde_json::to_vec(&signed).expect("JSON")).expect("what is written is read");
        assert_eq!(again, signed);
        let mut changed = signed;
        changed.insert("more".to_owned(), Value::from(7_u64.wrapping_add(bytes.len() as u64)));
        assert!(changed == again || verify(&changed, None).is_err(), "a change is seen");
        true
    });
}

#[test]
fn fuzz_audit_proof() {
    fuzz("audit_proof", check!(), |bytes| {
        let Ok(mut proof) = serde_json::from_slice::<Proof>(bytes) else { return false };
        let _ = proof.verify(None);
        // Past the hashes, which no random change keeps.
        let mut hash = proof.anchor;
        for linked in &mut proof.entries {
            hash = linked.entry.link(&proof.chain, hash);
            linked.hash = hash;
        }
        let _ = (proof.verify(None), proof.hash_at(u64::MAX));
        true
    });
}
