//! Tasks that have ended, on their way to the database: a file makes them survive the process before their clients are answered, and
//! many of them share a transaction afterwards. Whoever reads tasks waits for those before it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::RunTask;
use runs::{StoredTasks, TaskContent, TaskWrite};
use store::StoreError;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use world::{Disk, DiskFile};

use crate::limits::{
    SPOOL_EVERY, SPOOL_FILE_BYTES_MAX, SPOOL_WAIT_MAX, SPOOLED_AT_ONCE, SPOOLED_BYTES_MAX, SPOOLED_TASKS_MAX,
};
use crate::retrying::retrying;
use crate::spooled;

const EXTENSION: &str = "tasks";
/// Of a file's name. The first is 0, so that numbers never wrap.
const NUMBER_DIGITS: usize = 20;
/// The pause before a store that can't be reached is tried again; it doubles up to `WRITE_PAUSE_MAX`.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The tasks of one process that are not in the database yet.
pub(crate) struct TaskSpool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
    /// Those in `state` and those on their way to the database, so that readers usually take no lock.
    waiting: AtomicUsize,
    bytes_waiting: AtomicUsize,
    arrived: Notify,
    /// Somebody waits to read.
    hurry: Notify,
    /// The number of the last batch that is stored.
    stored: watch::Sender<u64>,
    /// The store takes no writes for now.
    is_stuck: AtomicBool,
}

struct State {
    /// The last one grows.
    batches: VecDeque<Batch>,
    /// The highest of all files; those that can't be read keep theirs.
    number: u64,
    /// The number of the last batch.
    newest: u64,
}

/// The tasks of one file, and of one transaction.
struct Batch {
    number: u64,
    path: PathBuf,
    /// `None` of an earlier process: nothing is added, and other gateways may have purged meanwhile.
    file: Option<Box<dyn DiskFile>>,
    end: u64,
    writes: Vec<TaskWrite>,
}

impl Batch {
    fn is_open(&self) -> bool {
        self.file.is_some() && self.writes.len() < SPOOLED_AT_ONCE
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        file.write_at(frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }
}

impl TaskSpool {
    /// The spool in a directory, with what an earlier process left there.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Arc<Self>> {
        disk.create_dir_all(&dir)?;
        let (mut batches, mut number) = (VecDeque::new(), 0);
        for path in disk.list(&dir)? {
            let Some(of_file) = number_of(&path) else { continue };
            number = number.max(of_file);
            let writes = read(disk.as_ref(), &path).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "a file of tasks can't be read, and is left as it is");
                None
            });
            batches.extend(writes.map(|writes| Batch { number: of_file, path, file: None, end: 0, writes }));
        }
        let count = batches.iter().map(|batch: &Batch| batch.writes.len()).sum();
        let spool = Self {
            disk,
            dir,
            state: Mutex::new(State {
                newest: batches.back().map_or(0, |batch| batch.number),
                batches,
                number,
            }),
            waiting: AtomicUsize::new(count),
            bytes_waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            hurry: Notify::new(),
            stored: watch::Sender::new(0),
            is_stuck: AtomicBool::new(false),
        };
        spool.arrived.notify_one();
        spool.hurry.notify_one();
        Ok(Arc::new(spool))
    }

    /// Adds a task that has ended; once this returns, it survives the process. `false` where it could not be added: the disk refuses,
    /// or too many wait already.
    pub(crate) fn add(&self, task: &RunTask, contents: Vec<TaskContent>) -> bool {
        if self.waiting.load(Ordering::Relaxed) >= SPOOLED_TASKS_MAX {
            return false;
        }
        let Some(frame) = spooled::encode(task, &contents) else { return false };
        let bytes = self.bytes_waiting.fetch_add(frame.len(), Ordering::Relaxed);
        // Counted before it can be stored, so that the count never falls below what waits.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let added = if bytes > SPOOLED_BYTES_MAX {
            Ok(false)
        } else {
            self.append(&frame, task, contents).map(|()| true)
        };
        if !matches!(added, Ok(true)) {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.bytes_waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        }
        if let Err(error) = &added {
            tracing::warn!(error = error as &dyn std::error::Error, "a task could not be spooled");
        }
        self.arrived.notify_one();
        matches!(added, Ok(true))
    }

    /// A lock that the ends of all waited-for runs share, for as long as it takes to pass their bytes to the kernel.
    fn append(&self, frame: &[u8], task: &RunTask, contents: Vec<TaskContent>) -> io::Result<()> {
        let write = TaskWrite::keep_ended(task.clone(), contents);
        let mut state = self.state();
        if !state.batches.back().is_some_and(Batch::is_open) {
            let number = state.number + 1;
            let batch = self.begin(number)?;
            (state.number, state.newest) = (number, number);
            state.batches.push_back(batch);
        }
        let Some(batch) = state.batches.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        batch.append(frame)?;
        batch.writes.push(write);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, number: u64) -> io::Result<Batch> {
        let path = self.dir.join(format!("{number:0NUMBER_DIGITS$}.{EXTENSION}"));
        let file = Some(self.disk.open(&path)?);
        let mut batch = Batch { number, path, file, end: 0, writes: Vec::new() };
        batch.append(&spooled::MAGIC)?;
        Ok(batch)
    }

    /// Returns once all tasks that were added before are stored, or the store is found to take no writes; whether they are stored.
    pub(crate) async fn settled(&self) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return true;
        }
        if self.is_stuck.load(Ordering::Acquire) {
            return false;
        }
        let upto = self.state().newest;
        let mut stored = self.stored.subscribe();
        self.hurry.notify_one();
        matches!(timeout(SPOOL_WAIT_MAX, stored.wait_for(|number| *number >= upto)).await, Ok(Ok(_)))
    }

    /// Stores what is added, many at a time.
    pub(crate) async fn store_all(self: Arc<Self>, stored: StoredTasks) {
        loop {
            self.arrived.notified().await;
            let _hurried = timeout(SPOOL_EVERY, self.hurry.notified()).await;
            let batches = std::mem::take(&mut self.state().batches);
            for batch in batches {
                self.store(&stored, batch).await;
            }
        }
    }

    async fn store(&self, stored: &StoredTasks, batch: Batch) {
        let Batch { number, path, file, end, writes } = batch;
        let count = writes.len();
        if self.write_until_taken(stored, &writes, file.is_none()).await.is_err() {
            // What can't be stored takes no other along.
            for one in writes {
                if let Err(error) = self.write_until_taken(stored, &[one], true).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "a task could not be stored");
                }
            }
        }
        drop(file);
        // Before anybody learns that they are stored: a task that is deleted then must not come back from the file.
        if let Err(error) = self.disk.remove(&path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file of stored tasks could not be deleted"
            );
        }
        self.waiting.fetch_sub(count, Ordering::AcqRel);
        let bytes = usize::try_from(end).unwrap_or(usize::MAX).saturating_sub(spooled::MAGIC.len());
        self.bytes_waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.stored.send_replace(number);
    }

    /// Writes them in one transaction, as often as it takes to reach the store.
    async fn write_until_taken(
        &self,
        stored: &StoredTasks,
        writes: &[TaskWrite],
        is_late: bool,
    ) -> Result<(), StoreError> {
        let mut is_late = is_late;
        let written = retrying((u32::MAX, RETRY_PAUSE), || {
            let tried = self.write(stored, writes.to_vec(), is_late);
            is_late = true;
            tried
        });
        written.await
    }

    /// Writes them once, those that are late less what a purge would have taken, had they been there.
    async fn write(
        &self,
        stored: &StoredTasks,
        mut writes: Vec<TaskWrite>,
        is_late: bool,
    ) -> Result<(), StoreError> {
        let count = writes.len();
        let dropped = if is_late { stored.drop_purged(&mut writes).await } else { Ok(()) };
        let written = match dropped {
            Ok(()) => stored.write(writes).await.map(drop),
            Err(error) => Err(error),
        };
        let away = written.as_ref().err().filter(|error| error.is_transient());
        if let Some(error) = away {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, tasks = count, "tasks could not be stored; trying again");
        }
        self.is_stuck.store(away.is_some(), Ordering::Release);
        written
    }
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(&format!(".{EXTENSION}"))?;
    let is_ours = name.len() == NUMBER_DIGITS
        && name.starts_with('0')
        && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_ours)
}

/// The tasks of a file; `None` if this version can't read it: then it stays.
fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<TaskWrite>>> {
    let file = disk.open(path)?;
    let size = file.len()?;
    if size > SPOOL_FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    let path = path.display();
    let Some((writes, torn)) = spooled::decode(&bytes) else {
        tracing::error!(%path, "a file of tasks was written by another version, and is left as it is");
        return Ok(None);
    };
    if torn > 0 {
        tracing::warn!(%path, tasks = writes.len(), torn, "the end of a file of tasks is torn: its last task was not answered");
    }
    Ok(Some(writes))
}
