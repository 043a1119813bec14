//! One connection of the load client: sends a prepared request and reads the timestamps out of the answer.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::{STAMP_DIGITS, now_ns};
use crate::http1::{Chunked, head_end, header, number};

const STAMP_LEN: usize = 2 * STAMP_DIGITS + 2;

/// When the emulator had received the request, when it sent this piece of its answer, and when the piece was
/// read here.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub received_ns: u64,
    pub sent_ns: u64,
    pub read_ns: u64,
}

/// How an exchange ended. A failed exchange closes its connection.
#[derive(Debug)]
pub enum Ended {
    Answered { keep: bool },
    Refused(String),
}

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    text: Vec<u8>,
}

impl Client {
    pub async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10), text: Vec::with_capacity(32 << 10) })
    }

    /// Sends the request and passes on each timestamp of the answer as it arrives.
    pub async fn call(&mut self, request: &[u8], mut on_stamp: impl FnMut(Stamp)) -> io::Result<Ended> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        self.text.clear();
        let head = self.read_head().await?;
        let head_bytes = self.buffer.get(..head).unwrap_or_default();
        let answered = head_bytes.get(9..12) == Some(b"200");
        let length = header(head_bytes, b"content-length").map(number);
        let chunked = header(head_bytes, b"transfer-encoding").is_some();
        let keep =
            !header(head_bytes, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        self.buffer.drain(..head);
        let mut reader = Chunked::default();
        let (mut scanned, mut stamp_count) = (0, 0_u64);
        loop {
            let read_ns = now_ns();
            let ended = if chunked {
                reader.feed(&self.buffer, |piece| self.text.extend_from_slice(piece)).1
            } else {
                self.text.extend_from_slice(&self.buffer);
                self.text.len() as u64 >= length.unwrap_or(0)
            };
            scanned = scan(&self.text, scanned, |received_ns, sent_ns| {
                stamp_count += 1;
                on_stamp(Stamp { received_ns, sent_ns, read_ns });
            });
            if ended {
                break;
            }
            self.buffer.clear();
            self.fill().await?;
        }
        if answered && stamp_count > 0 {
            return Ok(Ended::Answered { keep });
        }
        let start = self.text.get(..self.text.len().min(300)).unwrap_or_default();
        Ok(Ended::Refused(String::from_utf8_lossy(start).into_owned()))
    }

    async fn read_head(&mut self) -> io::Result<usize> {
        loop {
            if let Some(end) = head_end(&self.buffer) {
                return Ok(end);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Finds the complete timestamps from `from` on; returns where to continue when more text has arrived.
fn scan(text: &[u8], mut from: usize, mut on_stamp: impl FnMut(u64, u64)) -> usize {
    while let Some(at) = text.get(from..).and_then(|rest| memmem::find(rest, b"t=")) {
        let start = from + at;
        let Some(stamp) = text.get(start + 2..start + 2 + STAMP_LEN) else { return start };
        let (received, rest) = stamp.split_at(STAMP_DIGITS);
        match rest.strip_prefix(b",").and_then(|rest| rest.strip_suffix(b";")) {
            Some(sent) => {
                on_stamp(number(received), number(sent));
                from = start + 2 + STAMP_LEN;
            }
            None => from = start + 2,
        }
    }
    // The text may end between the two bytes of the marker.
    from.max(text.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::scan;

    #[test]
    fn stamps_are_found_at_every_split() {
        let text =
            b"xt=yt=1000000000000000001,1000000000000000002;zzt=1000000000000000003,1000000000000000004;t";
        for split in 0..=text.len() {
            let mut found = Vec::new();
            let from = scan(&text[..split], 0, |received, sent| found.push((received, sent)));
            scan(text, from, |received, sent| found.push((received, sent)));
            let all =
                [(1000000000000000001, 1000000000000000002), (1000000000000000003, 1000000000000000004)];
            assert_eq!(found, all, "{split}");
        }
    }
}
