//! Just enough HTTP/1.1 parsing for the emulator and the client, so that both stay cheap compared with what
//! they measure.

use memchr::memmem;

/// The position after the head, once it is complete.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// A header's value in a raw head, by its name in any case.
pub fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

/// The number at the start of `bytes`; 0 when there is none.
pub fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u64, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// The value after `"key":` in a JSON text, spaces skipped. It finds nested keys as well; the bodies here
/// have none.
pub fn json_value<'a>(json: &'a [u8], quoted_key: &[u8]) -> Option<&'a [u8]> {
    // The same word may occur earlier as a value: `"role":"user"`.
    memmem::find_iter(json, quoted_key).find_map(|at| {
        let rest = json.get(at + quoted_key.len()..)?.trim_ascii_start().strip_prefix(b":")?;
        Some(rest.trim_ascii_start())
    })
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    Payload,
    PayloadEnd,
    TrailerStart,
    Trailer,
}

/// An incremental parser of chunked transfer encoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunked {
    state: State,
    left: usize,
}

impl Chunked {
    /// Passes the payload in `bytes` to `sink`; returns how many bytes it consumed, and whether the body
    /// ended.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if self.state == State::Payload {
                let rest = bytes.get(at..).unwrap_or_default();
                let piece = rest.get(..self.left).unwrap_or(rest);
                sink(piece);
                at += piece.len();
                self.left -= piece.len();
                if self.left == 0 {
                    self.state = State::PayloadEnd;
                }
                continue;
            }
            at += 1;
            if self.step(byte) {
                *self = Self::default();
                return (at, true);
            }
        }
        (at, false)
    }

    /// Consumes one byte of framing; returns whether it was the body's last.
    fn step(&mut self, byte: u8) -> bool {
        match (self.state, byte) {
            (State::Size | State::Extension, b'\n') => {
                self.state = if self.left == 0 { State::TrailerStart } else { State::Payload };
            }
            (State::Size, _) => match char::from(byte).to_digit(16) {
                Some(digit) => self.left = self.left.wrapping_mul(16).wrapping_add(digit as usize),
                None => self.state = State::Extension,
            },
            (State::PayloadEnd, b'\n') => self.state = State::Size,
            (State::TrailerStart, b'\n') => return true,
            (State::TrailerStart, b'\r') => {}
            (State::TrailerStart, _) => self.state = State::Trailer,
            (State::Trailer, b'\n') => self.state = State::TrailerStart,
            (State::Extension | State::Payload | State::PayloadEnd | State::Trailer, _) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunked, head_end, header, json_value, number};

    #[test]
    fn heads_and_values_are_found() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y\r\n\r\nrest";
        assert_eq!(head_end(head), Some(head.len() - 4));
        assert_eq!(header(head, b"content-length").map(number), Some(12));
        assert_eq!(header(head, b"length"), None);
        assert_eq!(json_value(b"{\"a\": true}", b"\"a\""), Some(&b"true}"[..]));
    }

    #[test]
    fn chunks_are_joined_at_every_split() {
        let whole = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nt: u\r\n\r\nnext";
        for split in 0..whole.len() {
            let (first, second) = whole.split_at(split);
            let (mut reader, mut text) = (Chunked::default(), Vec::new());
            let (taken, mut done) = reader.feed(first, |piece| text.extend_from_slice(piece));
            let mut total = taken;
            if !done {
                let (taken, ended) = reader.feed(second, |piece| text.extend_from_slice(piece));
                total += taken;
                done = ended;
            }
            assert!(done, "{split}");
            assert_eq!((total, text.as_slice()), (whole.len() - 4, &b"hello world"[..]), "{split}");
        }
    }
}
