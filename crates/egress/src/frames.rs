//! Watches the frames of an HTTP/2 peer for floods that the library behind it would answer for ever.

use std::io;
use std::task::{Context, Poll, ready};

use domain::limits::{H2_IDLE_FRAMES_MAX, H2_IDLE_FRAMES_PER_S};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::limits::{TUNNEL_FRAMES_MAX, TUNNEL_FRAMES_PER_S};

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
/// The most that is read at once of a flooding peer's last frame.
const LAST_READ_BYTES: usize = 256;
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
/// A ping without payload. The library sends a GOAWAY only to a peer that makes an error, so this error is
/// injected after the last frame of one that floods.
const ERROR: &[u8] = &[0, 0, 0, PING, 0, 0, 0, 0, 0];

/// How far a peer's frames were read, and how many it may still send that carry nothing.
pub struct FrameWatch {
    head: [u8; HEAD_BYTES],
    /// The bytes of the current frame head that have arrived.
    have: usize,
    /// The bytes of the preface or the current payload that are still to come.
    skip: usize,
    /// For control frames that belong to no request.
    idle: Allowance,
    /// For all other frames without content. Clients have none: the library bounds what they may open and reset.
    bare: Option<Allowance>,
    stage: Stage,
}

/// How many frames of a kind may still come; it grows with time.
struct Allowance {
    left: u32,
    max: u32,
    per_s: u32,
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// It flooded: its current frame may end, and nothing follows.
    Ending,
    Ended,
}

/// What may be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadLimit {
    Any,
    UpTo(usize),
    /// Only these bytes, and then the end.
    Farewell(&'static [u8]),
}

impl Allowance {
    const fn new(max: u32, per_s: u32) -> Self {
        Self { left: max, max, per_s, since: None }
    }

    /// Takes one; false if there is none left.
    fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = (now - since).as_millis() * u128::from(self.per_s) / 1_000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            (self.left, self.since) = (self.left.saturating_add(earned).min(self.max), Some(now));
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

impl FrameWatch {
    /// For a client, whose preface comes first.
    pub const fn of_client() -> Self {
        Self::new(PREFACE_BYTES, None)
    }

    /// For the node behind a tunnel, which answers requests.
    pub(crate) const fn of_node() -> Self {
        Self::new(0, Some(Allowance::new(TUNNEL_FRAMES_MAX, TUNNEL_FRAMES_PER_S)))
    }

    const fn new(skip: usize, bare: Option<Allowance>) -> Self {
        let idle = Allowance::new(H2_IDLE_FRAMES_MAX, H2_IDLE_FRAMES_PER_S);
        Self { head: [0; HEAD_BYTES], have: 0, skip, idle, bare, stage: Stage::Open }
    }

    /// Whether the peer flooded.
    pub fn is_flooded(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Reads what the peer sends, with `read`, up to the end of the frame with which it floods.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        mut read: impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match self.read_limit() {
            ReadLimit::Any => ready!(read(cx, buffer))?,
            ReadLimit::UpTo(count) => {
                let mut scratch = [0; LAST_READ_BYTES];
                let mut last =
                    ReadBuf::new(scratch.get_mut(..count.min(buffer.remaining())).unwrap_or_default());
                ready!(read(cx, &mut last))?;
                buffer.put_slice(last.filled());
            }
            ReadLimit::Farewell(bytes) => {
                buffer.put_slice(bytes.get(..buffer.remaining()).unwrap_or(bytes));
                return Poll::Ready(Ok(()));
            }
        }
        self.saw(buffer.filled().get(before..).unwrap_or_default(), Instant::now());
        Poll::Ready(Ok(()))
    }

    fn read_limit(&mut self) -> ReadLimit {
        match (self.stage, self.skip, self.have) {
            (Stage::Open, ..) => ReadLimit::Any,
            (Stage::Ending, 0, 0) => {
                self.stage = Stage::Ended;
                ReadLimit::Farewell(ERROR)
            }
            (Stage::Ending, 0, have) => ReadLimit::UpTo(HEAD_BYTES - have),
            (Stage::Ending, skip, _) => ReadLimit::UpTo(skip.min(LAST_READ_BYTES)),
            (Stage::Ended, ..) => ReadLimit::Farewell(&[]),
        }
    }

    /// Takes bytes that the peer sent.
    fn saw(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            let (came, rest) = bytes.split_at_checked(taken).unwrap_or_default();
            if let Some(free_part) = self.head.get_mut(self.have..self.have + taken) {
                free_part.copy_from_slice(came);
            }
            self.have += taken;
            bytes = rest;
            if self.have == HEAD_BYTES {
                self.have = 0;
                self.begin(now);
            }
        }
    }

    /// A frame head is complete.
    fn begin(&mut self, now: Instant) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let is_empty = kind == DATA && self.skip == 0 && flags & END_STREAM == 0;
        let may_come = if is_empty || matches!(kind, PRIORITY | SETTINGS | PING | GOAWAY) {
            self.idle.take(now)
        } else if kind == DATA {
            true
        } else {
            self.bare.as_mut().is_none_or(|bare| bare.take(now))
        };
        if !may_come && self.stage == Stage::Open {
            self.stage = Stage::Ending;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 0];
        bytes.resize(HEAD_BYTES + payload, 7);
        bytes
    }

    /// What may still be read after these frames, wherever they are split, the last of them incomplete.
    fn check(stream: &[u8], size: usize, every: Duration) -> Vec<ReadLimit> {
        let mut frames = FrameWatch::of_client();
        frames.saw(&[b'P'; PREFACE_BYTES], Instant::now());
        limits(frames, stream, size, every)
    }

    fn limits(mut frames: FrameWatch, stream: &[u8], size: usize, every: Duration) -> Vec<ReadLimit> {
        let mut now = Instant::now();
        for piece in stream.chunks(size) {
            if frames.stage != Stage::Open {
                break;
            }
            frames.saw(piece, now);
            now += every;
        }
        let mut limits = Vec::new();
        while frames.stage == Stage::Ending {
            limits.push(frames.read_limit());
            match limits.last() {
                Some(ReadLimit::UpTo(count)) => frames.saw(&vec![0; *count], now),
                _ => break,
            }
        }
        limits
    }

    #[tokio::test]
    async fn floods_end_at_a_frames_end_and_requests_are_none() {
        let many = usize::try_from(H2_IDLE_FRAMES_MAX).unwrap() + 1;
        for (kind, payload) in [(PING, 8), (SETTINGS, 0), (SETTINGS, 6), (PRIORITY, 5), (DATA, 0)] {
            let flood = frame(kind, 0, payload).repeat(many);
            for size in [1, 7, 17, 4_000, flood.len()] {
                let limits = check(&flood, size, Duration::ZERO);
                assert_eq!(limits.last(), Some(&ReadLimit::Farewell(ERROR)), "{kind} {size}");
            }
            assert_eq!(check(&frame(kind, 0, payload).repeat(many - 1), 100, Duration::ZERO), []);
        }
        // Headers, data, resets and window updates make up requests.
        for (kind, flags, payload) in
            [(1, 4, 30), (DATA, 0, 1), (DATA, END_STREAM, 0), (3, 0, 4), (8, 0, 4), (9, 4, 9)]
        {
            assert_eq!(
                check(&frame(kind, flags, payload).repeat(many * 3), 100, Duration::ZERO),
                [],
                "{kind}"
            );
        }
        // A ping for each message of a busy stream, a hundred a second.
        let ping = frame(PING, 0, 8);
        assert_eq!(check(&ping.repeat(many * 3), ping.len(), Duration::from_millis(10)), []);
        assert_ne!(check(&ping.repeat(many * 3), ping.len(), Duration::from_millis(5)), []);
    }

    #[tokio::test]
    async fn a_node_may_send_heads_and_resets_as_fast_as_answers_and_no_faster() {
        let many = usize::try_from(TUNNEL_FRAMES_MAX).unwrap() + 1;
        for (kind, payload) in [(1, 30), (3, 4), (8, 4), (9, 9), (200, 0)] {
            let flood = frame(kind, 4, payload).repeat(many);
            let ended = limits(FrameWatch::of_node(), &flood, 4_000, Duration::ZERO);
            assert_eq!(ended.last(), Some(&ReadLimit::Farewell(ERROR)), "{kind}");
            let slower = limits(FrameWatch::of_node(), &flood, 9 + payload, Duration::from_millis(1));
            assert_eq!(slower, [], "{kind}");
        }
        let ping = frame(PING, 0, 8).repeat(usize::try_from(H2_IDLE_FRAMES_MAX).unwrap() + 1);
        assert_ne!(limits(FrameWatch::of_node(), &ping, 4_000, Duration::ZERO), []);
        let content = frame(DATA, 0, 1).repeat(many * 2);
        assert_eq!(limits(FrameWatch::of_node(), &content, 4_000, Duration::ZERO), []);
    }
}
