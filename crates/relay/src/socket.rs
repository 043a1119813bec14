//! Relays the two sides of a realtime session: the bytes are forwarded unchanged, and their WebSocket
//! messages are parsed on the way.
//!
//! Little is buffered. A client's short message is forwarded after it was read in full; of a longer one, only
//! the end is held back. A provider's message is forwarded as it arrives, except for its end. So an event
//! takes effect before the other side has all of it.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use domain::limits::{
    REALTIME_HELD_BYTES_MAX, REALTIME_MESSAGE_BYTES_MAX, REALTIME_READ_BYTES_MAX, REALTIME_WAITING_BYTES_MAX,
};
use framing::websocket::{Kind, Scanner, Seen, Sender, Violation};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

const READ_BYTES: usize = 8 * 1024;
/// No part of a guarded client's message may be forwarded before all of it was read, so it must fit the
/// buffer.
const TOO_LONG: Violation = Violation { code: 1009, what: "a message exceeds the size limit" };
/// How often the driver of a session gets a `Look` for its periodic checks.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// A bidirectional byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// An event for the driver of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A text message arrived; it waits for `forward`.
    Message(Sender),
    /// A guarded client sent a message that isn't text; it waits for `discard`.
    Opaque(Sender),
    /// A side sent a close frame, which is forwarded to the other.
    Closes(Sender, Option<u16>),
    /// A side's connection is gone.
    Gone(Sender),
    /// A side violated the protocol.
    Wrong(Sender, Violation),
    /// Time for periodic checks; nothing else happened.
    Tick,
}

/// One direction.
struct Direction {
    scanner: Scanner,
    /// Received and not forwarded yet.
    input: BytesMut,
    /// How many bytes of `input` were scanned.
    scanned: usize,
    /// To be sent.
    output: BytesMut,
    /// Our own frames, to be inserted between two messages.
    own: Vec<u8>,
    /// A part of the current message has been forwarded.
    is_partly_forwarded: bool,
    /// No part of a message is forwarded before all of it was read.
    is_guarded: bool,
    is_ended: bool,
    /// Its close frame has been forwarded.
    has_closed: bool,
    needs_flush: bool,
}

/// Both connections of a session, with their buffers.
pub struct Sockets<C, U> {
    client: C,
    upstream: U,
    /// From the client to the upstream, and back.
    up: Direction,
    down: Direction,
    tick: Pin<Box<Sleep>>,
    last_received: Instant,
}

impl Direction {
    fn new(sender: Sender) -> Self {
        Self {
            scanner: Scanner::new(sender, REALTIME_MESSAGE_BYTES_MAX, REALTIME_READ_BYTES_MAX),
            input: BytesMut::new(),
            scanned: 0,
            output: BytesMut::new(),
            own: Vec::new(),
            is_partly_forwarded: false,
            is_guarded: false,
            is_ended: false,
            has_closed: false,
            needs_flush: false,
        }
    }

    /// Forwards what was scanned.
    fn forward(&mut self) {
        let piece = self.input.split_to(self.scanned.min(self.input.len()));
        self.scanned = 0;
        if self.output.is_empty() {
            self.output = piece;
        } else {
            self.output.extend_from_slice(&piece);
        }
        self.is_partly_forwarded = !self.scanner.is_between_messages();
        self.put_own();
    }

    /// Inserts our own frames as soon as no message is in progress.
    fn put_own(&mut self) {
        if !self.own.is_empty() && !self.is_partly_forwarded && self.scanned == 0 {
            self.output.extend_from_slice(&std::mem::take(&mut self.own));
        }
    }

    /// Scans what arrived, up to the next event.
    fn scan(&mut self, sender: Sender) -> Option<Step> {
        while self.scanned < self.input.len() {
            let fresh = self.input.get(self.scanned..).unwrap_or_default();
            let read = match self.scanner.read(fresh) {
                Ok(read) => read,
                Err(violation) => {
                    self.is_ended = true;
                    return Some(Step::Wrong(sender, violation));
                }
            };
            self.scanned += read.used;
            if self.is_guarded && self.scanned > REALTIME_READ_BYTES_MAX {
                self.is_ended = true;
                return Some(Step::Wrong(sender, TOO_LONG));
            }
            match read.seen {
                Some(Seen::Message(Kind::Text)) => return Some(Step::Message(sender)),
                Some(Seen::Message(Kind::Binary)) if self.is_guarded => return Some(Step::Opaque(sender)),
                Some(Seen::Close(code)) => {
                    self.forward();
                    self.has_closed = true;
                    return Some(Step::Closes(sender, code));
                }
                // Between the fragments of a message they are held back with it.
                Some(Seen::Message(Kind::Binary) | Seen::Ping | Seen::Pong) if self.has_ended() => {
                    self.forward()
                }
                _ => {}
            }
        }
        let holds = sender == Sender::Client && !self.is_partly_forwarded;
        if !self.is_guarded && self.scanned > 0 && (!holds || self.scanned > REALTIME_HELD_BYTES_MAX) {
            self.forward();
        }
        None
    }

    const fn has_ended(&self) -> bool {
        self.scanner.is_between_messages()
    }

    fn wants_more(&self) -> bool {
        !self.is_ended && self.output.len() < REALTIME_WAITING_BYTES_MAX
    }

    /// Reads. Ready with `true` where bytes arrived, with `false` at the end.
    fn poll_read(&mut self, from: &mut impl Stream, cx: &mut Context<'_>) -> Poll<bool> {
        self.input.reserve(READ_BYTES);
        let read = pin!(from.read_buf(&mut self.input)).poll(cx);
        read.map(|read| {
            self.is_ended = !matches!(read, Ok(count) if count > 0);
            !self.is_ended
        })
    }

    /// Writes the pending output.
    fn poll_write(&mut self, to: &mut impl Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match std::task::ready!(Pin::new(&mut *to).poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.output.advance(count),
            }
            self.needs_flush = true;
        }
        if self.needs_flush {
            std::task::ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.needs_flush = false;
        }
        // The buffer is freed: a session is silent most of the time.
        if self.output.capacity() > 0 {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: Stream, U: Stream> Sockets<C, U> {
    /// `early` are bytes that the client sent right after its handshake.
    pub fn new(client: C, early: &[u8], upstream: U) -> Self {
        let mut up = Direction::new(Sender::Client);
        up.input.extend_from_slice(early);
        let now = Instant::now();
        Self {
            client,
            upstream,
            up,
            down: Direction::new(Sender::Server),
            tick: Box::pin(sleep_until(now + TICK_EVERY)),
            last_received: now,
        }
    }

    /// From now on, no part of a client's message is forwarded before all of it was read.
    pub fn guarded(mut self) -> Self {
        self.up.is_guarded = true;
        self
    }

    /// Relays until there is an event. A message that was reported waits for `forward` or `discard`.
    pub async fn step(&mut self) -> Step {
        poll_fn(|cx| self.poll_step(cx)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(step) = self.down.scan(Sender::Server).or_else(|| self.up.scan(Sender::Client)) {
                return Poll::Ready(step);
            }
            if matches!(self.up.poll_write(&mut self.upstream, cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Step::Gone(Sender::Server));
            }
            if matches!(self.down.poll_write(&mut self.client, cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Step::Gone(Sender::Client));
            }
            let mut came = false;
            if self.up.wants_more()
                && let Poll::Ready(more) = self.up.poll_read(&mut self.client, cx)
            {
                if !more {
                    return Poll::Ready(Step::Gone(Sender::Client));
                }
                came = true;
            }
            if self.down.wants_more()
                && let Poll::Ready(more) = self.down.poll_read(&mut self.upstream, cx)
            {
                if !more {
                    return Poll::Ready(Step::Gone(Sender::Server));
                }
                came = true;
            }
            if came {
                self.last_received = Instant::now();
                continue;
            }
            std::task::ready!(self.tick.as_mut().poll(cx));
            self.tick.as_mut().reset(Instant::now() + TICK_EVERY);
            return Poll::Ready(Step::Tick);
        }
    }

    const fn direction(&mut self, sender: Sender) -> &mut Direction {
        match sender {
            Sender::Client => &mut self.up,
            Sender::Server => &mut self.down,
        }
    }

    /// The waiting message, or as much of it as is read.
    pub fn message(&mut self, sender: Sender) -> &[u8] {
        self.direction(sender).scanner.text()
    }

    /// Forwards the waiting message.
    pub fn forward(&mut self, sender: Sender) {
        self.direction(sender).forward();
    }

    /// Drops the waiting message; `false` where a part of it was already forwarded, so that it can't be
    /// dropped.
    pub fn discard(&mut self, sender: Sender) -> bool {
        let direction = self.direction(sender);
        if direction.is_partly_forwarded {
            return false;
        }
        direction.input.advance(direction.scanned.min(direction.input.len()));
        direction.scanned = 0;
        direction.put_own();
        true
    }

    /// Sends a frame to the client as soon as the current message has ended.
    pub fn send_to_client(&mut self, frame: &[u8]) {
        self.down.own.extend_from_slice(frame);
        self.down.put_own();
    }

    /// The time since anything arrived.
    pub fn silence(&self) -> Duration {
        self.last_received.elapsed()
    }

    /// Ends both sides: flushes each one's pending output, and then sends its close frame where the framing
    /// permits.
    pub async fn end(mut self, to_client: &[u8], to_upstream: &[u8], wait: Duration) -> (C, U) {
        let last = |direction: &mut Direction, frame: &[u8]| {
            // What was not let on is dropped, and the close frame takes its place.
            let is_open = match direction.scanned {
                0 => direction.scanner.is_between_frames(),
                _ => !direction.is_partly_forwarded,
            };
            if is_open && !direction.has_closed {
                direction.output.extend_from_slice(frame);
            }
        };
        last(&mut self.down, to_client);
        last(&mut self.up, to_upstream);
        let sent = poll_fn(|cx| {
            let up = self.up.poll_write(&mut self.upstream, cx);
            let down = self.down.poll_write(&mut self.client, cx);
            if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = timeout(wait, sent).await;
        let _ = timeout(wait, self.upstream.shutdown()).await;
        (self.client, self.upstream)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use framing::websocket::{close_frame, text_frame};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);
    const ROOM: usize = 512;

    struct Fixture {
        sockets: Sockets<DuplexStream, DuplexStream>,
        client: DuplexStream,
        upstream: DuplexStream,
    }

    fn fixture() -> Fixture {
        let ((client, near), (upstream, far)) = (duplex(ROOM), duplex(ROOM));
        Fixture { sockets: Sockets::new(near, b"", far), client, upstream }
    }

    async fn read(from: &mut DuplexStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_clients_message_goes_on_when_it_is_let_on_and_not_when_it_is_kept_back() {
        let mut fixture = fixture();
        let (discarded, forwarded) = (text_frame(b"one", MASK), text_frame(b"two", MASK));
        fixture.client.write_all(&[&*discarded, &forwarded].concat()).await.unwrap();
        assert_eq!(fixture.sockets.step().await, Step::Message(Sender::Client));
        assert_eq!(fixture.sockets.message(Sender::Client), b"one");
        assert!(fixture.sockets.discard(Sender::Client));
        assert_eq!(fixture.sockets.step().await, Step::Message(Sender::Client));
        fixture.sockets.forward(Sender::Client);
        let passed = tokio::select! {
            bytes = read(&mut fixture.upstream, forwarded.len()) => bytes,
            step = fixture.sockets.step() => panic!("{step:?}"),
        };
        assert_eq!(passed, forwarded, "as it came, and nothing before it");
    }

    #[tokio::test]
    async fn of_a_guarded_client_nothing_goes_on_that_was_not_read_whole() {
        let Fixture { sockets, mut client, mut upstream } = fixture();
        let mut sockets = sockets.guarded();
        let mut binary = text_frame(b"two", MASK);
        binary[0] = 0x82;
        let long = text_frame(&vec![b' '; REALTIME_HELD_BYTES_MAX + 1], MASK);
        let over = text_frame(&vec![b' '; REALTIME_READ_BYTES_MAX + 1], MASK);
        let frames = [&*binary, &long, &over].concat();
        let talking = tokio::spawn(async move { drop(client.write_all(&frames).await) });
        assert_eq!(sockets.step().await, Step::Opaque(Sender::Client));
        assert!(sockets.discard(Sender::Client));
        assert_eq!(sockets.step().await, Step::Message(Sender::Client));
        assert!(sockets.discard(Sender::Client));
        assert_eq!(sockets.step().await, Step::Wrong(Sender::Client, TOO_LONG));
        drop(sockets);
        let mut passed = Vec::new();
        upstream.read_to_end(&mut passed).await.unwrap();
        assert_eq!(passed, b"");
        talking.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_ours_to_say_stands_between_two_messages() {
        let mut fixture = fixture();
        let frame = text_frame(&[b'x'; 300], None);
        let (first, second) = frame.split_at(200);
        fixture.upstream.write_all(first).await.unwrap();
        let seen = tokio::select! {
            bytes = read(&mut fixture.client, first.len()) => bytes,
            step = fixture.sockets.step() => panic!("{step:?}"),
        };
        assert_eq!(seen, first, "all but its end goes on at once");
        fixture.sockets.send_to_client(b"ours");
        fixture.upstream.write_all(second).await.unwrap();
        assert_eq!(fixture.sockets.step().await, Step::Message(Sender::Server));
        fixture.sockets.forward(Sender::Server);
        let seen = tokio::select! {
            bytes = read(&mut fixture.client, second.len() + 4) => bytes,
            step = fixture.sockets.step() => panic!("{step:?}"),
        };
        assert_eq!(seen, [second, b"ours"].concat());
    }

    #[tokio::test]
    async fn a_side_that_takes_nothing_is_not_read_for() {
        let Fixture { mut sockets, client, mut upstream } = fixture();
        let (frame, written) = (text_frame(&[b'x'; 100], None), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&written);
        let talking = tokio::spawn(async move {
            while upstream.write_all(&frame).await.is_ok() {
                counted.fetch_add(frame.len(), Ordering::Relaxed);
            }
        });
        loop {
            match sockets.step().await {
                Step::Message(Sender::Server) => sockets.forward(Sender::Server),
                // Both directions are blocked.
                Step::Tick => break,
                other => panic!("{other:?}"),
            }
        }
        let written = written.load(Ordering::Relaxed);
        assert!(
            written > REALTIME_WAITING_BYTES_MAX && written < 2 * REALTIME_WAITING_BYTES_MAX,
            "{written}"
        );
        drop((sockets, client));
        talking.await.unwrap();
    }

    #[tokio::test]
    async fn a_close_is_passed_on_and_stands_alone_at_the_end() {
        let mut fixture = fixture();
        let close = close_frame(1000, "", MASK);
        fixture.client.write_all(&close).await.unwrap();
        assert_eq!(fixture.sockets.step().await, Step::Closes(Sender::Client, Some(1000)));
        let wait = Duration::from_secs(5);
        let (near, far) = fixture.sockets.end(b"to the client", b"to the upstream", wait).await;
        drop((near, far));
        let (mut of_client, mut of_upstream) = (Vec::new(), Vec::new());
        fixture.client.read_to_end(&mut of_client).await.unwrap();
        fixture.upstream.read_to_end(&mut of_upstream).await.unwrap();
        assert_eq!((&*of_client, &*of_upstream), (&b"to the client"[..], &*close));
    }
}
