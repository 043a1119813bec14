//! An in-memory disk that fails on demand: the Nth operation, short writes, no
//! space, process death and power loss.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

/// The unit that a disk writes completely or not at all.
const SECTOR_BYTES: u64 = 512;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// An I/O error; nothing was done.
    Error,
    /// No space; nothing was done.
    NoSpace,
    /// A write stops after this many bytes and reports an error.
    Short(u64),
    /// The process dies here, with a write done up to this many bytes: this and every later
    /// operation fails, until `restart`.
    Die(u64),
}

#[derive(Default)]
struct Content {
    /// What a reader sees: the page cache.
    cached: Vec<u8>,
    /// What is on the medium.
    durable: Vec<u8>,
    /// Sectors that differ between the two.
    dirty: BTreeMap<u64, ()>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let start = index(offset);
        let end = start + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        for (to, from) in self.cached.iter_mut().skip(start).zip(bytes) {
            *to = *from;
        }
        for sector in offset / SECTOR_BYTES..=(end as u64 - 1) / SECTOR_BYTES {
            self.dirty.insert(sector, ());
        }
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            self.persist(sector);
        }
    }

    fn persist(&mut self, sector: u64) {
        let start = index(sector * SECTOR_BYTES);
        let end = index((sector + 1) * SECTOR_BYTES).min(self.cached.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        for (to, from) in self.durable.iter_mut().zip(&self.cached).take(end).skip(start) {
            *to = *from;
        }
    }
}

#[derive(Default)]
struct State {
    files: HashMap<PathBuf, Arc<Mutex<Content>>>,
    /// Which start of the process a handle belongs to; handles of a dead process are dead.
    generation: u64,
    dead: bool,
    operations: u64,
    fail_at: Option<(u64, DiskFault)>,
    /// Every operation of a kind fails while this is set.
    writes_fail: Option<DiskFault>,
    syncs_fail: bool,
    capacity_bytes: Option<u64>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

struct FaultFile {
    disk: FaultDisk,
    content: Arc<Mutex<Content>>,
    generation: u64,
}

/// How far an operation gets.
enum Verdict {
    Whole,
    Part(u64, io::Error),
    Nothing(io::Error),
}

impl FaultDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// The operation number `nth` from now on (the first is 1) fails.
    pub fn fail_at(&self, nth: u64, fault: DiskFault) {
        let mut state = self.lock();
        state.fail_at = Some((state.operations + nth, fault));
    }

    /// Operations so far, failed ones too.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Whether a planned failure is still to come.
    pub fn fault_is_pending(&self) -> bool {
        self.lock().fail_at.is_some()
    }

    /// While `Some`, every write fails like this.
    pub fn fail_writes(&self, fault: Option<DiskFault>) {
        self.lock().writes_fail = fault;
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.lock().syncs_fail = fail;
    }

    /// The maximum size of all files together; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// The size of all files together.
    pub fn used_bytes(&self) -> u64 {
        cached_bytes(&self.lock())
    }

    /// The process dies now: every handle and operation fails until `restart`.
    pub fn die(&self) {
        self.lock().dead = true;
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Starts a new process: what was written is there, handles of the old one stay dead.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.dead = false;
        state.fail_at = None;
        state.writes_fail = None;
        state.syncs_fail = false;
    }

    /// The power fails and a new process starts: an unsynced sector survives if `survives`
    /// returns true for its running number.
    pub fn lose_power(&self, mut survives: impl FnMut(u64) -> bool) {
        let files = {
            let state = self.lock();
            let mut files: Vec<_> =
                state.files.iter().map(|(path, file)| (path.clone(), Arc::clone(file))).collect();
            files.sort_by(|a, b| a.0.cmp(&b.0));
            files
        };
        let mut number = 0;
        for (_, file) in files {
            let mut content = lock(&file);
            for sector in std::mem::take(&mut content.dirty).into_keys() {
                number += 1;
                if survives(number) {
                    content.persist(sector);
                }
            }
            content.cached = content.durable.clone();
        }
        self.restart();
    }

    /// The bytes of a file as a reader sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let file = self.lock().files.get(path).map(Arc::clone)?;
        let bytes = lock(&file).cached.clone();
        Some(bytes)
    }

    /// Puts bytes into a file as if they had always been there.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let content = Content { durable: bytes.clone(), cached: bytes, dirty: BTreeMap::new() };
        self.lock().files.insert(path.to_owned(), Arc::new(Mutex::new(content)));
    }

    /// All files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self.lock().files.keys().cloned().collect();
        files.sort();
        files
    }

    /// An independent disk with the same bytes on it.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for path in self.files() {
            if let Some(bytes) = self.contents(&path) {
                copy.put(&path, bytes);
            }
        }
        copy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Counts an operation and decides whether it fails.
    fn judge(&self, generation: Option<u64>) -> Verdict {
        let mut state = self.lock();
        if state.dead || generation.is_some_and(|generation| generation != state.generation) {
            return Verdict::Nothing(dead());
        }
        state.operations += 1;
        let operation = state.operations;
        let Some((_, fault)) = state.fail_at.take_if(|(nth, _)| *nth <= operation) else {
            return Verdict::Whole;
        };
        if matches!(fault, DiskFault::Die(_)) {
            state.dead = true;
        }
        verdict(fault)
    }

    fn grown_too_far(&self, content: &Mutex<Content>, end: u64) -> bool {
        let state = self.lock();
        let Some(capacity) = state.capacity_bytes else { return false };
        let length = lock(content).cached.len() as u64;
        end > length && cached_bytes(&state) + (end - length) > capacity
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        whole(self.judge(None))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        whole(self.judge(None))?;
        let mut state = self.lock();
        let content = Arc::clone(state.files.entry(path.to_owned()).or_default());
        let generation = state.generation;
        drop(state);
        Ok(Box::new(FaultFile { disk: self.clone(), content, generation }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        whole(self.judge(None))?;
        // Like the real one: entries directly below, directories too.
        let mut entries: Vec<PathBuf> = self
            .files()
            .iter()
            .filter_map(|file| {
                file.strip_prefix(path).ok()?.components().next().map(|first| path.join(first))
            })
            .collect();
        entries.dedup();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        whole(self.judge(None))?;
        let mut state = self.lock();
        let content = state.files.remove(from).ok_or_else(not_found)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        whole(self.judge(None))?;
        self.lock().files.remove(path).map(drop).ok_or_else(not_found)
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut judged = self.disk.judge(Some(self.generation));
        let standing = self.disk.lock().writes_fail;
        if let (Verdict::Whole, Some(fault)) = (&judged, standing) {
            judged = verdict(fault);
        }
        let part = match judged {
            Verdict::Nothing(error) => return Err(error),
            Verdict::Part(count, error) => {
                let part = bytes.get(..index(count).min(bytes.len())).unwrap_or_default();
                lock(&self.content).write(part, offset);
                return Err(error);
            }
            Verdict::Whole => bytes,
        };
        if self.disk.grown_too_far(&self.content, offset + part.len() as u64) {
            return Err(no_space());
        }
        lock(&self.content).write(part, offset);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        whole(self.disk.judge(Some(self.generation)))?;
        let content = lock(&self.content);
        let rest = content.cached.get(index(offset)..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        whole(self.disk.judge(Some(self.generation)))?;
        if self.disk.lock().syncs_fail {
            return Err(io::Error::other("planned sync failure"));
        }
        lock(&self.content).sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        whole(self.disk.judge(Some(self.generation)))?;
        Ok(lock(&self.content).cached.len() as u64)
    }
}

fn verdict(fault: DiskFault) -> Verdict {
    match fault {
        DiskFault::Error => Verdict::Nothing(io::Error::other("planned failure")),
        DiskFault::NoSpace => Verdict::Nothing(no_space()),
        DiskFault::Short(bytes) => Verdict::Part(bytes, io::Error::other("planned short write")),
        DiskFault::Die(bytes) => Verdict::Part(bytes, dead()),
    }
}

/// For operations that can't be done by half.
fn whole(verdict: Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Whole => Ok(()),
        Verdict::Part(_, error) | Verdict::Nothing(error) => Err(error),
    }
}

fn cached_bytes(state: &State) -> u64 {
    state.files.values().map(|file| lock(file).cached.len() as u64).sum()
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &FaultDisk) -> Box<dyn DiskFile> {
        disk.open(Path::new("/d/a")).unwrap()
    }

    fn bytes(disk: &FaultDisk) -> Vec<u8> {
        disk.contents(Path::new("/d/a")).unwrap()
    }

    #[test]
    fn what_was_not_synced_goes_with_the_power() {
        let disk = FaultDisk::new();
        let old = file(&disk);
        old.write_at(&[1; 600], 0).unwrap();
        old.sync_data().unwrap();
        old.write_at(&[2; 600], 0).unwrap();
        disk.lose_power(|sector| sector == 2);
        assert_eq!(
            (bytes(&disk)[0], bytes(&disk)[511], bytes(&disk)[512]),
            (1, 1, 2),
            "the second sector survived"
        );
        assert!(old.write_at(&[3], 0).is_err(), "the handle died with its process");
        assert_eq!(file(&disk).len().unwrap(), 600);
    }

    #[test]
    fn a_killed_process_leaves_what_it_wrote() {
        let disk = FaultDisk::new();
        let old = file(&disk);
        old.write_at(b"kept", 0).unwrap();
        disk.fail_at(1, DiskFault::Die(2));
        assert!(old.write_at(b"lost", 4).is_err());
        assert!(disk.is_dead() && disk.list(Path::new("/d")).is_err());
        disk.restart();
        assert_eq!(bytes(&disk), b"keptlo");
        assert_eq!(disk.list(Path::new("/")).unwrap(), [PathBuf::from("/d")]);
    }

    #[test]
    fn space_is_what_all_files_have_together() {
        let disk = FaultDisk::new();
        disk.set_capacity(Some(10));
        let file = file(&disk);
        file.write_at(&[1; 10], 0).unwrap();
        file.write_at(&[2; 10], 0).unwrap();
        assert_eq!(file.write_at(&[1], 10).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.remove(Path::new("/d/a")).unwrap();
        assert_eq!(disk.used_bytes(), 0);
    }
}
