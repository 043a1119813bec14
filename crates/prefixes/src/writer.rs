//! The thread that writes blocks and removes scopes, so that no step waits for the disk.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::index::{IndexEntry, room};
use crate::shared::{NewBlock, Purge, Shared, add};

enum Work {
    Write(NewBlock),
    Purge(Purge),
}

/// Works until the cache is closed, and then until nothing waits.
pub(crate) fn run(shared: &Shared) {
    while let Some(work) = next(shared) {
        match work {
            Work::Purge(Purge { scope, cleared, done }) => {
                done(shared.files.remove_scope(scope).map(|()| cleared));
            }
            Work::Write(new) => write(shared, new),
        }
    }
}

/// Purges come first: what waits for one waits for nothing else.
fn next(shared: &Shared) -> Option<Work> {
    let mut state = shared.state();
    loop {
        if let Some(purge) = state.purges.pop_front() {
            return Some(Work::Purge(purge));
        }
        if let Some(new) = state.waiting.pop_front() {
            return Some(Work::Write(new));
        }
        if state.is_closing {
            return None;
        }
        state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn write(shared: &Shared, new: NewBlock) {
    let (block, used) = (new.block, new.used);
    let written = seal_and_write(shared, new);
    let mut state = shared.state();
    state.coming.remove(&block.key);
    state.coming_bytes = state.coming_bytes.saturating_sub(shared.block.bytes);
    match written {
        Ok(file_bytes) => {
            add(&shared.counts.written_bytes, file_bytes);
            // A purge that came meanwhile removes the file, too.
            if !state.purges.iter().any(|purge| purge.scope == block.scope) {
                state.index.insert(IndexEntry { block, file_bytes: file_bytes as u64, used });
            }
        }
        Err(error) => {
            state.waiting.clear();
            state.coming.clear();
            state.coming_bytes = 0;
            drop(state);
            shared.is_writing.store(false, Ordering::Relaxed);
            tracing::warn!(
                %error, directory = %shared.files.directory().display(),
                "the prefix cache on disk takes no more blocks until the node is started again; what is there is still read"
            );
        }
    }
}

fn seal_and_write(shared: &Shared, new: NewBlock) -> io::Result<usize> {
    let random = &*shared.world.random;
    shared.make_room(room(crate::block_file::file_bytes(shared.block.bytes) as u64));
    let secret = shared.files.secret_or_new(new.block.scope, random)?;
    let sealed = shared.keys.seal(&secret).and_then(|key| new.numbers.sealed(&key, &new.block, random));
    let sealed = sealed.ok_or(io::ErrorKind::InvalidData)?;
    shared.files.write(&new.block, &sealed, new.used)?;
    Ok(sealed.len())
}
