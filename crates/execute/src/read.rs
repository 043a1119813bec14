//! Reads upstream bodies: bounded in size and time, and decompressed if they were compressed unasked.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::limits::{ANSWER_BYTES_MAX, REFUSAL_TIME_MAX};
use egress::{EgressError, Headers, InBody};
use framing::unpack::{DecompressError, Encoding};
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use crate::failure::AttemptFailure;
use crate::timer::{Alarm, Timer};
use crate::unpack::unpack;

pub(crate) async fn next_chunk(body: &mut InBody) -> Option<Result<Bytes, EgressError>> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => return Some(Ok(bytes)),
            // Nothing is read from trailers.
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The whole of a buffered answer. `idle` is the longest pause between two reads.
pub(crate) async fn whole(
    body: &mut InBody,
    timer: &mut Timer,
    idle: Duration,
    deadline: Instant,
    provider: &str,
) -> Result<Bytes, AttemptFailure> {
    let mut gathered = ChunkBuffer::default();
    loop {
        match timer.within(idle, deadline, pin!(next_chunk(body))).await {
            Ok(None) => return Ok(gathered.finish()),
            Ok(Some(Err(error))) => {
                return Err(AttemptFailure::broken(provider, error.message.trim_end_matches('.')));
            }
            Ok(Some(Ok(bytes))) => gathered.push(bytes),
            Err(Alarm::Deadline) => return Err(AttemptFailure::deadline()),
            Err(Alarm::Silence) => {
                return Err(AttemptFailure::timeout(
                    provider,
                    "sent no further byte of its answer",
                    idle.as_secs(),
                ));
            }
        }
        if gathered.len > ANSWER_BYTES_MAX {
            return Err(AttemptFailure::broken(provider, "it exceeds the size limit").not_retryable());
        }
        if body.is_end_stream() {
            return Ok(gathered.finish());
        }
    }
}

/// The first bytes of a refusal; what can't be read of it is dropped.
pub(crate) async fn prefix(mut body: InBody, bytes_max: usize) -> Bytes {
    let until = Instant::now() + REFUSAL_TIME_MAX;
    let mut gathered = ChunkBuffer::default();
    while gathered.len < bytes_max {
        match timeout_at(until, next_chunk(&mut body)).await {
            Ok(Some(Ok(bytes))) => gathered.push(bytes),
            _ => break,
        }
    }
    let mut bytes = gathered.finish();
    bytes.truncate(bytes_max);
    bytes
}

/// The chunks of a body; a single one is not copied.
#[derive(Default)]
struct ChunkBuffer {
    first: Option<Bytes>,
    all: BytesMut,
    len: usize,
}

impl ChunkBuffer {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.first.is_none() && self.all.is_empty() {
            self.first = Some(bytes);
            return;
        }
        if let Some(first) = self.first.take() {
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&bytes);
    }

    fn finish(self) -> Bytes {
        self.first.unwrap_or_else(|| self.all.freeze())
    }
}

/// Decompresses gzip, which some servers send unasked. Bounded in size, in growth and in work.
///
/// # Errors
/// Another encoding, broken bytes, or a bomb; the text says which.
pub(crate) async fn decoded(headers: &Headers, bytes: Bytes) -> Result<Bytes, &'static str> {
    let Some(encoding) = headers.get("content-encoding") else { return Ok(bytes) };
    match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(bytes),
        _ if bytes.is_empty() => Ok(bytes),
        // Boxed: inline, a decoder's buffers would be a part of every request's future.
        b"gzip" | b"x-gzip" => {
            Box::pin(unpack(bytes, Encoding::Gzip, ANSWER_BYTES_MAX)).await.map_err(|trouble| match trouble {
                DecompressError::Corrupt => "its gzip data is corrupt",
                DecompressError::TooLarge => "it is too large when decompressed",
                DecompressError::TooCostly => "it takes too much work to decompress",
            })
        }
        _ => Err("it has a content encoding that wasn't requested"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
    use std::io::Write;

    async fn check(encoding: &'static str, bytes: Vec<u8>) -> Result<Bytes, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        decoded(&Headers::from(&headers), bytes.into()).await
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn gzip_is_undone_and_its_bombs_are_not() {
        assert_eq!(check("identity", b"{}".to_vec()).await.unwrap(), "{}");
        assert_eq!(check("gzip", gzip(b"{\"a\":1}")).await.unwrap(), "{\"a\":1}");
        assert!(check("gzip", b"no gzip".to_vec()).await.is_err());
        assert!(check("br", b"x".to_vec()).await.is_err());
        let bomb = gzip(&vec![b' '; 16 * 1024 * 1024]);
        assert!(check("gzip", bomb).await.is_err());
    }
}
