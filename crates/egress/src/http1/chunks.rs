//! Decodes a chunked body: the data without its framing, small neighbouring chunks joined.

use bytes::{Buf, Bytes, BytesMut};
use domain::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Up to this size a chunk is moved to the one before it, which is cheaper than passing it on by itself.
const JOIN_UP_TO_BYTES: usize = 2048;

/// The state of reading a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Chunks {
    #[default]
    Size,
    Bytes(u64),
    /// The line end behind a chunk's data.
    End,
    /// With the bytes of trailers so far.
    Trailers(usize),
    Over,
}

/// What was decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Bytes(Bytes),
    /// Nothing yet.
    More,
    Over,
}

/// The next step in a buffer.
enum Step {
    /// Data of this many bytes begins at this index.
    Bytes(usize, usize),
    More,
    Over,
}

impl Chunks {
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Takes the data of the chunks that have arrived, and leaves the unread rest.
    ///
    /// # Errors
    /// The framing is broken.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<Decoded, &'static str> {
        let mut at = 0;
        let (from, mut end) = match self.step(bytes, &mut at)? {
            Step::Bytes(from, length) => (from, from + length),
            step => {
                bytes.advance(at);
                return Ok(if matches!(step, Step::Over) { Decoded::Over } else { Decoded::More });
            }
        };
        at = end;
        loop {
            let (before, mark) = (*self, at);
            match self.step(bytes, &mut at)? {
                Step::Bytes(next, length) if length <= JOIN_UP_TO_BYTES => {
                    bytes.copy_within(next..next + length, end);
                    end += length;
                    at = next + length;
                }
                Step::Bytes(..) => {
                    (*self, at) = (before, mark);
                    break;
                }
                Step::More | Step::Over => break,
            }
        }
        bytes.advance(from);
        let taken = bytes.split_to(end - from);
        bytes.advance(at - end);
        Ok(Decoded::Bytes(taken.freeze()))
    }

    /// Reads framing from `at` on, up to data, the end, or what has not arrived.
    fn step(&mut self, bytes: &[u8], at: &mut usize) -> Result<Step, &'static str> {
        loop {
            let rest = bytes.get(*at..).unwrap_or_default();
            match *self {
                Self::Size => {
                    let Some((line, used)) = line(rest, CHUNK_LINE_BYTES_MAX)? else { return Ok(Step::More) };
                    *self = match size(line)? {
                        0 => Self::Trailers(0),
                        size => Self::Bytes(size),
                    };
                    *at += used;
                }
                Self::Bytes(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    if length == 0 {
                        return Ok(Step::More);
                    }
                    let left = left - length as u64;
                    *self = if left == 0 { Self::End } else { Self::Bytes(left) };
                    return Ok(Step::Bytes(*at, length));
                }
                Self::End => match rest {
                    [b'\r', b'\n', ..] => {
                        *at += 2;
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(Step::More),
                    _ => return Err("a chunk is longer than its size"),
                },
                Self::Trailers(before) => {
                    let room = TRAILER_BYTES_MAX.saturating_sub(before);
                    let Some((line, used)) = line(rest, room)? else { return Ok(Step::More) };
                    *at += used;
                    *self = if line.is_empty() { Self::Over } else { Self::Trailers(before + used) };
                }
                Self::Over => return Ok(Step::Over),
            }
        }
    }
}

/// A line without its line end, and its length including that.
fn line(bytes: &[u8], bytes_max: usize) -> Result<Option<(&[u8], usize)>, &'static str> {
    let Some(feed) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > bytes_max { Err("a line of its chunks is too long") } else { Ok(None) };
    };
    let line = bytes.get(..feed).and_then(|line| line.strip_suffix(b"\r"));
    match line {
        Some(line) if feed <= bytes_max => Ok(Some((line, feed + 1))),
        Some(_) => Err("a line of its chunks is too long"),
        None => Err("a line of its chunks ends with a bare line feed"),
    }
}

fn size(line: &[u8]) -> Result<u64, &'static str> {
    let wrong = "the size of a chunk is not a number";
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at_checked(digits).ok_or(wrong)?;
    let is_extension = matches!(rest.trim_ascii_start().first(), None | Some(b';'));
    let is_plain = rest.iter().all(|byte| *byte >= 0x20 || *byte == b'\t');
    if number.is_empty() || number.len() > 15 || !is_extension || !is_plain {
        return Err(wrong);
    }
    let digit = |byte: u8| u64::from(char::from(byte).to_digit(16).unwrap_or(0));
    Ok(number.iter().fold(0, |sum, byte| sum * 16 + digit(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and what is left behind the end, with the input split at every size.
    fn check(text: &[u8], expected: Result<(&[u8], &[u8]), &str>) {
        for size in (1..=text.len().min(64)).chain([text.len()]) {
            let (mut chunks, mut bytes, mut found) = (Chunks::default(), BytesMut::new(), Vec::new());
            let mut result = Ok(());
            'cut: for piece in text.chunks(size) {
                bytes.extend_from_slice(piece);
                loop {
                    match chunks.take(&mut bytes) {
                        Ok(Decoded::Bytes(data)) => found.extend_from_slice(&data),
                        Ok(Decoded::More | Decoded::Over) => break,
                        Err(why) => {
                            result = Err(why);
                            break 'cut;
                        }
                    }
                }
            }
            match (result, expected) {
                (Ok(()), Ok((data, left))) => {
                    assert_eq!((&found[..], &bytes[..]), (data, left), "{size}");
                    assert!(chunks.is_over(), "{size}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{size}: {why}"),
                (found, expected) => panic!("{size}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn data_comes_out_whole_however_it_is_cut() {
        check(b"3\r\nabc\r\n0\r\n\r\n", Ok((b"abc", b"")));
        check(
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n1 ; z\r\n!\r\n0\r\n\r\nrest",
            Ok((b"abc0123456789!", b"rest")),
        );
        check(b"000\r\nA: b\r\nC: d\r\n\r\n", Ok((b"", b"")));
        let large = [b"b00\r\n".as_slice(), &[b'x'; 0xb00], b"\r\n1\r\ny\r\n0\r\n\r\n"].concat();
        let data = [[b'x'; 0xb00].as_slice(), b"y"].concat();
        check(&large, Ok((&data, b"")));
    }

    #[test]
    fn broken_framing_is_told() {
        for text in
            ["x\r\n", "\r\n", "-1\r\n", "0x3\r\n", "3 3\r\nabc", "ffffffffffffffff\r\n", "3;\x01\r\nabc"]
        {
            check(text.as_bytes(), Err("number"));
        }
        check(b"3\nabc\r\n", Err("line feed"));
        check(b"3\r\nabcd\r\n", Err("longer"));
        check(b"3\r\nabc\n", Err("longer"));
        check(&[b'0'; 300], Err("too long"));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2_000)].concat();
        check(&trailers[..8_400], Err("too long"));
    }

    #[test]
    fn small_chunks_that_came_together_are_one_piece() {
        let mut bytes = BytesMut::from("1\r\na\r\n2\r\nbc\r\n3\r\nd");
        let mut chunks = Chunks::default();
        assert_eq!(chunks.take(&mut bytes), Ok(Decoded::Bytes(Bytes::from("abcd"))));
        bytes.extend_from_slice(b"ef\r\n0\r\n\r\n");
        assert_eq!(chunks.take(&mut bytes), Ok(Decoded::Bytes(Bytes::from("ef"))));
        assert!(chunks.is_over() && bytes.is_empty());
    }
}
