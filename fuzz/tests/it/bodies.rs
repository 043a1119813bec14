//! Fuzzes the bodies of our own APIs: of `/v2`, of runs, and the cursors of lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::fixtures::{CursorSeal, read_body};
use bolero::check;
use domain::ports::KeyHash;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use run::fixtures::{has_state_fields, read_files};

use crate::material::fuzz;

struct Plain;

impl KeyHash for Plain {
    fn digest(&self, presented: &str) -> [u8; 32] {
        proof::Digest::of(&[b"key", presented.as_bytes()]).0
    }
}

#[test]
fn fuzz_api_body() {
    fuzz("api_body", check!(), |bytes| match read_body(bytes) {
        Ok(read) => {
            let again = read_body(read.to_string().as_bytes()).expect("what is written is read");
            assert_eq!(again.to_string(), read.to_string());
            true
        }
        Err(fault) => {
            assert!(fault.fix.is_some(), "{fault}");
            false
        }
    });
}

#[test]
fn fuzz_cursor() {
    let seal = CursorSeal::new(Arc::new(Plain), None, "/v2/keys", &BTreeMap::new());
    fuzz("cursor", check!(), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        assert_eq!(seal.read::<u64>(text), None, "nobody sealed it");
        let position = bytes.len() as u64;
        seal.read(&seal.write(&position.to_string())) == Some(position)
    });
}

fn json_headers() -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect()
}

#[test]
fn fuzz_file_body() {
    let headers = json_headers();
    fuzz("file_body", check!(), |bytes| {
        let (made, page) = read_files(&headers, bytes);
        for fault in [made.as_ref().err(), page.as_ref().err()].into_iter().flatten() {
            assert!(fault.fix.is_some(), "{fault}");
        }
        assert!(made.as_ref().is_ok_and(|made| *made > 0) || made.is_err());
        has_state_fields(bytes) && (made.is_ok() || page.is_ok())
    });
}

#[test]
fn fuzz_run_body() {
    let headers = json_headers();
    fuzz("run_body", check!(), |bytes| match runbody::read(&headers, bytes) {
        Ok(request) => {
            assert!(!request.app.is_empty());
            assert_eq!(json::validate(bytes), Ok(()));
            true
        }
        Err(fault) => {
            assert!(fault.fix.is_some(), "{fault}");
            false
        }
    });
}
