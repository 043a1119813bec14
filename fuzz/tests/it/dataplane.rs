//! Fuzzes what a control plane and its data planes send each other.

use bolero::check;
use dataplane::fixtures::{applied, count_secrets};
use dataplane::wire::{LeaseQuestion, Question, RecordBatch};
use proof::SigningKey;
use serde_json::Value;

use crate::material::fuzz;

#[test]
fn fuzz_data_plane_document() {
    let key = SigningKey::from_seed(&[1; 32]).expect("a key");
    fuzz("data_plane_document", check!(), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(written) = applied(text, &key) else { return false };
        assert_eq!(applied(&written, &key).ok().as_ref(), Some(&written), "what is written is applied alike");
        true
    });
}

#[test]
fn fuzz_data_plane_question() {
    fuzz("data_plane_question", check!(), |bytes| {
        if let Ok(batch) = serde_json::from_slice::<RecordBatch>(bytes) {
            return batch.batch().is_ok_and(|read| read.records.len() == batch.records.len());
        }
        match serde_json::from_slice::<LeaseQuestion>(bytes) {
            Ok(LeaseQuestion::Calls(calls)) => calls.iter().all(|call| call.call().is_ok()),
            Ok(_) => true,
            Err(_) => serde_json::from_slice::<Question>(bytes).is_ok(),
        }
    });
}

#[test]
fn fuzz_data_plane_secrets() {
    fuzz("data_plane_secrets", check!(), |bytes| {
        // Each has five fields of at least a byte.
        count_secrets(bytes).is_some_and(|count| {
            assert!(count * 5 < bytes.len().max(1));
            count > 0
        })
    });
}

#[test]
fn fuzz_problem() {
    // The shape in which every refusal of the API comes, which data planes and nodes read again.
    fuzz("problem", check!(), |bytes| {
        serde_json::from_slice::<Value>(bytes).is_ok_and(|read| read["code"].is_string())
    });
}
