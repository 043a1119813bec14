//! Watches the frames of an HTTP/2 client for floods that the library below would answer for ever.

use domain::limits::{H2_IDLE_FRAMES_MAX, H2_IDLE_FRAMES_PER_S};
use tokio::time::Instant;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
/// The most that is read at once of a flooding client's last frame.
pub(crate) const LAST_READ_BYTES: usize = 256;
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
/// A ping without payload. The library sends a GOAWAY only to a client that makes an error, so this error is
/// injected after the last frame of one that floods.
const ERROR: &[u8] = &[0, 0, 0, PING, 0, 0, 0, 0, 0];

/// How far a client's frames were read, and how many control frames that request nothing it may still send.
pub(crate) struct Frames {
    head: [u8; HEAD_BYTES],
    /// The bytes of the current frame head that have arrived.
    have: usize,
    /// The bytes of the preface or the current payload that are still to come.
    skip: usize,
    left: u32,
    since: Option<Instant>,
    stage: Stage,
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
pub(crate) enum ReadLimit {
    Any,
    UpTo(usize),
    /// Only these bytes, and then the end.
    Farewell(&'static [u8]),
}

impl Default for Frames {
    fn default() -> Self {
        let (head, stage) = ([0; HEAD_BYTES], Stage::Open);
        Self { head, have: 0, skip: PREFACE_BYTES, left: H2_IDLE_FRAMES_MAX, since: None, stage }
    }
}

impl Frames {
    pub(crate) fn read_limit(&mut self) -> ReadLimit {
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

    /// Takes bytes that the client sent.
    pub(crate) fn saw(&mut self, mut bytes: &[u8], now: Instant) {
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
        if !is_empty && !matches!(kind, PRIORITY | SETTINGS | PING | GOAWAY) {
            return;
        }
        let since = *self.since.get_or_insert(now);
        let earned = (now - since).as_millis() * u128::from(H2_IDLE_FRAMES_PER_S) / 1_000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            (self.left, self.since) = (self.left.saturating_add(earned).min(H2_IDLE_FRAMES_MAX), Some(now));
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None if self.stage == Stage::Open => self.stage = Stage::Ending,
            None => {}
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
        let (mut frames, mut now) = (Frames::default(), Instant::now());
        frames.saw(&[b'P'; PREFACE_BYTES], now);
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
}
