//! Caches that are opened again, changed by others, full and purged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::*;
use crate::reader::FetchPoll;

const BLOCK: BlockShape = BlockShape { tokens: 4, bytes: 100 };
/// What a file takes on disk.
const ROOM: u64 = 4096;

fn settings(directory: &Path, blocks_max: u64) -> DiskCacheSettings {
    DiskCacheSettings {
        directory: directory.join("prefixes"),
        bytes_max: blocks_max * ROOM,
        key: Arc::new(Secret::new(vec![1; 32])),
        world: World::system(),
    }
}

fn open(directory: &Path) -> DiskCache {
    DiskCache::open(settings(directory, 100), "m", BLOCK).unwrap()
}

fn tokens(first: u32, count: u32) -> Vec<u32> {
    (first..first + count).collect()
}

/// The numbers of a block, as if made of its tokens.
fn numbers(tokens: &[u32], at: usize) -> Vec<u8> {
    let first = tokens[at * BLOCK.tokens].to_le_bytes();
    first.into_iter().cycle().take(BLOCK.bytes).collect()
}

fn store(cache: &DiskCache, salt: &str, tokens: &[u32]) {
    let mut chain = cache.chain(cache.scope(Some(salt)), None);
    cache.store(&mut chain, tokens, |at, bytes| bytes.extend(numbers(tokens, at)));
}

/// Stores, and returns once everything is written.
fn stored(directory: &Path, salt: &str, tokens: &[u32]) {
    store(&open(directory), salt, tokens);
}

fn all_of(fetching: &Fetching) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match fetching.poll() {
            FetchPoll::Pending => std::thread::yield_now(),
            FetchPoll::Blocks(blocks) => {
                all.extend(blocks.blocks().iter().map(|block| block.numbers().to_vec()))
            }
            FetchPoll::Over => return all,
        }
    }
}

/// Checks that so many blocks from `from` on are found, and that they are what was stored.
fn check_found(cache: &DiskCache, salt: &str, tokens: &[u32], from: usize, count: usize) {
    let mut chain = cache.chain(cache.scope(Some(salt)), None);
    let found = cache.fetch(&mut chain, tokens, from).as_ref().map(all_of).unwrap_or_default();
    let expected: Vec<Vec<u8>> = (from..from + count).map(|at| numbers(tokens, at)).collect();
    assert_eq!(found, expected, "{salt} {tokens:?} from {from}");
}

fn folder(cache: &DiskCache, salt: &str) -> PathBuf {
    cache.shared.files.directory().join(format!("{:032x}", cache.scope(Some(salt))))
}

/// The file of a block of a prefix, by its depth.
fn file(cache: &DiskCache, salt: &str, depth: usize) -> PathBuf {
    let files = fs::read_dir(folder(cache, salt)).unwrap().map(|file| file.unwrap().path());
    let of_depth = |path: &PathBuf| path.to_str().unwrap().ends_with(&format!(".{depth}"));
    files.into_iter().find(of_depth).unwrap()
}

fn purged(cache: &DiskCache, salt: &str) -> ClearedDisk {
    let (sender, receiver) = mpsc::channel();
    cache.purge(cache.scope(Some(salt)), move |done| sender.send(done).unwrap());
    receiver.recv().unwrap().unwrap()
}

#[test]
fn what_was_stored_is_found_after_a_restart_by_the_same_prefix_alone() {
    let root = tempfile::tempdir().unwrap();
    let ours = tokens(1, 13);
    stored(root.path(), "a", &ours);
    let cache = open(root.path());
    assert_eq!((cache.counts().stored_blocks, cache.counts().stored_bytes), (3, 3 * ROOM));
    check_found(&cache, "a", &ours, 0, 3);
    check_found(&cache, "a", &ours, 2, 1);
    check_found(&cache, "a", &ours[..11], 0, 2);
    check_found(&cache, "b", &ours, 0, 0);
    check_found(&cache, "a", &tokens(2, 12), 0, 0);
    let mut longer = ours[..8].to_vec();
    longer.extend(tokens(50, 8));
    check_found(&cache, "a", &longer, 0, 2);
    let mut adapted = cache.chain(cache.scope(Some("a")), Some(1));
    assert!(cache.fetch(&mut adapted, &ours, 0).is_none());
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.absent, counts.rejected), (3 + 1 + 2 + 2, 3 + 3 + 2 + 3, 0));
    drop(cache);
    let other = DiskCache::open(settings(root.path(), 100), "n", BLOCK).unwrap();
    check_found(&other, "a", &ours, 0, 0);
    drop(other);
    let key = Arc::new(Secret::new(vec![2; 32]));
    let other = DiskCache::open(DiskCacheSettings { key, ..settings(root.path(), 100) }, "m", BLOCK).unwrap();
    check_found(&other, "a", &ours, 0, 0);
}

#[test]
fn a_block_is_written_once_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let ours = tokens(1, 12);
    let cache = open(root.path());
    store(&cache, "a", &ours[..7]);
    store(&cache, "a", &ours);
    store(&cache, "a", &ours);
    drop(cache);
    let cache = open(root.path());
    store(&cache, "a", &ours);
    assert_eq!((cache.counts().stored_blocks, cache.counts().written_bytes), (3, 0));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file(&cache, "a", 2)), mode(&folder(&cache, "a"))), (0o600, 0o700));
    assert_eq!(mode(&folder(&cache, "a").join("secret")), 0o600);
    assert_eq!(mode(cache.shared.files.directory()), 0o700);
}

#[test]
fn a_file_that_was_changed_cut_or_sealed_as_another_is_removed_and_written_again() {
    let changes: [fn(&Path, &Path); 4] = [
        |path, _| fs::write(path, b"").unwrap(),
        |path, _| {
            let mut bytes = fs::read(path).unwrap();
            bytes[50] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path, _| {
            let mut bytes = fs::read(path).unwrap();
            bytes.push(0);
            fs::write(path, bytes).unwrap();
        },
        |path, other| {
            fs::copy(other, path).unwrap();
        },
    ];
    for change in changes {
        let root = tempfile::tempdir().unwrap();
        let ours = tokens(1, 12);
        stored(root.path(), "a", &ours);
        let cache = open(root.path());
        let path = file(&cache, "a", 1);
        change(&path, &file(&cache, "a", 2));
        check_found(&cache, "a", &ours, 0, 1);
        assert!(!path.exists());
        assert_eq!((cache.counts().rejected, cache.counts().stored_blocks), (1, 2));
        store(&cache, "a", &ours);
        drop(cache);
        check_found(&open(root.path()), "a", &ours, 0, 3);
    }
}

#[test]
fn without_its_secret_nothing_of_a_scope_opens_and_a_start_removes_it() {
    let root = tempfile::tempdir().unwrap();
    stored(root.path(), "a", &tokens(1, 8));
    stored(root.path(), "b", &tokens(1, 8));
    let cache = open(root.path());
    let (ours, theirs) = (folder(&cache, "a"), folder(&cache, "b"));
    fs::write(ours.join("secret"), [7; 32]).unwrap();
    check_found(&cache, "a", &tokens(1, 8), 0, 0);
    // As a purge leaves it that was interrupted, and a write.
    fs::remove_file(ours.join("secret")).unwrap();
    fs::write(theirs.join(format!("{}.7.part", "0".repeat(64))), b"half").unwrap();
    fs::write(theirs.join("notes"), b"not ours").unwrap();
    fs::write(theirs.parent().unwrap().join("notes"), b"not ours").unwrap();
    drop(cache);
    let cache = open(root.path());
    assert!(!ours.exists());
    assert_eq!(cache.counts().stored_blocks, 2);
    let mut names: Vec<_> = fs::read_dir(&theirs).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!((names.len(), names[2].to_str(), names[3].to_str()), (4, Some("notes"), Some("secret")));
    assert!(theirs.parent().unwrap().join("notes").exists());
    check_found(&cache, "b", &tokens(1, 8), 0, 2);
}

#[test]
fn the_bound_holds_and_what_was_used_lately_stays_also_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let opened = |blocks| DiskCache::open(settings(root.path(), blocks), "m", BLOCK).unwrap();
    let cache = opened(5);
    store(&cache, "a", &tokens(1, 12));
    store(&cache, "b", &tokens(100, 8));
    drop(cache);
    let cache = opened(5);
    check_found(&cache, "a", &tokens(1, 4), 0, 1);
    store(&cache, "c", &tokens(200, 8));
    drop(cache);
    let cache = opened(5);
    assert_eq!((cache.counts().stored_blocks, cache.counts().stored_bytes), (5, 5 * ROOM));
    check_found(&cache, "a", &tokens(1, 12), 0, 1);
    check_found(&cache, "b", &tokens(100, 8), 0, 2);
    check_found(&cache, "c", &tokens(200, 8), 0, 2);
    drop(cache);
    // A smaller bound holds from the start.
    let cache = opened(2);
    assert_eq!(cache.counts().stored_blocks, 2);
    check_found(&cache, "c", &tokens(200, 8), 0, 2);
    assert!(!folder(&cache, "a").exists() && !folder(&cache, "b").exists());
}

#[test]
fn a_purge_removes_a_scope_and_counts_it() {
    let root = tempfile::tempdir().unwrap();
    stored(root.path(), "a", &tokens(1, 8));
    stored(root.path(), "b", &tokens(1, 8));
    // What another model left is removed as well.
    let other = DiskCache::open(settings(root.path(), 100), "n", BLOCK).unwrap();
    store(&other, "a", &tokens(1, 4));
    drop(other);
    let cache = open(root.path());
    let bytes = file_bytes(BLOCK.bytes) as u64;
    assert_eq!(purged(&cache, "a"), ClearedDisk { blocks: 3, bytes: 3 * bytes });
    assert!(!folder(&cache, "a").exists());
    assert_eq!(purged(&cache, "a"), ClearedDisk::default());
    check_found(&cache, "a", &tokens(1, 8), 0, 0);
    check_found(&cache, "b", &tokens(1, 8), 0, 2);
    // Requests after a purge are stored again.
    store(&cache, "a", &tokens(1, 8));
    drop(cache);
    check_found(&open(root.path()), "a", &tokens(1, 8), 0, 2);
}

#[test]
fn what_waits_to_be_written_is_purged_too() {
    let root = tempfile::tempdir().unwrap();
    let cache = open(root.path());
    for _ in 0..50 {
        store(&cache, "a", &tokens(1, 64));
        purged(&cache, "a");
        assert!(!folder(&cache, "a").exists());
        let state = cache.shared.state();
        assert_eq!((state.index.len(), state.coming.len(), state.coming_bytes), (0, 0, 0));
    }
}

#[test]
fn a_disk_that_takes_no_writes_is_not_written_to_again_and_is_read() {
    let root = tempfile::tempdir().unwrap();
    stored(root.path(), "a", &tokens(1, 8));
    let cache = open(root.path());
    fs::write(folder(&cache, "b"), b"in the way").unwrap();
    store(&cache, "b", &tokens(1, 40));
    while cache.counts().is_writing {
        std::thread::yield_now();
    }
    store(&cache, "c", &tokens(1, 8));
    check_found(&cache, "a", &tokens(1, 8), 0, 2);
    assert_eq!((cache.counts().stored_blocks, cache.counts().written_bytes), (2, 0));
    assert_eq!(purged(&cache, "a").blocks, 2);
    drop(cache);
    assert!(open(root.path()).counts().is_writing);
}

#[test]
fn a_fetch_that_nobody_waits_for_holds_nothing_up() {
    let root = tempfile::tempdir().unwrap();
    let ours = tokens(1, 40);
    stored(root.path(), "a", &ours);
    let cache = open(root.path());
    let (sender, woken) = mpsc::channel();
    cache.set_waker(move || sender.send(()).unwrap());
    let mut chain = cache.chain(cache.scope(Some("a")), None);
    drop(cache.fetch(&mut chain, &ours, 0).unwrap());
    woken.recv().unwrap();
    check_found(&cache, "a", &ours, 0, 10);
    woken.recv().unwrap();
}

#[test]
fn few_portions_are_in_memory_however_many_wait_for_them() {
    let root = tempfile::tempdir().unwrap();
    let block = BlockShape { tokens: 4, bytes: 20 << 20 };
    let cache = DiskCache::open(settings(root.path(), 50_000), "m", block).unwrap();
    let ours = tokens(1, 8);
    let copy =
        |at: usize, bytes: &mut Vec<u8>| bytes.resize(bytes.len() + block.bytes, u8::try_from(at).unwrap());
    cache.store(&mut cache.chain(1, None), &ours, copy);
    while cache.counts().stored_blocks < 2 {
        std::thread::yield_now();
    }
    let fetch = || cache.fetch(&mut cache.chain(1, None), &ours, 0).unwrap();
    let all = [fetch(), fetch(), fetch()];
    // A portion waits for the first, and one for nobody yet: its channel is full.
    while cache.counts().hits < 1 || cache.counts().read_bytes < 2 * block.bytes as u64 {
        std::thread::yield_now();
    }
    for fetching in all {
        let mut found = 0;
        loop {
            match fetching.poll() {
                FetchPoll::Pending => std::thread::yield_now(),
                FetchPoll::Over => break,
                FetchPoll::Blocks(portion) => {
                    assert_eq!(portion.blocks().len(), 1, "one is large enough");
                    assert!(portion.blocks()[0].numbers().iter().all(|byte| *byte == found));
                    found += 1;
                }
            }
        }
        assert_eq!(found, 2);
    }
    assert_eq!(cache.counts().read_bytes, 6 * file_bytes(block.bytes) as u64);
}

#[test]
fn a_directory_of_others_in_use_or_too_small_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let refused = |blocks| DiskCache::open(settings(root.path(), blocks), "m", BLOCK).unwrap_err();
    assert!(matches!(refused(0), DiskCacheError::TooSmall { needed: ROOM, .. }));
    let cache = open(root.path());
    assert!(matches!(refused(9), DiskCacheError::InUse(_)));
    let directory = cache.shared.files.directory().to_owned();
    drop(cache);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(refused(9), DiskCacheError::OpenToOthers(_)));
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, b"a file").unwrap();
    assert!(matches!(refused(9), DiskCacheError::Directory { .. }));
}
