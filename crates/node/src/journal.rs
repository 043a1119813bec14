//! The journal of a node: one line when an answer starts and one when it ends. The node keeps it whether or
//! not anything reads it. A record is identified by its request's id, so that reading it twice counts it
//! once.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use domain::Usage;
use serde::{Deserialize, Serialize};

use crate::books::RequestOutcome;
use crate::disk::append_line;
use crate::hybrid::LeftBecause;
use crate::limits::{JOURNAL_WAITING_BYTES_MAX, PAGE_ROWS_MAX};

const FILE: &str = "runtime.jsonl";
/// What each line begins with, and nothing within one: quotes are escaped there.
const LINE_START: &str = r#"{"kind":""#;

/// The start of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartedRequest {
    pub id: String,
    /// The gateway's id of the request, if it came through one.
    #[serde(default)]
    pub request: Option<String>,
    pub unix_ms: u64,
    pub model: String,
    pub adapter: Option<String>,
    pub operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<LeftTo>,
}

/// The backend that a request left to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftTo {
    pub backend: String,
    /// `None` if the client sent it there: mode `cloud`.
    pub because: Option<LeftBecause>,
    /// The profile that served it, as the gateway states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// The end of an answer, with the runtime's own counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// The record's number in the journal, from 1.
    pub sequence: u64,
    pub id: String,
    /// The gateway's id of the request, if it came through one: the gateway records the request, too.
    #[serde(default)]
    pub request: Option<String>,
    pub unix_ms: u64,
    pub model: String,
    pub adapter: Option<String>,
    pub operation: String,
    pub end: RuntimeEnd,
    pub input_tokens: u64,
    /// Prompt tokens that came from the prefix cache.
    pub cached_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub took_ms: u64,
    /// The counts are the runtime's own, or the backend's.
    pub is_measured: bool,
    /// The backend that answered in this node's place. The counts are of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<LeftTo>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeEnd {
    Whole,
    Failed,
    Left,
    /// The node was killed during the answer; how much it had generated is not known.
    Lost,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    #[serde(rename = "begun")]
    Started(StartedRequest),
    Ended(RuntimeRecord),
}

/// A reader's position in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct JournalPosition {
    /// The number of the last record read.
    pub sequence: u64,
    /// The byte offset of the line after it.
    pub bytes: u64,
}

/// The journal file, open at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    sequence: u64,
    /// Lines that a full disk did not take yet, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
}

impl From<RequestOutcome> for RuntimeEnd {
    fn from(ended: RequestOutcome) -> Self {
        match ended {
            RequestOutcome::Completed => Self::Whole,
            RequestOutcome::Failed => Self::Failed,
            RequestOutcome::Disconnected => Self::Left,
        }
    }
}

impl Journal {
    /// Opens the journal, truncates a partial last line, and ends the answers that a killed process left
    /// open.
    ///
    /// # Errors
    /// The directory can't be written to, or the file is not a journal.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        let path = data_dir.join(FILE);
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        let whole = whole_bytes(&mut file)?;
        file.set_len(whole)?;
        let (open, sequence) = read_unfinished(&path)?;
        let inner = Inner { file, sequence, waiting: VecDeque::new(), waiting_bytes: 0 };
        let journal = Self { path, inner: Mutex::new(inner) };
        for started in open {
            journal.end(&started, RuntimeEnd::Lost, &Usage::default(), started.unix_ms, true)?;
        }
        Ok(journal)
    }

    pub(crate) fn begin(&self, started: &StartedRequest) -> io::Result<()> {
        self.write(|_| Line::Started(started.clone()))
    }

    pub(crate) fn end(
        &self,
        started: &StartedRequest,
        end: RuntimeEnd,
        usage: &Usage,
        now_unix_ms: u64,
        is_measured: bool,
    ) -> io::Result<()> {
        self.write(|inner| {
            inner.sequence += 1;
            let StartedRequest { id, request, unix_ms, model, adapter, operation, left_to } = started.clone();
            Line::Ended(RuntimeRecord {
                sequence: inner.sequence,
                id,
                request,
                unix_ms,
                model,
                adapter,
                operation,
                end,
                input_tokens: usage.prompt_total(),
                cached_tokens: usage.cached_read,
                output_tokens: usage.completion_total(),
                reasoning_tokens: usage.reasoning,
                took_ms: now_unix_ms.saturating_sub(unix_ms),
                is_measured,
                left_to,
            })
        })
    }

    /// Writes one line in one write: a killed process leaves it complete, or cut off at the end of the file.
    fn write(&self, make: impl FnOnce(&mut Inner) -> Line) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let line = make(&mut inner);
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        inner.append(bytes)
    }

    /// The records after a sequence number, oldest first.
    pub(crate) fn after(&self, sequence: u64, limit: usize) -> io::Result<Vec<RuntimeRecord>> {
        let mut found = Vec::new();
        for line in lines(&self.path)? {
            if let Line::Ended(record) = line?
                && record.sequence > sequence
            {
                found.push(record);
                if found.len() >= limit.min(PAGE_ROWS_MAX) {
                    break;
                }
            }
        }
        Ok(found)
    }
}

impl Journal {
    /// The records after a position, each with the position after itself. Nothing before the position is read
    /// again.
    ///
    /// # Errors
    /// The file can't be read, or the position is not one of this file.
    pub(crate) fn behind(
        &self,
        position: JournalPosition,
        limit: usize,
    ) -> io::Result<Vec<(RuntimeRecord, JournalPosition)>> {
        let mut file = File::open(&self.path)?;
        // The position is of another journal: start from the beginning.
        let position =
            if ends_line(&mut file, position.bytes)? { position } else { JournalPosition::default() };
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(position.bytes))?;
        let (mut found, mut bytes, mut line) = (Vec::new(), position.bytes, String::new());
        while found.len() < limit {
            line.clear();
            let read = reader.read_line(&mut line)?;
            // A line without a newline is still being written.
            if !line.ends_with('\n') {
                break;
            }
            bytes += read as u64;
            if let Line::Ended(record) = read_line(&line)?
                && record.sequence > position.sequence
            {
                let position = JournalPosition { sequence: record.sequence, bytes };
                found.push((record, position));
            }
        }
        Ok(found)
    }
}

impl Inner {
    /// Writes a line behind those that wait. What the disk does not take is written with a later line, in its order.
    fn append(&mut self, line: Vec<u8>) -> io::Result<()> {
        if self.waiting_bytes + line.len() > JOURNAL_WAITING_BYTES_MAX {
            // Without room, this line is the one that is lost.
            self.flush()?;
        }
        self.waiting_bytes += line.len();
        self.waiting.push_back(line);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(line) = self.waiting.front() {
            let length = self.file.metadata()?.len();
            append_line(&mut self.file, length, line)?;
            self.waiting_bytes -= line.len();
            self.waiting.pop_front();
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!(%error, lines = self.waiting.len(), "the journal can't be written to: its last lines are lost");
        }
    }
}

/// Reads a line. Where an earlier version met a full disk, half of the line before may stand in front.
fn read_line(text: &str) -> serde_json::Result<Line> {
    serde_json::from_str(text).or_else(|error| match text.rfind(LINE_START).and_then(|at| text.get(at..)) {
        Some(whole) => serde_json::from_str(whole),
        None => Err(error),
    })
}

/// Whether a line starts at this offset.
fn ends_line(file: &mut File, bytes: u64) -> io::Result<bool> {
    let Some(before) = bytes.checked_sub(1) else { return Ok(true) };
    if file.metadata()?.len() < bytes {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(before))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The length of the file's complete lines.
fn whole_bytes(file: &mut File) -> io::Result<u64> {
    const WINDOW: u64 = 1 << 16;
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let start = end.saturating_sub(WINDOW);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        Read::by_ref(file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Line>>> {
    let read = |line: io::Result<String>| Ok(read_line(&line?)?);
    Ok(BufReader::new(File::open(path)?).lines().map(read))
}

/// The answers without an end, and the number of the last record.
fn read_unfinished(path: &Path) -> io::Result<(Vec<StartedRequest>, u64)> {
    let (mut open, mut last): (Vec<StartedRequest>, u64) = (Vec::new(), 0);
    for line in lines(path)? {
        match line? {
            // A request that leaves has another line, with the backend.
            Line::Started(started) => match open.iter_mut().find(|open| open.id == started.id) {
                Some(open) => *open = started,
                None => open.push(started),
            },
            Line::Ended(record) => {
                open.retain(|started| started.id != record.id);
                last = record.sequence;
            }
        }
    }
    Ok((open, last))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn started(id: &str) -> StartedRequest {
        let word = || "m".to_owned();
        StartedRequest {
            id: id.to_owned(),
            request: None,
            unix_ms: 5,
            model: word(),
            adapter: None,
            operation: word(),
            left_to: None,
        }
    }

    #[test]
    fn what_a_killed_node_left_open_is_ended_once() {
        let dir = tempfile::tempdir().unwrap();
        let usage = Usage { input: 3, cached_read: 2, output: 4, ..Usage::default() };
        let journal = Journal::open(dir.path()).unwrap();
        journal.begin(&started("a")).unwrap();
        journal.begin(&started("b")).unwrap();
        journal.end(&started("a"), RuntimeEnd::Whole, &usage, 12, true).unwrap();
        drop(journal);
        // Simulates a process killed in the middle of a line.
        let path = dir.path().join(FILE);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"kind\":\"ended\",\"id\":\"b")
            .unwrap();
        for _ in 0..2 {
            let journal = Journal::open(dir.path()).unwrap();
            let all = journal.after(0, 10).unwrap();
            let records: Vec<_> = all.iter().map(|one| (one.sequence, one.id.as_str(), one.end)).collect();
            assert_eq!(records, [(1, "a", RuntimeEnd::Whole), (2, "b", RuntimeEnd::Lost)]);
            assert_eq!((all[0].input_tokens, all[0].cached_tokens, all[0].took_ms), (5, 2, 7));
            assert_eq!(journal.after(1, 10).unwrap().len(), 1);
            assert_eq!(journal.after(0, 1).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_had_left_when_the_node_was_killed_is_ended_once_as_left() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let left =
            LeftTo { backend: "cloud".to_owned(), because: Some(LeftBecause::QueueWait), profile: None };
        journal.begin(&started("a")).unwrap();
        journal.begin(&StartedRequest { left_to: Some(left.clone()), ..started("a") }).unwrap();
        drop(journal);
        let all = Journal::open(dir.path()).unwrap().after(0, 10).unwrap();
        let records: Vec<_> =
            all.iter().map(|one| (one.id.as_str(), one.end, one.left_to.as_ref())).collect();
        assert_eq!(records, [("a", RuntimeEnd::Lost, Some(&left))]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_begins_anew_in_another_journal() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let end = |journal: &Journal, id: &str| {
            journal.begin(&started(id)).unwrap();
            journal.end(&started(id), RuntimeEnd::Whole, &Usage::default(), 9, true).unwrap();
        };
        ["a", "b", "c"].into_iter().for_each(|id| end(&journal, id));
        let ids = |found: &[(RuntimeRecord, JournalPosition)]| -> Vec<String> {
            found.iter().map(|(record, _)| record.id.clone()).collect()
        };
        let first = journal.behind(JournalPosition::default(), 2).unwrap();
        assert_eq!(ids(&first), ["a", "b"]);
        let position = first[1].1;
        assert_eq!(ids(&journal.behind(position, 10).unwrap()), ["c"]);
        let end_of_all = journal.behind(position, 10).unwrap()[0].1;
        assert!(journal.behind(end_of_all, 10).unwrap().is_empty());
        // A line that is still being written is not read.
        journal.inner.lock().unwrap().file.write_all(b"{\"kind\":\"ended\"").unwrap();
        assert!(journal.behind(end_of_all, 10).unwrap().is_empty());
        drop(journal);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        end(&journal, "d");
        assert_eq!(ids(&journal.behind(end_of_all, 10).unwrap()), ["d"]);
    }

    #[test]
    fn a_file_that_no_node_wrote_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "notes of mine\n").unwrap();
        assert!(Journal::open(dir.path()).is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "notes of mine\n");
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_written_later_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.begin(&started("a")).unwrap();
        // Nothing can be written to this device.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut journal.inner.lock().unwrap().file, full);
        assert!(journal.end(&started("a"), RuntimeEnd::Whole, &Usage::default(), 9, true).is_err());
        assert!(journal.begin(&started("b")).is_err());
        journal.inner.lock().unwrap().file = file;
        journal.end(&started("b"), RuntimeEnd::Whole, &Usage::default(), 9, true).unwrap();
        let ids = |journal: &Journal| -> Vec<(u64, String)> {
            let all = journal.after(0, 10).unwrap();
            all.into_iter().map(|record| (record.sequence, record.id)).collect()
        };
        let both = [(1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(ids(&journal), both);
        drop(journal);
        assert_eq!(ids(&Journal::open(dir.path()).unwrap()), both, "each line is whole");
    }

    #[test]
    fn half_a_line_that_an_earlier_version_left_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.begin(&started("a")).unwrap();
        journal.inner.lock().unwrap().file.write_all(b"{\"kind\":\"begun\",\"id\":\"b").unwrap();
        journal.end(&started("a"), RuntimeEnd::Whole, &Usage::default(), 9, true).unwrap();
        assert_eq!(journal.behind(JournalPosition::default(), 10).unwrap().len(), 1);
        drop(journal);
        let all = Journal::open(dir.path()).unwrap().after(0, 10).unwrap();
        assert_eq!(
            all.iter().map(|one| (one.id.as_str(), one.end)).collect::<Vec<_>>(),
            [("a", RuntimeEnd::Whole)]
        );
    }
}
