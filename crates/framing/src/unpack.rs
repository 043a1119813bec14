//! Decompresses bodies one slice at a time: bounded in output, in input that
//! yields no output, and in CPU time.
//!
//! Input that decompresses to nothing (empty blocks, empty members) costs a decoder as much as input that
//! decompresses to something, so a bound on the output alone is not enough.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use crate::limits::{RATIO_AHEAD_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};

/// The most output of one step.
const STEP_BYTES: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;

/// A content encoding that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body is not decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecompressError {
    /// It is not valid in its encoding.
    Corrupt,
    /// Its output exceeds the bound, or too large a multiple of its size.
    TooLarge,
    /// Decompressing it takes more work than bodies of its size do.
    TooCostly,
}

/// The bounds on a body's output and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of the decompressed body.
    pub bytes_max: usize,
    /// The largest ratio of output to input, once there is more output than `ratio_free_bytes`.
    pub ratio_max: usize,
    pub ratio_free_bytes: usize,
    /// The most input of one step.
    pub slice_bytes: usize,
    /// Once more input than this was read, at least one byte in `idle_share` must have come out.
    pub idle_bytes_max: usize,
    pub idle_share: usize,
    /// The CPU time that the work may take, and the additional time for each MiB of output.
    pub work_free: Duration,
    pub work_per_mib: Duration,
    /// Concatenated gzip members.
    pub members_max: usize,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    More,
    Done,
}

/// A body that is being decompressed. No step takes more than a slice of the input, so that its driver can
/// yield to other tasks after each.
pub struct Decompressor {
    decoder: Decoder,
    bounds: Bounds,
    packed_bytes: usize,
    members: usize,
    work: Duration,
    whole: BytesMut,
}

/// The input, limited to what the current step may take.
struct Slices {
    rest: Bytes,
    taken: usize,
    allowed: usize,
}

enum Decoder {
    Gzip(GzipDecoder<Slices>),
    Deflate(DeflateDecoder<Slices>),
    Brotli(BrotliDecoder<Slices>),
    Zstd(ZstdDecoder<Slices>),
}

impl Decompressor {
    pub fn new(packed: Bytes, encoding: Encoding, bounds: Bounds) -> Self {
        let packed_bytes = packed.len();
        let rest = if encoding == Encoding::Deflate { without_zlib_head(packed) } else { packed };
        let slices = Slices { rest, taken: 0, allowed: 0 };
        let decoder = match encoding {
            Encoding::Gzip => Decoder::Gzip(GzipDecoder::new(slices)),
            Encoding::Deflate => Decoder::Deflate(DeflateDecoder::new(slices)),
            Encoding::Brotli => Decoder::Brotli(BrotliDecoder::new(slices)),
            Encoding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                Decoder::Zstd(ZstdDecoder::with_params(slices, &[window]))
            }
        };
        Self { decoder, bounds, packed_bytes, members: 1, work: Duration::ZERO, whole: BytesMut::new() }
    }

    /// Decompresses the next slice.
    ///
    /// # Errors
    /// The input is malformed, or exceeds the bounds.
    pub fn step(&mut self) -> Result<Step, DecompressError> {
        self.decoder.slices().allowed = self.bounds.slice_bytes;
        self.whole.reserve(STEP_BYTES);
        let read = {
            let mut room = (&mut self.whole).limit(STEP_BYTES);
            let mut reading = pin!(self.decoder.read_buf(&mut room));
            // The decoder is only ever pending on its next slice.
            reading.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match read {
            Poll::Pending => self.check().map(|()| Step::More),
            Poll::Ready(Ok(0)) => self.next_member(),
            Poll::Ready(Ok(_)) => self.check().map(|()| Step::More),
            Poll::Ready(Err(_)) => Err(DecompressError::Corrupt),
        }
    }

    /// Charges the CPU time of a step.
    ///
    /// # Errors
    /// It is more than a body with that much output takes.
    pub fn charge(&mut self, work: Duration) -> Result<(), DecompressError> {
        self.work += work;
        let mib = u32::try_from(self.whole.len() / MIB).unwrap_or(u32::MAX);
        let work_max = self.bounds.work_free + self.bounds.work_per_mib.saturating_mul(mib);
        if self.work > work_max { Err(DecompressError::TooCostly) } else { Ok(()) }
    }

    /// The decompressed body.
    pub fn finish(self) -> Bytes {
        self.whole.freeze()
    }

    fn check(&mut self) -> Result<(), DecompressError> {
        let (taken, put_out, bounds) = (self.decoder.slices().taken, self.whole.len(), self.bounds);
        let grown = self.packed_bytes.saturating_mul(bounds.ratio_max).max(bounds.ratio_free_bytes);
        let so_far = taken.saturating_mul(bounds.ratio_max).saturating_add(RATIO_AHEAD_BYTES_MAX);
        if put_out > grown.min(so_far).min(bounds.bytes_max) {
            return Err(DecompressError::TooLarge);
        }
        if taken > bounds.idle_bytes_max && put_out < taken / bounds.idle_share.max(1) {
            return Err(DecompressError::TooCostly);
        }
        Ok(())
    }

    /// A gzip file may be several, concatenated.
    fn next_member(&mut self) -> Result<Step, DecompressError> {
        let Decoder::Gzip(decoder) = &mut self.decoder else { return Ok(Step::Done) };
        let Slices { rest, taken, .. } = decoder.get_mut();
        if rest.is_empty() {
            return Ok(Step::Done);
        }
        self.members += 1;
        if self.members > self.bounds.members_max {
            return Err(DecompressError::TooCostly);
        }
        let slices = Slices { rest: std::mem::take(rest), taken: *taken, allowed: 0 };
        self.decoder = Decoder::Gzip(GzipDecoder::new(slices));
        Ok(Step::More)
    }
}

impl Decoder {
    fn slices(&mut self) -> &mut Slices {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl AsyncRead for Decoder {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Deflate(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Brotli(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(cx, buffer),
        }
    }
}

impl AsyncRead for Slices {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let slice = std::task::ready!(Pin::new(&mut *this).poll_fill_buf(cx))?;
        let count = slice.len().min(buffer.remaining());
        buffer.put_slice(slice.get(..count).unwrap_or_default());
        Pin::new(this).consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Slices {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<&[u8]>> {
        let this = self.get_mut();
        match this.rest.len().min(this.allowed) {
            0 if !this.rest.is_empty() => Poll::Pending,
            count => Poll::Ready(Ok(this.rest.get(..count).unwrap_or_default())),
        }
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        this.rest.advance(count.min(this.rest.len()));
        this.taken += count;
        this.allowed = this.allowed.saturating_sub(count);
    }
}

/// HTTP's "deflate" is the zlib format; some clients send the bare stream. The
/// first two bytes tell them apart.
fn without_zlib_head(packed: Bytes) -> Bytes {
    match *packed {
        [method, flags, ..]
            if method & 0x0f == 8 && (u16::from(method) << 8 | u16::from(flags)) % 31 == 0 =>
        {
            packed.slice(2..)
        }
        _ => packed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::Level;
    use async_compression::tokio::write::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZstdEncoder};
    use tokio::io::AsyncWriteExt;

    const ENCODINGS: [Encoding; 4] = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd];

    const BOUNDS: Bounds = Bounds {
        bytes_max: 32 * MIB,
        ratio_max: 100,
        ratio_free_bytes: MIB,
        slice_bytes: 1024,
        idle_bytes_max: 256 * 1024,
        idle_share: 4,
        work_free: Duration::from_millis(200),
        work_per_mib: Duration::from_millis(20),
        members_max: 16,
    };

    /// Runs a future that never waits.
    fn now<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn pack(encoding: Encoding, plain: &[u8], level: Level) -> Bytes {
        macro_rules! packed {
            ($encoder:ident) => {{
                let mut encoder = $encoder::with_quality(Vec::new(), level);
                now(encoder.write_all(plain)).unwrap();
                now(encoder.shutdown()).unwrap();
                Bytes::from(encoder.into_inner())
            }};
        }
        match encoding {
            Encoding::Gzip => packed!(GzipEncoder),
            Encoding::Deflate => packed!(DeflateEncoder),
            Encoding::Brotli => packed!(BrotliEncoder),
            Encoding::Zstd => packed!(ZstdEncoder),
        }
    }

    /// The outcome, the number of steps, and how much of the input was read; each
    /// step is charged the same work.
    fn run(
        packed: &Bytes,
        encoding: Encoding,
        bytes_max: usize,
        work: Duration,
    ) -> (Result<Bytes, DecompressError>, usize, usize) {
        let mut unpacking = Decompressor::new(packed.clone(), encoding, Bounds { bytes_max, ..BOUNDS });
        for steps in 1.. {
            let before = unpacking.decoder.slices().taken;
            let stepped = unpacking.step().and_then(|step| unpacking.charge(work).map(|()| step));
            let taken = unpacking.decoder.slices().taken;
            assert!(taken - before <= BOUNDS.slice_bytes, "{encoding:?}: {before} {taken}");
            match stepped {
                Ok(Step::More) => {}
                Ok(Step::Done) => return (Ok(unpacking.finish()), steps, taken),
                Err(trouble) => return (Err(trouble), steps, taken),
            }
        }
        unreachable!()
    }

    fn unpack(packed: &Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, DecompressError> {
        run(packed, encoding, bytes_max, Duration::ZERO).0
    }

    /// Incompressible bytes.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(count)
        .collect()
    }

    /// A gzip member of this many empty blocks, ten bits each.
    fn empty_blocks(count: usize) -> Bytes {
        let four = (0..4).fold(0_u64, |bits, at| bits | 2 << (10 * at)).to_le_bytes();
        let mut bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
        for _ in 0..count / 4 {
            bomb.extend_from_slice(&four[..5]);
        }
        bomb.extend_from_slice(b"\x03\0\0\0\0\0\0\0\0\0");
        bomb.into()
    }

    #[test]
    fn bodies_come_out_as_they_went_in_whatever_they_hold() {
        let line = |n: u32| {
            format!(r#"{{"role":"user","content":"What is {:x}?"}},"#, n.wrapping_mul(2_654_435_761))
        };
        let text: String = (0..8_000).map(line).collect();
        for encoding in ENCODINGS {
            for plain in [Vec::new(), b"{}".to_vec(), noise(MIB / 2), text.clone().into_bytes()] {
                for level in [Level::Fastest, Level::Precise(4)] {
                    let packed = pack(encoding, &plain, level);
                    let unpacked = unpack(&packed, encoding, BOUNDS.bytes_max);
                    assert!(unpacked.unwrap() == plain, "{encoding:?} {level:?} {}", plain.len());
                }
            }
        }
    }

    #[test]
    fn the_cap_and_the_ratio_hold_for_what_is_unpacked() {
        for encoding in ENCODINGS {
            let packed = pack(encoding, &noise(5_000), Level::Default);
            assert_eq!(unpack(&packed, encoding, 5_000).unwrap(), noise(5_000));
            assert_eq!(unpack(&packed, encoding, 4_999), Err(DecompressError::TooLarge));
            let bomb = pack(encoding, &vec![b' '; 16 * MIB], Level::Default);
            assert_eq!(
                unpack(&bomb, encoding, BOUNDS.bytes_max),
                Err(DecompressError::TooLarge),
                "{encoding:?}"
            );
            assert_eq!(
                unpack(&Bytes::from_static(b"not packed at all"), encoding, 100),
                Err(DecompressError::Corrupt)
            );
        }
        let packed = pack(Encoding::Gzip, &noise(5_000), Level::Default);
        let cut = packed.slice(..packed.len() / 2);
        assert_eq!(unpack(&cut, Encoding::Gzip, 20_000), Err(DecompressError::Corrupt));
    }

    /// The whole of each body has a fair ratio, by the noise at its end.
    #[test]
    fn a_bomb_before_an_honest_rest_is_refused_before_the_rest_is_read() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let body = |spaces: usize| [vec![b' '; spaces], noise(MIB / 4)].concat();
            let fair = pack(encoding, &body(6 * MIB), Level::Default);
            assert_eq!(unpack(&fair, encoding, BOUNDS.bytes_max).unwrap().len(), 6 * MIB + MIB / 4);
            let bomb = pack(encoding, &body(24 * MIB), Level::Default);
            assert!(bomb.len() * BOUNDS.ratio_max > 25 * MIB, "{encoding:?}: {}", bomb.len());
            let (outcome, _, taken) = run(&bomb, encoding, BOUNDS.bytes_max, Duration::ZERO);
            assert_eq!(outcome, Err(DecompressError::TooLarge), "{encoding:?}");
            assert!(taken < MIB / 8, "{encoding:?}: {taken} of {}", bomb.len());
        }
    }

    #[test]
    fn a_few_gzip_members_are_one_body_and_many_are_none() {
        let packed = pack(Encoding::Gzip, &noise(100), Level::Default);
        let few = Bytes::from(packed.repeat(BOUNDS.members_max));
        assert_eq!(unpack(&few, Encoding::Gzip, MIB).unwrap().len(), 100 * BOUNDS.members_max);
        let many = Bytes::from(packed.repeat(BOUNDS.members_max + 1));
        assert_eq!(unpack(&many, Encoding::Gzip, MIB), Err(DecompressError::TooCostly));
        let behind = Bytes::from([&*packed, b"garbage"].concat());
        assert_eq!(unpack(&behind, Encoding::Gzip, MIB), Err(DecompressError::Corrupt));
    }

    #[test]
    fn a_body_that_unpacks_to_nothing_is_refused_early() {
        let bomb = empty_blocks(6_000_000);
        let (outcome, steps, taken) = run(&bomb, Encoding::Gzip, BOUNDS.bytes_max, Duration::ZERO);
        assert_eq!(outcome, Err(DecompressError::TooCostly));
        assert!(taken <= BOUNDS.idle_bytes_max + BOUNDS.slice_bytes, "{taken} of {}", bomb.len());
        assert!(steps >= BOUNDS.idle_bytes_max / BOUNDS.slice_bytes, "{steps}");
    }

    #[test]
    fn work_is_bounded_by_what_comes_out() {
        let packed = pack(Encoding::Gzip, &noise(2 * MIB), Level::Default);
        let steps = u32::try_from(packed.len() / BOUNDS.slice_bytes).unwrap();
        // As much as a slow machine takes, and five times as much.
        let fair = (BOUNDS.work_free + BOUNDS.work_per_mib) / steps;
        assert!(run(&packed, Encoding::Gzip, BOUNDS.bytes_max, fair / 2).0.is_ok());
        let (outcome, ..) = run(&packed, Encoding::Gzip, BOUNDS.bytes_max, fair * 5);
        assert_eq!(outcome, Err(DecompressError::TooCostly));
    }
}
