//! A job's event log: one line of JSON per event, appended as it happens, readable from any position.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::job::{Event, JobChange};
use crate::disk::append_line;

/// The file, open at its end, and the offset of each line.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    starts: Vec<u64>,
    end: u64,
}

impl Log {
    /// Opens the log and truncates a partial last line.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut starts, mut end) = (Vec::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if serde_json::from_slice::<Event>(line).is_err() || !line.ends_with(b"\n") {
                break;
            }
            starts.push(end);
            end += line.len() as u64;
        }
        file.set_len(end)?;
        Ok(Self { file, starts, end })
    }

    /// The number of events.
    pub(super) fn len(&self) -> u64 {
        self.starts.len() as u64
    }

    /// Appends one line in one write: a killed process leaves it complete, or cut off at the end of the file.
    pub(super) fn add(&mut self, unix_ms: u64, what: JobChange) -> io::Result<()> {
        let event = Event { sequence: self.len() + 1, unix_ms, what };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        append_line(&mut self.file, self.end, &line)?;
        self.starts.push(self.end);
        self.end += line.len() as u64;
        Ok(())
    }

    /// The events after a sequence number, up to a limit.
    pub(super) fn after(&self, sequence: u64, limit: usize) -> io::Result<Vec<Event>> {
        let first = usize::try_from(sequence).unwrap_or(usize::MAX).min(self.starts.len());
        let last = first.saturating_add(limit).min(self.starts.len());
        let at = |index: usize| self.starts.get(index).copied().unwrap_or(self.end);
        let (from, until) = (at(first), at(last));
        let mut bytes = vec![0; usize::try_from(until - from).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, from)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_read_from_any_place_and_a_half_one_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut log = Log::open(&path).unwrap();
        log.add(1, JobChange::Queued).unwrap();
        log.add(2, JobChange::Started { step: 0, of: 7 }).unwrap();
        drop(log);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"sequence\":3,").unwrap();
        let mut log = Log::open(&path).unwrap();
        log.add(3, JobChange::Cancelled).unwrap();
        let all = log.after(0, 10).unwrap();
        assert_eq!(all.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all[1].what, JobChange::Started { step: 0, of: 7 });
        assert_eq!(log.after(1, 1).unwrap(), all[1..2]);
        assert_eq!(log.after(2, 5).unwrap(), all[2..]);
        assert!(log.after(3, 5).unwrap().is_empty() && log.after(u64::MAX, 5).unwrap().is_empty());
    }
}
