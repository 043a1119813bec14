//! A hub's two checksums: SHA-256 of large files, and the git blob id of small ones.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The expected checksum of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// 64 hex digits.
    Sha256(String),
    /// 40 hex digits: SHA-1 of git's blob header and the content. It does not protect against tampering; TLS
    /// does.
    GitBlob(String),
}

/// A running checksum, and the SHA-256 besides.
pub(crate) struct ChecksumHasher {
    sha256: Context,
    blob: Option<Context>,
}

impl Checksum {
    /// Parses an ETag, ignoring its quotes and weakness mark.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            64 if is_hex => Some(Self::Sha256(text)),
            40 if is_hex => Some(Self::GitBlob(text)),
            _ => None,
        }
    }

    /// The hex digits.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::GitBlob(digits) => digits,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::GitBlob(digits) => write!(f, "git:{digits}"),
        }
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.split_once(':').and_then(|(_, digits)| Self::read(digits));
        digits.ok_or_else(|| serde::de::Error::custom("a checksum was expected"))
    }
}

impl ChecksumHasher {
    /// For a file of this size, which the git blob header contains.
    pub(crate) fn new(wanted: &Checksum, size: u64) -> Self {
        let blob = matches!(wanted, Checksum::GitBlob(_)).then(|| {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(format!("blob {size}\0").as_bytes());
            context
        });
        Self { sha256: Context::new(&SHA256), blob }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(blob) = &mut self.blob {
            blob.update(bytes);
        }
    }

    /// The checksum of the expected kind, and the SHA-256, which the manifest stores for every file.
    pub(crate) fn finish(self) -> (Checksum, String) {
        let sha256 = hex(self.sha256.finish().as_ref());
        let checksum = match self.blob {
            Some(blob) => Checksum::GitBlob(hex(blob.finish().as_ref())),
            None => Checksum::Sha256(sha256.clone()),
        };
        (checksum, sha256)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_computed() {
        let empty_blob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        let empty_sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (tag, found) in [
            (format!("\"{empty_blob}\""), Some(Checksum::GitBlob(empty_blob.into()))),
            (format!("W/\"{empty_sha}\""), Some(Checksum::Sha256(empty_sha.into()))),
            (empty_sha.to_uppercase(), Some(Checksum::Sha256(empty_sha.into()))),
            ("\"abc\"".into(), None),
            ("z".repeat(40), None),
        ] {
            assert_eq!(Checksum::read(&tag), found, "{tag}");
        }
        for wanted in [Checksum::GitBlob(empty_blob.into()), Checksum::Sha256(empty_sha.into())] {
            assert_eq!(ChecksumHasher::new(&wanted, 0).finish(), (wanted, empty_sha.to_owned()));
        }
        let mut running = ChecksumHasher::new(&Checksum::GitBlob(String::new()), 6);
        running.update(b"he");
        running.update(b"llo\n");
        // As `git hash-object` computes it.
        assert_eq!(running.finish().0.digits(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
