//! Reads a request body: bounded in size and in how slowly it may arrive, and decompressed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use decode::{incomplete, too_large};
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::held_bodies::{HeldBody, Holder};
use crate::http1::FIRST_READ_BYTES;
use crate::incoming::Incoming;
use crate::{Times, unpack};

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It arrived more slowly than the minimum rate.
    #[error("the body came too slowly")]
    Slow,
    #[error("the body broke off or its framing is malformed")]
    Broken,
}

/// A request body that fails if its client is too slow.
pub struct TimedBody {
    incoming: Incoming,
    grace: Duration,
    rate_bytes_s: u64,
    received: u64,
    /// The start of the current wait: a body that is there already costs no clock and no timer.
    since: Option<Instant>,
    /// All previous waits: what an upstream does not take is not read, and that is not the client's fault.
    waited: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub fn new(incoming: Incoming, times: Times) -> Self {
        let Times { body_grace: grace, body_rate_bytes_s, .. } = times;
        let rate_bytes_s = body_rate_bytes_s.max(1);
        Self { incoming, grace, rate_bytes_s, received: 0, since: None, waited: Duration::ZERO, timer: None }
    }

    /// When the wait times out, given what has arrived so far.
    fn end(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        let patience = self.grace + Duration::from_secs(self.received / self.rate_bytes_s);
        since + patience.saturating_sub(self.waited)
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            if let Some(since) = self.since.take() {
                self.waited += since.elapsed();
            }
            return Poll::Ready(frame.map(|frame| {
                let frame = frame.map_err(|_| BodyError::Broken)?;
                self.received += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                Ok(frame)
            }));
        }
        loop {
            let end = self.end();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            std::task::ready!(timer.as_mut().poll(cx));
            if end <= Instant::now() {
                return Poll::Ready(Some(Err(BodyError::Slow)));
            }
            timer.as_mut().reset(end);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Reads the whole body and decodes its content encoding; the headers then describe the plain body.
///
/// # Errors
/// 413 over `bytes_max`, 408 if it arrives too slowly, 415 or 400 for its encoding, 400 if it breaks off, 429 or 503 where too
/// many bytes are held.
pub async fn read(
    body: &mut TimedBody,
    headers: &mut HeaderMap,
    bytes_max: usize,
    holder: Holder<'_>,
) -> Result<Bytes, Box<Fault>> {
    let sent = read_sent(body, headers, bytes_max, holder).await?;
    sent.unpack(headers, bytes_max, holder).await
}

/// A body as it was sent, still encoded.
pub struct Sent {
    pub bytes: Bytes,
    encoding: Option<framing::unpack::Encoding>,
}

/// Reads the whole body without decoding it.
///
/// # Errors
/// As for `read`.
pub async fn read_sent(
    body: &mut TimedBody,
    headers: &HeaderMap,
    bytes_max: usize,
    holder: Holder<'_>,
) -> Result<Sent, Box<Fault>> {
    let encoding = unpack::encoding(headers)?;
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    Ok(Sent { bytes: collect(body, announced, bytes_max, holder.open()).await?, encoding })
}

impl Sent {
    /// Decodes the content encoding; the headers then describe the plain body.
    ///
    /// # Errors
    /// 413 if it grows past the bounds or costs too much, 400 if it isn't what its header says, 429 or 503 as for `read`.
    pub async fn unpack(
        self,
        headers: &mut HeaderMap,
        bytes_max: usize,
        holder: Holder<'_>,
    ) -> Result<Bytes, Box<Fault>> {
        let Self { bytes, encoding } = self;
        let Some(encoding) = encoding.filter(|_| !bytes.is_empty()) else { return Ok(bytes) };
        // Boxed: inline, the decoders' buffers would be a part of every request's future.
        let unpacked = Box::pin(unpack::unpack(bytes, encoding, bytes_max)).await?;
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        holder.hold(unpacked)
    }
}

async fn collect(
    body: &mut TimedBody,
    announced: u64,
    bytes_max: usize,
    mut held: HeldBody,
) -> Result<Bytes, Box<Fault>> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else { break };
        let Ok(bytes) = frame.map_err(failed)?.into_data() else { continue };
        let received = first.len() + rest.len();
        let length = received + bytes.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.grow(length)?;
        if received == 0 {
            // The usual body arrives in one piece and is not copied.
            first = bytes;
            continue;
        }
        if rest.capacity() < length {
            // What is announced is believed the more, the more has arrived: memory costs, also if it was never used, once it is wiped.
            let trusted = length.saturating_mul(1 + length / FIRST_READ_BYTES);
            let expected = usize::try_from(announced).unwrap_or(0).min(trusted);
            rest.reserve(expected.max(length) - rest.len());
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&bytes);
    }
    Ok(held.of(if rest.is_empty() { first } else { rest.freeze() }))
}

pub(crate) fn failed(error: BodyError) -> Box<Fault> {
    match error {
        BodyError::Slow => {
            let slow = Fault::new(FaultClass::ClientTimeout, "request_too_slow", "The body came too slowly.");
            Box::new(slow.fix("Send it without long pauses."))
        }
        BodyError::Broken => incomplete(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::incoming::pipe;

    async fn next(body: &mut TimedBody) -> Option<Result<Bytes, BodyError>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_slow_while_nobody_asks_it() {
        let (client, piped) = pipe(0);
        let times =
            Times { body_grace: Duration::from_secs(10), body_rate_bytes_s: 1024, ..Times::default() };
        let mut body = TimedBody::new(Incoming::Piped(piped), times);
        for _ in 0..3 {
            client.put(Bytes::from_static(b"sound"));
            assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"sound"))));
            // The upstream is slow to take what has arrived.
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        let started = Instant::now();
        assert_eq!(next(&mut body).await, Some(Err(BodyError::Slow)));
        let waited = started.elapsed();
        assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&waited), "{waited:?}");
    }
}
