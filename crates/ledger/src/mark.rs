//! What a core's journal is known to hold, in a small file beside it: recovery compares it with what it finds, so that entries
//! which are gone are noticed.
//!
//! The mark never names a byte that is not synced, so neither a kill nor a power loss makes a journal shorter than its mark.
//! Backups don't copy it: a journal without its mark is read as far as it goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use world::{Disk, DiskFile};

use crate::frame::SegmentHeader;

const MAGIC: [u8; 8] = *b"tgmark\x01\0";
/// Two slots, written in turn, each in its own sector: a torn one leaves the other.
const SLOT_BYTES: u64 = 512;
const BLANK: [u8; 1024] = [0; 1024];
/// With the number of the write.
const FIELDS: usize = 10;
const MARK_BYTES: usize = 8 + 8 * FIELDS + 4;

/// The state of one core's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub epoch: u64,
    /// The numbers of the oldest and the newest segment that are needed; none is if the oldest is the greater.
    pub oldest: u64,
    pub current: u64,
    /// How far the newest is synced.
    pub end: u64,
    /// Entries in these segments, up to `end`.
    pub entries: u64,
    /// Settled records that this epoch wrote up to `end`, and those of them that the sink has.
    pub settled: u64,
    pub drained: u64,
    /// The position up to which the sink has them.
    pub drained_to: (u64, u64),
}

impl Mark {
    /// Whether the entry that ends here is among `entries`.
    pub fn counts(&self, header: &SegmentHeader, end: u64) -> bool {
        self.needs(header) && (header.number, end) <= (self.current, self.end)
    }

    /// Whether the segment is one of those that must be there.
    pub const fn needs(&self, header: &SegmentHeader) -> bool {
        header.epoch == self.epoch && header.number >= self.oldest && header.number <= self.current
    }

    /// The same journal, of which nothing is needed any more.
    pub fn of_none(&self) -> Self {
        Self { epoch: self.epoch, oldest: self.current + 1, current: self.current, ..Self::default() }
    }

    pub const fn is_of_none(&self) -> bool {
        self.oldest > self.current && self.pending() == 0
    }

    /// Settled records that only the journal has.
    pub const fn pending(&self) -> u64 {
        self.settled.saturating_sub(self.drained)
    }

    const fn fields(&self, sequence: u64) -> [u64; FIELDS] {
        let Self { epoch, oldest, current, end, entries, settled, drained, drained_to } = *self;
        [sequence, epoch, oldest, current, end, entries, settled, drained, drained_to.0, drained_to.1]
    }

    fn encode(&self, sequence: u64) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.fields(sequence).into_iter().flat_map(u64::to_le_bytes));
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(u64, Self)> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let fields = body.strip_prefix(&MAGIC)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut fields =
            fields.chunks_exact(8).filter_map(|field| Some(u64::from_le_bytes(*field.first_chunk()?)));
        let mut next = || fields.next();
        let sequence = next()?;
        let (epoch, oldest, current, end) = (next()?, next()?, next()?, next()?);
        let (entries, settled, drained) = (next()?, next()?, next()?);
        let drained_to = (next()?, next()?);
        Some((sequence, Self { epoch, oldest, current, end, entries, settled, drained, drained_to }))
    }
}

/// What a mark's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No journal was marked here: it is of an older version, or from a backup.
    Nothing,
    Mark(Mark),
    Unreadable,
}

/// The file of one core's mark.
pub(crate) struct MarkFile {
    file: Arc<dyn DiskFile>,
    sequence: u64,
    pub found: Found,
}

impl MarkFile {
    /// Opens it, with its blocks allocated.
    pub fn open(disk: &dyn Disk, dir: &Path, core: u32) -> io::Result<Self> {
        let marks = marks_dir(dir);
        disk.create_dir_all(&marks)?;
        let file: Arc<dyn DiskFile> = disk.open(&marks.join(format!("core-{core}")))?.into();
        let slots = [0, SLOT_BYTES].map(|offset| {
            let mut bytes = [0; MARK_BYTES];
            file.read_at(&mut bytes, offset).map(|_| bytes)
        });
        let [first, second] = slots;
        let slots = [first?, second?];
        let newest =
            slots.iter().filter_map(|bytes| Mark::decode(bytes)).max_by_key(|(sequence, _)| *sequence);
        // The first one of all may have been torn.
        let is_blank = slots.iter().any(|slot| slot.iter().all(|byte| *byte == 0));
        let (sequence, found) = match newest {
            Some((sequence, mark)) => (sequence, Found::Mark(mark)),
            None if is_blank => (0, Found::Nothing),
            None => (0, Found::Unreadable),
        };
        if file.len()? < BLANK.len() as u64 {
            file.write_at(&BLANK, 0)?;
            file.sync_data()?;
        }
        Ok(Self { file, sequence, found })
    }

    /// Writes a mark, and waits until it is on disk if `synced`.
    ///
    /// # Errors
    /// Any error of the disk; the last mark is still there.
    pub fn put(&mut self, mark: Mark, synced: bool) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.write_at(&mark.encode(sequence), sequence % 2 * SLOT_BYTES)?;
        self.sequence = sequence;
        self.found = Found::Mark(mark);
        if synced { self.file.sync_data() } else { Ok(()) }
    }
}

/// The directory of the marks of a journal's cores.
pub(crate) fn marks_dir(dir: &Path) -> PathBuf {
    beside(dir, "marks")
}

/// A directory beside that of the journal.
pub(crate) fn beside(dir: &Path, what: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!("{name}-{what}"))
}

#[cfg(test)]
mod tests {
    use world::FaultDisk;

    use super::*;

    #[test]
    fn a_torn_mark_leaves_the_one_before_it() {
        let disk = FaultDisk::new();
        let dir = Path::new("/data/journal");
        let mark =
            |end| Mark { epoch: 9, oldest: 1, current: 2, end, drained_to: (1, 70), ..Mark::default() };
        let mut file = MarkFile::open(&disk, dir, 3).unwrap();
        assert_eq!(file.found, Found::Nothing);
        file.put(mark(100), false).unwrap();
        file.put(mark(200), false).unwrap();
        let path = Path::new("/data/journal-marks/core-3");
        let found = |bytes| {
            disk.put(path, bytes);
            MarkFile::open(&disk, dir, 3).unwrap().found
        };
        let whole = disk.contents(path).unwrap();
        assert_eq!(found(whole.clone()), Found::Mark(mark(200)));
        for (at, left) in [(70, 100), (512 + 70, 200)] {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            assert_eq!(found(torn), Found::Mark(mark(left)));
        }
        let mut damaged = whole;
        damaged[70] ^= 1;
        damaged[512 + 70] ^= 1;
        assert_eq!(found(damaged), Found::Unreadable);
        assert_eq!(found(Vec::new()), Found::Nothing);
    }
}
