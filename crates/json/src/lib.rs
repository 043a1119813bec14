//! A strict JSON scanner that validates everything and builds nothing: values are returned as spans of the
//! input. Beside it, what reads fields with faults that name them, and what edits a body by spans.
//!
//! Strict means RFC 8259 and UTF-8 throughout, no lone surrogate in an escape, and the depth and key limits
//! of `domain::limits`. Its state is a position and one bit per open bracket, so no input makes it allocate
//! or recurse.

mod canonical;
mod cursor;
pub mod cuts;
pub mod fields;
pub mod members;
pub mod refusal;
pub mod splice;
mod text;
pub mod written;

pub use canonical::canonical;
pub use cursor::{Cursor, Kind, Member, Value, plain_end};
pub use text::{Text, plain_json};

/// A range of the input's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    #[inline]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    #[inline]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the span; empty where it is out of range.
    #[inline]
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// Why the input is refused, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    pub fault: JsonFault,
    pub at: usize,
}

/// What is wrong with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    Utf8,
    /// The input ends inside a value.
    Truncated,
    /// An unexpected byte; this was expected.
    Syntax(Expected),
    /// A raw control character in a string, NUL included.
    Control,
    /// An escape names half of a surrogate pair.
    Surrogate,
    /// More than `JSON_DEPTH_MAX` brackets are open.
    Depth,
    /// More than `JSON_KEYS_MAX` members.
    Keys,
}

domain::words! {
    /// What was expected at a byte. An enum of one byte, not a string, since every step of the scanner returns
    /// it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Expected {
        Value = "a value",
        Null = "null",
        True = "true",
        False = "false",
        Object = "an object",
        Array = "an array",
        Name = "a member's name",
        Colon = "a colon",
        CommaOrBrace = "a comma or a closing brace",
        CommaOrBracket = "a comma or a closing bracket",
        Digit = "a digit",
        HexadecimalDigit = "a hexadecimal digit",
        Escape = "an escape",
        QuotationMark = "a quotation mark",
        End = "the end",
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at;
        match self.fault {
            JsonFault::Utf8 => write!(f, "byte {at} is not UTF-8"),
            JsonFault::Truncated => write!(f, "it ends at byte {at}, inside a value"),
            JsonFault::Syntax(expected) => write!(f, "{} expected at byte {at}", expected.as_str()),
            JsonFault::Control => write!(f, "a control character stands unescaped in a string at byte {at}"),
            JsonFault::Surrogate => write!(f, "the escape at byte {at} is half of a surrogate pair"),
            JsonFault::Depth => write!(f, "it is nested deeper than the limit at byte {at}"),
            JsonFault::Keys => write!(f, "it has more members than the limit at byte {at}"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Validates a whole document.
///
/// # Errors
/// The first error in the document.
pub fn validate(bytes: &[u8]) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(bytes)?;
    cursor.skip()?;
    cursor.end()
}

/// The span of one member's value in an object, the last of that name; `None` where there is none or the
/// document is not an object. For rare use: the request path reads all it needs in one pass.
///
/// # Errors
/// The first error in the document.
pub fn find_member(bytes: &[u8], name: &str) -> Result<Option<Span>, JsonError> {
    let mut cursor = Cursor::new(bytes)?;
    if cursor.kind()? != Kind::Object {
        return Ok(None);
    }
    let mut found = None;
    cursor.object(|cursor, member| {
        let value = cursor.skip()?;
        if member.key.is(name) {
            found = Some(value);
        }
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    Ok(found)
}
