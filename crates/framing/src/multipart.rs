//! Multipart forms: where one part ends and the next begins, and what their headers say.
//!
//! It is strict on purpose. Anything ambiguous is refused, because another parser decides upstream: a part
//! that only one of the two sees would not be checked here.

use std::fmt;

use memchr::memchr;

use crate::limits::{BOUNDARY_BYTES_MAX, PART_HEAD_BYTES_MAX, PART_NAME_BYTES_MAX, PARTS_MAX};

/// Why a body is not a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What was found in a form, in order. Positions count from the form's first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A part begins; its value starts at `from`.
    Begin { part: Part, from: u64 },
    /// The value of the last part that began ends before `until`.
    End { until: u64 },
    /// The form is complete.
    Over,
}

/// What a part's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// It has a file name.
    pub is_file: bool,
    /// The file name, if it is given unambiguously.
    pub filename: Option<String>,
}

/// Reads a form that arrives in pieces. It holds no byte of the values.
#[derive(Debug, Clone)]
pub struct Scanner {
    /// The boundary as it is behind a value.
    delimiter: Vec<u8>,
    state: State,
    /// Bytes that were read.
    at: u64,
    parts: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// This many bytes of the first boundary, which has no line before it, have matched.
    Start(usize),
    /// Behind a boundary.
    Bounded,
    /// Behind a boundary and the first byte of what follows it.
    BoundedBy(u8),
    /// In the headers of a part.
    Head(Vec<u8>),
    /// In a value; this many bytes of the boundary have matched.
    Value(usize),
    /// Behind the last boundary, and this many bytes of a line end.
    Over(usize),
}

impl Scanner {
    /// # Errors
    /// A form can't have such a boundary.
    pub fn new(boundary: &str) -> Result<Self, Malformed> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX || !boundary.bytes().all(is_allowed) {
            return Err(Malformed("its boundary is invalid"));
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Ok(Self { delimiter, state: State::Start(2), at: 0, parts: 0 })
    }

    /// Takes the next bytes and appends what was found in them.
    ///
    /// # Errors
    /// It is not a form; nothing more may be pushed.
    pub fn push(&mut self, mut bytes: &[u8], found: &mut Vec<Found>) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let used = match &mut self.state {
                State::Value(matched) => {
                    let (used, is_end) = find(&self.delimiter, matched, bytes);
                    if is_end {
                        let until = (self.at + used as u64).saturating_sub(self.delimiter.len() as u64);
                        found.push(Found::End { until });
                        self.state = State::Bounded;
                    }
                    used
                }
                State::Head(head) => {
                    let (used, is_end) = collect(head, bytes)?;
                    if is_end {
                        let part = read_head(head)?;
                        found.push(Found::Begin { part, from: self.at + used as u64 });
                        self.state = State::Value(0);
                    }
                    used
                }
                _ => {
                    self.step(*bytes.first().unwrap_or(&0), found)?;
                    1
                }
            };
            self.at += used as u64;
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the last boundary was found.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(0 | 2))
    }

    fn step(&mut self, byte: u8, found: &mut Vec<Found>) -> Result<(), Malformed> {
        self.state = match (&self.state, byte) {
            (State::Start(matched), byte) if self.delimiter.get(*matched) == Some(&byte) => {
                if matched + 1 == self.delimiter.len() { State::Bounded } else { State::Start(matched + 1) }
            }
            (State::Start(_), _) => return Err(Malformed("it does not begin with its boundary")),
            (State::Bounded, b'\r' | b'-') => State::BoundedBy(byte),
            (State::BoundedBy(b'\r'), b'\n') => {
                self.parts += 1;
                if self.parts > PARTS_MAX {
                    return Err(Malformed("it has too many parts"));
                }
                State::Head(Vec::new())
            }
            (State::BoundedBy(b'-'), b'-') => {
                found.push(Found::Over);
                State::Over(0)
            }
            (State::Over(0), b'\r') => State::Over(1),
            (State::Over(1), b'\n') => State::Over(2),
            (State::Over(_), _) => return Err(Malformed("something follows its last boundary")),
            _ => return Err(Malformed("its boundary is followed by something else than a line end")),
        };
        Ok(())
    }
}

/// How many bytes belong to a value and the boundary behind it, and whether that is complete. The boundary's
/// first byte occurs nowhere else in it, so after a mismatch the match starts over.
fn find(delimiter: &[u8], matched: &mut usize, bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *matched == 0 {
            match memchr(b'\r', bytes.get(at..).unwrap_or_default()) {
                Some(offset) => at += offset + 1,
                None => return (bytes.len(), false),
            }
            *matched = 1;
            continue;
        }
        if delimiter.get(*matched) == Some(byte) {
            *matched += 1;
            at += 1;
            if *matched == delimiter.len() {
                return (at, true);
            }
        } else {
            // The byte is checked again: it may begin another boundary.
            *matched = 0;
        }
    }
    (at, false)
}

/// Takes bytes up to the blank line.
fn collect(head: &mut Vec<u8>, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
    for (at, byte) in bytes.iter().enumerate() {
        head.push(*byte);
        if head.ends_with(b"\r\n\r\n") || head == b"\r\n" {
            return Ok((at + 1, true));
        }
        if head.len() > PART_HEAD_BYTES_MAX {
            return Err(Malformed("the headers of a part are too long"));
        }
    }
    Ok((bytes.len(), false))
}

fn read_head(head: &[u8]) -> Result<Part, Malformed> {
    let text = std::str::from_utf8(head).map_err(|_| Malformed("the headers of a part are not UTF-8"))?;
    let mut part = None;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Malformed("the headers of a part have control characters"));
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) else {
            return Err(Malformed("a line of a part's headers isn't a header"));
        };
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-disposition") {
            if part.is_some() {
                return Err(Malformed("a part has two dispositions"));
            }
            part = Some(read_disposition(value)?);
        } else if name.eq_ignore_ascii_case("content-transfer-encoding")
            && !["binary", "8bit", "7bit"].iter().any(|plain| value.eq_ignore_ascii_case(plain))
        {
            return Err(Malformed("a part is encoded for transfer"));
        }
    }
    part.ok_or(Malformed("a part has no disposition"))
}

/// `form-data; name="…"`, with a `filename` or without.
fn read_disposition(value: &str) -> Result<Part, Malformed> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(Malformed("a part isn't form data"));
    }
    let (mut name, mut filename, mut is_file_again) = (None, None, false);
    while !rest.trim().is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return Err(Malformed("a part's disposition breaks off"));
        };
        let (value, after) = read_value(after)?;
        rest = after;
        match key.trim() {
            key if key.eq_ignore_ascii_case("name") && name.is_none() => name = Some(value),
            key if key.eq_ignore_ascii_case("filename") && filename.is_none() => filename = Some(value),
            key if key.eq_ignore_ascii_case("filename*") && !is_file_again => is_file_again = true,
            _ => return Err(Malformed("a part's disposition says what it must not, or says it twice")),
        }
    }
    let is_plain = |name: &&str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
        (1..=PART_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word)
    };
    match name.filter(is_plain) {
        Some(name) => {
            let is_file = filename.is_some() || is_file_again;
            Ok(Part { name: name.to_owned(), is_file, filename: filename.map(str::to_owned) })
        }
        None => Err(Malformed("a part has no name, or an invalid one")),
    }
}

/// A parameter's value, and what follows its semicolon. Where a quotation mark follows a backslash, parsers
/// differ over where the value ends.
fn read_value(text: &str) -> Result<(&str, &str), Malformed> {
    let (value, after) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (value, after) = quoted.split_once('"').ok_or(Malformed("a quotation has no end"))?;
            let backslashes = value.bytes().rev().take_while(|byte| *byte == b'\\').count();
            if backslashes % 2 == 1 {
                return Err(Malformed("the name of a part or file holds a quotation mark"));
            }
            (value, after)
        }
        None => {
            let end = text.find(';').unwrap_or(text.len());
            let (value, after) = text.split_at_checked(end).unwrap_or((text, ""));
            let value = value.trim_end();
            let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
            if value.is_empty() || !value.bytes().all(is_token) {
                return Err(Malformed("a parameter of a disposition has no value"));
            }
            (value, after)
        }
    };
    match after.trim_start() {
        "" => Ok((value, "")),
        after => match after.strip_prefix(';') {
            Some(after) => Ok((value, after)),
            None => Err(Malformed("something follows a quotation")),
        },
    }
}

/// The boundary that a form's content type names.
///
/// # Errors
/// The content type is not that of a form, or names no boundary.
pub fn boundary(content_type: &str) -> Result<&str, Malformed> {
    let (kind, mut rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(Malformed("its Content-Type isn't multipart/form-data"));
    }
    let mut boundary = None;
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=').ok_or(Malformed("its Content-Type breaks off"))?;
        let (value, after) = read_value(after)?;
        rest = after;
        if key.trim().eq_ignore_ascii_case("boundary") && boundary.replace(value).is_some() {
            return Err(Malformed("its Content-Type names two boundaries"));
        }
    }
    boundary.ok_or(Malformed("its Content-Type names no boundary"))
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
