//! Damaged journals: their files are kept aside in a directory beside the journal, with a note of what is missing, until the
//! operator removes them. A torn end is no damage: nothing that was marked is behind it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use world::{Disk, DiskFile};

use crate::limits::DAMAGE_NOTE_BYTES_MAX;
use crate::mark::beside;

const NOTE_SUFFIX: &str = "txt";

/// What was found wrong with one core's journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalDamage {
    pub core: u32,
    pub epoch: u64,
    pub found_unix_ms: u64,
    /// The numbers of the segments that are kept aside.
    pub damaged: Vec<u64>,
    /// The numbers of those of which nothing was found.
    pub gone: Vec<u64>,
    /// Entries that are known to have been written and can't be read. Those of the last milliseconds may be missing, too: they
    /// were not marked yet.
    pub entries_missing: u64,
    /// Settled records among them that the store doesn't have either.
    pub records_missing: u64,
}

/// The directory beside a journal that holds the notes and the files kept aside.
pub fn damage_dir(journal: &Path) -> PathBuf {
    beside(journal, "damage")
}

/// The notes that the operator has not removed.
pub fn damage_notes(disk: &dyn Disk, journal: &Path) -> io::Result<Vec<JournalDamage>> {
    let files = match disk.list(&damage_dir(journal)) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let notes = files.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == NOTE_SUFFIX));
    notes.map(|path| Ok(JournalDamage::of_text(&read_text(&*disk.open(path)?)?))).collect()
}

/// Writes a note, unless this journal has one: a recovery that was killed finds less the next time.
pub(crate) fn note(
    disk: &dyn Disk,
    journal: &Path,
    damage: &JournalDamage,
    segment: Option<u64>,
) -> io::Result<()> {
    let dir = damage_dir(journal);
    disk.create_dir_all(&dir)?;
    let segment = segment.map(|number| format!("-{number}")).unwrap_or_default();
    let path = dir.join(format!("core-{}-{:x}{segment}.{NOTE_SUFFIX}", damage.core, damage.epoch));
    if disk.list(&dir)?.contains(&path) {
        return Ok(());
    }
    let part = path.with_extension("part");
    let file = disk.open(&part)?;
    file.write_at(damage.to_text().as_bytes(), 0)?;
    file.sync_data()?;
    disk.rename(&part, &path)
}

/// Moves a segment's file out of the journal.
pub(crate) fn keep_aside(disk: &dyn Disk, core_dir: &Path, path: &Path, epoch: u64) -> io::Result<()> {
    let dir = damage_dir(core_dir.parent().unwrap_or(core_dir));
    disk.create_dir_all(&dir)?;
    let [core, file] = [core_dir, path].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    disk.rename(path, &dir.join(format!("{core}-{epoch:x}-{file}")))
}

fn read_text(file: &dyn DiskFile) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX).min(DAMAGE_NOTE_BYTES_MAX)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl JournalDamage {
    fn to_text(&self) -> String {
        let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        format!(
            "core {}\nepoch {}\nfound_unix_ms {}\ndamaged {}\ngone {}\nentries_missing {}\nrecords_missing {}\n",
            self.core,
            self.epoch,
            self.found_unix_ms,
            list(&self.damaged),
            list(&self.gone),
            self.entries_missing,
            self.records_missing,
        )
    }

    /// What can be read of a note: that there is one is what matters.
    fn of_text(text: &str) -> Self {
        let mut damage = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let numbers: Vec<u64> = value.split(' ').filter_map(|word| word.parse().ok()).collect();
            let first = numbers.first().copied().unwrap_or_default();
            match name {
                "core" => damage.core = u32::try_from(first).unwrap_or_default(),
                "epoch" => damage.epoch = first,
                "found_unix_ms" => damage.found_unix_ms = first,
                "damaged" => damage.damaged = numbers,
                "gone" => damage.gone = numbers,
                "entries_missing" => damage.entries_missing = first,
                "records_missing" => damage.records_missing = first,
                _ => {}
            }
        }
        damage
    }
}

impl fmt::Display for JournalDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal of core {} was damaged", self.core)?;
        for (numbers, what) in [(&self.damaged, "kept aside"), (&self.gone, "gone")] {
            if let Some((first, more)) = numbers.split_first() {
                let noun = if more.is_empty() { "segment" } else { "segments" };
                write!(f, ", {noun} {first}")?;
                more.iter().try_for_each(|number| write!(f, ", {number}"))?;
                write!(f, " {what}")?;
            }
        }
        write!(
            f,
            ": at least {} entries can't be read, among them {} settled records that are not booked",
            self.entries_missing, self.records_missing
        )
    }
}

#[cfg(test)]
mod tests {
    use world::FaultDisk;

    use super::*;

    #[test]
    fn the_first_note_of_a_journal_stays() {
        let (disk, journal) = (FaultDisk::new(), Path::new("/data/journal"));
        assert_eq!(damage_notes(&disk, journal).unwrap(), []);
        let damage = JournalDamage {
            core: 2,
            epoch: 0xab,
            found_unix_ms: 5,
            damaged: vec![3, 4],
            gone: vec![7],
            entries_missing: 9,
            records_missing: 6,
        };
        note(&disk, journal, &damage, None).unwrap();
        note(&disk, journal, &JournalDamage { entries_missing: 90, ..damage.clone() }, None).unwrap();
        assert_eq!(damage_notes(&disk, journal).unwrap(), std::slice::from_ref(&damage));
        assert_eq!(
            damage.to_string(),
            "the journal of core 2 was damaged, segments 3, 4 kept aside, segment 7 gone: at least 9 entries can't be read, among them 6 \
             settled records that are not booked"
        );
        disk.put(Path::new("/data/journal-damage/core-2-ab.txt"), b"\xff\0core".to_vec());
        assert_eq!(
            damage_notes(&disk, journal).unwrap(),
            [JournalDamage::default()],
            "a damaged note is one, too"
        );
    }
}
