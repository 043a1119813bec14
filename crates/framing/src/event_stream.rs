//! Binary event streams (`application/vnd.amazon.eventstream`): where one frame ends, what its headers are,
//! and whether it arrived intact. A frame is its length, the length of its headers, a checksum of these two,
//! the headers, the payload, and a checksum of all before it; every number is big-endian.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{EVENT_STREAM_HEADERS_BYTES_MAX, EVENT_STREAM_PAYLOAD_BYTES_MAX};

/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// The type of a header whose value is a string.
const TEXT: u8 = 7;

/// Why the bytes are not a frame. Where the next one would begin is then unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// A checksum does not match the bytes.
    Checksum,
    /// The headers or the payload are longer than the bounds.
    Oversized,
    /// The lengths don't fit together, or the headers can't be read.
    Malformed,
}

/// A whole frame with correct checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    headers: Bytes,
    pub payload: Bytes,
    /// The whole frame, as it arrived.
    pub bytes: Bytes,
}

/// Splits a stream that arrives in pieces into frames. It holds what has arrived of the next one.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    held: BytesMut,
    /// Of the frame that is held, once its prelude has arrived with a correct checksum.
    prelude: Option<Prelude>,
}

#[derive(Debug, Clone, Copy)]
struct Prelude {
    frame_bytes: usize,
    headers_bytes: usize,
}

impl FrameDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes. The frames that are complete must be taken before more is pushed.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next complete frame; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a frame. Nothing behind them can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameFault> {
        let prelude = match self.prelude {
            Some(prelude) => prelude,
            None => match Prelude::read(&self.held)? {
                Some(prelude) => *self.prelude.insert(prelude),
                None => return Ok(None),
            },
        };
        if self.held.len() < prelude.frame_bytes {
            return Ok(None);
        }
        self.prelude = None;
        Frame::read(self.held.split_to(prelude.frame_bytes).freeze(), prelude).map(Some)
    }

    /// Whether no part of an incomplete frame is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

impl Prelude {
    fn read(held: &[u8]) -> Result<Option<Self>, FrameFault> {
        let Some((prelude, _)) = held.split_at_checked(PRELUDE_BYTES) else { return Ok(None) };
        let (mut lengths, mut checksum) = prelude.split_at(PRELUDE_BYTES - CHECKSUM_BYTES);
        if crc32fast::hash(lengths) != checksum.get_u32() {
            return Err(FrameFault::Checksum);
        }
        let (frame_bytes, headers_bytes) = (length(lengths.get_u32()), length(lengths.get_u32()));
        let rest = frame_bytes.checked_sub(PRELUDE_BYTES + CHECKSUM_BYTES).ok_or(FrameFault::Malformed)?;
        let payload_bytes = rest.checked_sub(headers_bytes).ok_or(FrameFault::Malformed)?;
        if headers_bytes > EVENT_STREAM_HEADERS_BYTES_MAX || payload_bytes > EVENT_STREAM_PAYLOAD_BYTES_MAX {
            return Err(FrameFault::Oversized);
        }
        Ok(Some(Self { frame_bytes, headers_bytes }))
    }
}

/// A length on the wire; one that does not fit a `usize` is beyond every bound anyway.
fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Frame {
    /// Reads a frame of as many bytes as its prelude says.
    fn read(mut bytes: Bytes, prelude: Prelude) -> Result<Self, FrameFault> {
        let whole = bytes.clone();
        let mut checksum = bytes.split_off(bytes.len().saturating_sub(CHECKSUM_BYTES));
        if crc32fast::hash(&bytes) != checksum.get_u32() {
            return Err(FrameFault::Checksum);
        }
        bytes.advance(PRELUDE_BYTES);
        let headers = bytes.split_to(prelude.headers_bytes);
        let mut rest = &*headers;
        while !rest.is_empty() {
            rest = Header::split(rest).ok_or(FrameFault::Malformed)?.1;
        }
        Ok(Self { headers, payload: bytes, bytes: whole })
    }

    /// The value of a header, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.headers;
        while let Some((header, after)) = Header::split(rest) {
            if header.name == name.as_bytes() {
                return header.text.and_then(|text| std::str::from_utf8(text).ok());
            }
            rest = after;
        }
        None
    }
}

struct Header<'a> {
    name: &'a [u8],
    /// Its value, if that is a string.
    text: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The first header, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name_bytes, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*name_bytes))?;
        let (kind, rest) = rest.split_first()?;
        let (value_bytes, rest) = match kind {
            // True and false are types of their own.
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            // A number or a timestamp.
            5 | 8 => (8, rest),
            6 | 7 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            9 => (16, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        Some((Self { name, text: (*kind == TEXT).then_some(value) }, rest))
    }
}

/// Writes a frame whose headers are strings.
///
/// # Errors
/// A name, a value or the whole is longer than the format allows.
pub fn encode_frame(headers: &[(&str, &str)], payload: &[u8]) -> Result<Vec<u8>, FrameFault> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).map_err(|_| FrameFault::Oversized)?);
        head.extend_from_slice(name.as_bytes());
        head.push(TEXT);
        let value_bytes = u16::try_from(value.len()).map_err(|_| FrameFault::Oversized)?;
        head.extend_from_slice(&value_bytes.to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    if head.len() > EVENT_STREAM_HEADERS_BYTES_MAX || payload.len() > EVENT_STREAM_PAYLOAD_BYTES_MAX {
        return Err(FrameFault::Oversized);
    }
    let frame_bytes = PRELUDE_BYTES + head.len() + payload.len() + CHECKSUM_BYTES;
    let mut frame = Vec::with_capacity(frame_bytes);
    for number in [frame_bytes, head.len()] {
        let number = u32::try_from(number).map_err(|_| FrameFault::Oversized)?;
        frame.extend_from_slice(&number.to_be_bytes());
    }
    let end_checksum = |frame: &mut Vec<u8>| {
        let checksum = crc32fast::hash(frame);
        frame.extend_from_slice(&checksum.to_be_bytes());
    };
    end_checksum(&mut frame);
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload);
    end_checksum(&mut frame);
    Ok(frame)
}

#[cfg(test)]
#[path = "event_stream_tests.rs"]
mod tests;
