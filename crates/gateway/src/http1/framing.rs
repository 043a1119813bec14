//! Where a request body ends, and its data without the chunk framing.

use std::ops::Range;

use domain::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// The state of reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Over,
    Sized(u64),
    ChunkSize { value: u64, digits: u32, line: usize },
    ChunkExtension { value: u64, line: usize },
    ChunkSizeEnd { value: u64 },
    ChunkBytes(u64),
    ChunkEnd,
    ChunkEndFeed,
    Trailers { line: usize, total: usize, returned: bool },
}

/// The body's framing is malformed: its end can't be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What was found at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The range of the next data, if there is some.
    pub data: Range<usize>,
    /// How many bytes are consumed.
    pub used: usize,
}

impl Framing {
    pub(super) const CHUNKED: Self = Self::ChunkSize { value: 0, digits: 0, line: 0 };

    pub(super) const fn sized(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Sized(length) }
    }

    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Over)
    }

    /// How many bytes of data are certain to follow.
    pub(super) const fn left(self) -> u64 {
        match self {
            Self::Sized(left) | Self::ChunkBytes(left) => left,
            _ => 0,
        }
    }

    /// Reads up to the end of the next data, of the body, or of the bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Found, Malformed> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match *self {
                Self::Over => break,
                Self::Sized(left) | Self::ChunkBytes(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *self = self.after_data(left - taken as u64);
                    return Ok(Found { data: at..at + taken, used: at + taken });
                }
                state => *self = step(state, *byte).ok_or(Malformed)?,
            }
            at += 1;
        }
        Ok(Found { data: at..at, used: at })
    }

    /// With this much of the current data still to come.
    const fn after_data(self, left: u64) -> Self {
        match (self, left) {
            (Self::Sized(_), 0) => Self::Over,
            (Self::Sized(_), left) => Self::Sized(left),
            (_, 0) => Self::ChunkEnd,
            (_, left) => Self::ChunkBytes(left),
        }
    }
}

fn step(state: Framing, byte: u8) -> Option<Framing> {
    use Framing::{ChunkBytes, ChunkEnd, ChunkEndFeed, ChunkExtension, ChunkSize, ChunkSizeEnd, Trailers};
    match (state, byte) {
        (ChunkSize { value, digits, line }, byte) if byte.is_ascii_hexdigit() => {
            let digit = u64::from(char::from(byte).to_digit(16)?);
            (digits < 15).then_some(ChunkSize {
                value: value * 16 + digit,
                digits: digits + 1,
                line: line + 1,
            })
        }
        (ChunkSize { value, digits, .. }, b'\r') if digits > 0 => Some(ChunkSizeEnd { value }),
        (ChunkSize { value, digits, line }, b';') if digits > 0 => Some(ChunkExtension { value, line }),
        (ChunkExtension { value, .. }, b'\r') => Some(ChunkSizeEnd { value }),
        (ChunkExtension { value, line }, byte) => {
            let fine = byte >= 0x20 && byte != 0x7f && line < CHUNK_LINE_BYTES_MAX;
            fine.then_some(ChunkExtension { value, line: line + 1 })
        }
        (ChunkSizeEnd { value: 0 }, b'\n') => Some(Trailers { line: 0, total: 0, returned: false }),
        (ChunkSizeEnd { value }, b'\n') => Some(ChunkBytes(value)),
        (ChunkEnd, b'\r') => Some(ChunkEndFeed),
        (ChunkEndFeed, b'\n') => Some(Framing::CHUNKED),
        (Trailers { line, total, returned }, byte) => trailer_step(line, total, returned, byte),
        _ => None,
    }
}

fn trailer_step(line: usize, total: usize, returned: bool, byte: u8) -> Option<Framing> {
    match (byte, returned) {
        (b'\r', false) => Some(Framing::Trailers { line, total: total + 1, returned: true }),
        (b'\n', true) if line == 0 => Some(Framing::Over),
        (b'\n', true) => Some(Framing::Trailers { line: 0, total: total + 1, returned: false }),
        (_, true) | (b'\n', false) => None,
        (byte, false) => {
            let fine = (byte >= 0x20 || byte == b'\t') && byte != 0x7f && total < TRAILER_BYTES_MAX;
            fine.then_some(Framing::Trailers { line: line + 1, total: total + 1, returned: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and what is left behind the end, with the bytes split at every size, as a socket may.
    fn check(framing: Framing, bytes: &[u8], expected: Result<(&[u8], &[u8]), Malformed>) {
        for size in 1..=bytes.len() {
            let (mut state, mut data, mut unread) = (framing, Vec::new(), Vec::new());
            let mut feed = || {
                for piece in bytes.chunks(size) {
                    unread.extend_from_slice(piece);
                    while !state.is_over() && !unread.is_empty() {
                        let found = state.read(&unread)?;
                        data.extend_from_slice(&unread[found.data]);
                        unread.drain(..found.used);
                    }
                }
                Ok(())
            };
            let fed = feed();
            let rendered = String::from_utf8_lossy(bytes);
            match (fed, expected) {
                (Ok(()), Ok((whole, rest))) => {
                    assert_eq!((&data[..], &unread[..]), (whole, rest), "{size}: {rendered}");
                    assert!(state.is_over(), "{size}: {rendered}");
                }
                (fed, expected) => assert_eq!(fed, expected.map(drop), "{size}: {rendered}"),
            }
        }
    }

    #[test]
    fn data_comes_out_whole_however_it_is_cut() {
        check(Framing::sized(3), b"abcGET", Ok((b"abc", b"GET")));
        check(
            Framing::CHUNKED,
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nGET",
            Ok((b"abc0123456789", b"GET")),
        );
        check(Framing::CHUNKED, b"0\r\nT: v\r\n\r\n", Ok((b"", b"")));
        assert!(Framing::sized(0).is_over());
    }

    #[test]
    fn broken_chunks_are_malformed_however_they_are_cut() {
        let bodies: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd",
            b"3\r\nabc\n",
            b"-1\r\n",
            b"0x3\r\n",
            b" 3\r\n",
            b"3 \r\n",
            b"fffffffffffffffff\r\n",
            b"3;\n",
            b"0\r\n\n",
            b"0\r\nT: a\rb\r\n",
        ];
        for body in bodies {
            check(Framing::CHUNKED, body, Err(Malformed));
        }
        let long = [b"3;".as_slice(), &[b'x'; 300]].concat();
        check(Framing::CHUNKED, &long, Err(Malformed));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2_000)].concat();
        assert_eq!(Framing::CHUNKED.clone().read(&trailers), Err(Malformed));
    }
}
