//! The journal's byte format: segment headers and checksummed frames. Pure; every byte may be torn, stale or
//! hostile.

use domain::TraceId;
use domain::limits::JOURNAL_RECORD_BYTES_MAX;

use crate::entry::{KIND_SETTLED, KIND_STATE};
use crate::limits::SALVAGE_CHECKED_BYTES_MAX;

/// The size of a segment's header, whatever follows.
pub const HEADER_BYTES: usize = 64;
/// Length and checksum, before each payload.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Kind and trace, before the body.
pub(crate) const PAYLOAD_HEAD_BYTES: usize = 17;
/// Raised with every change of the encoding inside a frame; a golden test ties the two together.
pub const FORMAT_VERSION: u32 = 3;

const MAGIC_LIVE: [u8; 8] = *b"tgjrnl\x01L";
const MAGIC_FREE: [u8; 8] = *b"tgjrnl\x01F";
const HEADER_FIELDS_BYTES: usize = 32;

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: u32,
    pub core: u32,
    /// Increases by one with each segment that a core starts, across restarts too.
    pub number: u64,
    /// Random, the same for all segments of one run.
    pub epoch: u64,
    /// Everything in it is in the store and no tab needs it: its bytes are meaningless.
    pub free: bool,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let magic = if self.free { MAGIC_FREE } else { MAGIC_LIVE };
        let fields = magic
            .into_iter()
            .chain(self.version.to_le_bytes())
            .chain(self.core.to_le_bytes())
            .chain(self.number.to_le_bytes())
            .chain(self.epoch.to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        let (head, tail) = bytes.split_at_mut(HEADER_FIELDS_BYTES);
        let crc = crc32fast::hash(head).to_le_bytes();
        for (to, from) in tail.iter_mut().zip(crc) {
            *to = from;
        }
        bytes
    }

    /// `None` without a complete header: a segment that was never started, or whose first write was lost.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(HEADER_FIELDS_BYTES)?;
        let (magic, fields_after) = fields.split_first_chunk::<8>()?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let free = *magic == MAGIC_FREE;
        if !(free || *magic == MAGIC_LIVE) || u32::from_le_bytes(*crc) != crc32fast::hash(fields) {
            return None;
        }
        let (version, fields_after) = fields_after.split_first_chunk::<4>()?;
        let (core, fields_after) = fields_after.split_first_chunk::<4>()?;
        let (number, fields_after) = fields_after.split_first_chunk::<8>()?;
        let (epoch, _) = fields_after.split_first_chunk::<8>()?;
        Some(Self {
            version: u32::from_le_bytes(*version),
            core: u32::from_le_bytes(*core),
            number: u64::from_le_bytes(*number),
            epoch: u64::from_le_bytes(*epoch),
            free,
        })
    }

    pub fn seed(&self) -> u32 {
        seed(self.epoch, self.number)
    }
}

/// The seed of a segment's checksums, so that frames left from an earlier use of the same file never pass.
pub fn seed(epoch: u64, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.finalize()
}

/// One frame whose checksum holds; its body is not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEntry<'a> {
    pub kind: u8,
    pub trace: TraceId,
    pub body: &'a [u8],
    /// The offset of the next frame from the first parsed byte.
    pub end: usize,
}

/// The frames at the start of some bytes, up to the first that is torn, stale or absent.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    seed: u32,
    position: usize,
}

/// Parses frames that were written with `seed`.
pub const fn parse_records(bytes: &[u8], seed: u32) -> Frames<'_> {
    Frames { bytes, seed, position: 0 }
}

impl Frames<'_> {
    /// The size of the frames returned so far.
    pub const fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = RawEntry<'a>;

    fn next(&mut self) -> Option<RawEntry<'a>> {
        let rest = self.bytes.get(self.position..)?;
        let (length_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length_bytes) as usize;
        if !(PAYLOAD_HEAD_BYTES..=JOURNAL_RECORD_BYTES_MAX).contains(&length) {
            return None;
        }
        let payload = rest.get(..length)?;
        if u32::from_le_bytes(*crc) != checksum(self.seed, *length_bytes, payload) {
            return None;
        }
        let (kind, payload) = payload.split_first()?;
        let (trace, body) = payload.split_first_chunk::<16>()?;
        self.position += FRAME_HEAD_BYTES + length;
        Some(RawEntry { kind: *kind, trace: trace_from(*trace), body, end: self.position })
    }
}

/// The frames of some bytes, also those behind a break: after a kill nothing is behind the torn end, but after damage there may be.
#[derive(Debug, Clone)]
pub struct Salvage<'a> {
    frames: Frames<'a>,
    gaps: u64,
    /// How many more bytes may be checked for frames: hostile bytes look like a frame at every offset.
    unchecked: usize,
}

/// Parses what was written with `seed`, and goes on behind what is damaged.
pub const fn salvage_records(bytes: &[u8], seed: u32) -> Salvage<'_> {
    Salvage { frames: parse_records(bytes, seed), gaps: 0, unchecked: SALVAGE_CHECKED_BYTES_MAX }
}

impl Salvage<'_> {
    /// How often frames followed on something that was none.
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The end of the last frame returned.
    pub const fn position(&self) -> usize {
        self.frames.position
    }

    /// Where the next frame behind the break begins.
    fn next_whole(&mut self) -> Option<usize> {
        let Frames { bytes, seed, position } = self.frames;
        let behind = position + 1;
        for (offset, head) in bytes.get(behind..)?.windows(FRAME_HEAD_BYTES + 1).enumerate() {
            let (Some((length, _)), Some(kind)) = (head.split_first_chunk::<4>(), head.last()) else { break };
            let length = u32::from_le_bytes(*length) as usize;
            let position = behind + offset;
            let is_plausible = (PAYLOAD_HEAD_BYTES..=JOURNAL_RECORD_BYTES_MAX).contains(&length)
                && (KIND_STATE..=KIND_SETTLED).contains(kind)
                && bytes.len() - position >= FRAME_HEAD_BYTES + length;
            if is_plausible {
                self.unchecked = self.unchecked.checked_sub(length)?;
                if (Frames { bytes, seed, position }).next().is_some() {
                    return Some(position);
                }
            }
        }
        None
    }
}

impl<'a> Iterator for Salvage<'a> {
    type Item = RawEntry<'a>;

    fn next(&mut self) -> Option<RawEntry<'a>> {
        if let Some(entry) = self.frames.next() {
            return Some(entry);
        }
        self.frames.position = self.next_whole()?;
        self.gaps += 1;
        self.frames.next()
    }
}

/// Why a body could not be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    Body,
    TooLarge,
}

/// Appends one frame to `out`, without its checksum: `seal` adds it once the frame's segment is known.
pub(crate) fn append_frame<T: serde::Serialize>(
    out: &mut Vec<u8>,
    kind: u8,
    trace: TraceId,
    body: &T,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    out.push(kind);
    out.extend_from_slice(trace.as_bytes());
    let written = postcard::serialize_with_flavor(body, Tail(out)).is_ok();
    let length = out.len() - start - FRAME_HEAD_BYTES;
    if !written || length > JOURNAL_RECORD_BYTES_MAX {
        out.truncate(start);
        return Err(if written { EncodeError::TooLarge } else { EncodeError::Body });
    }
    Ok(())
}

/// Writes length and checksum into the head of a complete frame.
pub(crate) fn seal(frame: &mut [u8], seed: u32) {
    let Some((head, payload)) = frame.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else { return };
    // `append_frame` bounds the length far below 32 bits.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = checksum(seed, length, payload).to_le_bytes();
    for (to, from) in head.iter_mut().zip(length.into_iter().chain(crc)) {
        *to = from;
    }
}

fn checksum(seed: u32, length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

fn trace_from(bytes: [u8; 16]) -> TraceId {
    TraceId::from_uuid(uuid::Uuid::from_bytes(bytes))
}

struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        match bytes {
            // Most numbers are this short, and a copy of unknown length is a function call.
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
