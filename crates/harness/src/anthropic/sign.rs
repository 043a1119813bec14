//! Signs the emulator's thinking blocks, to detect altered and foreign ones when they are sent back.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Shared by all emulators, as all of a provider's servers share theirs.
const SECRET: &[u8] = b"the emulator's thinking";
const DIGEST_BYTES: usize = 32;
const HEAD_BYTES: usize = 8 + 1 + 1 + DIGEST_BYTES;

/// The content of a signature: identifies one thinking block of a response, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The response's number.
    pub(crate) answer: u64,
    pub(crate) index: u8,
    /// The number of thinking blocks in the response.
    pub(crate) count: u8,
    text: [u8; DIGEST_BYTES],
}

impl Seal {
    pub(crate) fn new(answer: u64, index: u8, count: u8, text: &str) -> Self {
        Self { answer, index, count, text: digest_of(text) }
    }

    /// The seal as encoded in a response.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + DIGEST_BYTES);
        bytes.extend(self.answer.to_be_bytes());
        bytes.extend([self.index, self.count]);
        bytes.extend(self.text);
        let tag = hmac::sign(&key(), &bytes);
        bytes.extend(tag.as_ref());
        STANDARD.encode(bytes)
    }

    /// Decodes a seal; `None` if the emulator did not issue it.
    pub(crate) fn read(written: &str) -> Option<Self> {
        let bytes = STANDARD.decode(written).ok()?;
        let (head, tag) = bytes.split_at_checked(HEAD_BYTES)?;
        hmac::verify(&key(), head, tag).ok()?;
        let (answer, rest) = head.split_first_chunk::<8>()?;
        let (index, rest) = rest.split_first()?;
        let (count, rest) = rest.split_first()?;
        let text = rest.try_into().ok()?;
        Some(Self { answer: u64::from_be_bytes(*answer), index: *index, count: *count, text })
    }

    pub(crate) fn vouches_for(&self, text: &str) -> bool {
        self.text == digest_of(text)
    }
}

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, SECRET)
}

fn digest_of(text: &str) -> [u8; DIGEST_BYTES] {
    let found = digest::digest(&digest::SHA256, text.as_bytes());
    let mut bytes = [0; DIGEST_BYTES];
    bytes.iter_mut().zip(found.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_whole_or_not_at_all() {
        let seal = Seal::new(7, 0, 2, "hm");
        let encoded = seal.encode();
        assert_eq!(Seal::read(&encoded), Some(seal));
        assert!(seal.vouches_for("hm") && !seal.vouches_for("hmm"));
        for at in 0..encoded.len() {
            let mut altered = encoded.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(Seal::read(&altered), None, "{at}");
        }
        for foreign in ["", "x", "AAAA", &encoded[4..], "ErUBCkYIBRgCIkA="] {
            assert_eq!(Seal::read(foreign), None, "{foreign}");
        }
    }
}
