//! The text of a data file, and how its errors name their line.

use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::error::CatalogueError;

/// The `source` of a fact or price that was not looked up.
pub const UNVERIFIED: &str = "unverified";
/// The `source` of what an operator states without naming one.
pub const OPERATOR: &str = "operator";

/// A file's name and text, for line numbers in errors.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
    /// An overlay replaces what it names, and may omit a price's source.
    pub overlay: bool,
}

impl Source<'_> {
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, CatalogueError> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            self.wrong(span, "", error.message())
        })
    }

    pub fn wrong(self, span: Range<usize>, field: &str, message: &str) -> CatalogueError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = if span == (0..0) { 0 } else { before.bytes().filter(|byte| *byte == b'\n').count() + 1 };
        CatalogueError {
            file: self.file.to_owned(),
            line,
            field: field.to_owned(),
            message: message.to_owned(),
        }
    }
}

pub fn is_day(text: &str) -> bool {
    let mut parts = text.split('-');
    let lengths = [4, 2, 2];
    let well = lengths.into_iter().all(|length| {
        parts
            .next()
            .is_some_and(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    well && parts.next().is_none()
}

/// FNV-1a: identifies content in records; nothing relies on it being hard to forge.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
