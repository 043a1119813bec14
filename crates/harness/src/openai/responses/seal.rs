//! Seals encrypted reasoning content that clients hold: only the emulator that issued it can verify it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::openai::flavour::Flavour;

/// The prefix of OpenAI's own encrypted content.
const PREFIX: &str = "gAAAAAB";
const TAG_BYTES: usize = 32;

/// Seals with a random secret, so that content of another emulator is rejected.
pub(crate) struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    pub(crate) fn new() -> Self {
        // The standard library seeds each of these randomly; a test double needs no better secret.
        let secret: Vec<u8> =
            (0..4_u8).flat_map(|part| RandomState::new().hash_one(part).to_le_bytes()).collect();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret) }
    }

    /// The sealed content that a client gets instead of an item's reasoning.
    pub(crate) fn seal(&self, flavour: Flavour, item: &str) -> String {
        let tag = hmac::sign(&self.key, &sealed_bytes(flavour, item));
        format!("{PREFIX}{}", URL_SAFE.encode([tag.as_ref(), item.as_bytes()].concat()))
    }

    /// The sealed item, if this sealer issued it.
    pub(crate) fn open(&self, flavour: Flavour, sealed: &str) -> Option<String> {
        let bytes = URL_SAFE.decode(sealed.strip_prefix(PREFIX)?).ok()?;
        let (tag, item) = bytes.split_at_checked(TAG_BYTES)?;
        let item = std::str::from_utf8(item).ok()?;
        hmac::verify(&self.key, &sealed_bytes(flavour, item), tag).ok()?;
        Some(item.to_owned())
    }
}

/// A seal is valid for one vendor only.
fn sealed_bytes(flavour: Flavour, item: &str) -> Vec<u8> {
    format!("{} {item}", flavour.base()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_here_opens() {
        let sealer = Sealer::new();
        let sealed = sealer.seal(Flavour::OpenAi, "rs_1");
        assert_eq!(sealer.open(Flavour::OpenAi, &sealed).as_deref(), Some("rs_1"));
        assert_eq!(sealer.open(Flavour::Xai, &sealed), None);
        assert_eq!(Sealer::new().open(Flavour::OpenAi, &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(Flavour::OpenAi, std::str::from_utf8(&altered).unwrap()), None, "{at}");
        }
    }
}
