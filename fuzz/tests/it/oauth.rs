//! Fuzzes what clients without a session send to register.

use bolero::check;
use domain::ports::KeyHash;
use oauth::fixtures::{is_client, registered};

use crate::material::fuzz;

struct Plain;

impl KeyHash for Plain {
    fn digest(&self, presented: &str) -> [u8; 32] {
        proof::Digest::of(&[b"key", presented.as_bytes()]).0
    }
}

#[test]
fn fuzz_oauth_client() {
    fuzz("oauth_client", check!(), |bytes| {
        assert!(!std::str::from_utf8(bytes).is_ok_and(|id| is_client(&Plain, id)), "nobody sealed it");
        let Some((redirects, is_known)) = registered(&Plain, bytes) else { return false };
        assert!(is_known && (1..=5).contains(&redirects.len()));
        assert!(redirects.iter().all(|redirect| !redirect.starts_with("javascript:")));
        true
    });
}
