//! Measures the prefix cache on disk: reading a prefix after a restart, beside computing it and finding it in memory.
#![allow(clippy::cast_possible_truncation, reason = "counts of tokens are small")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use domain::Secret;
use engine::{Backend, Request, Scheduler, SchedulerLimits, StepEvent};
use kernels::{BLOCK, KvCache, KvDtype};
use prefixes::{BlockShape, DiskCache, DiskCacheSettings};
use world::World;

use crate::own::request;

/// A runner whose prefix cache is in this directory, too.
fn runner(model: &Backend, directory: &Path, tokens: usize) -> Result<Scheduler> {
    let block = KvCache::block_bytes(model.shape(), KvDtype::F16);
    let limits = SchedulerLimits {
        bytes: 2 * tokens.div_ceil(BLOCK) * block,
        kv_dtype: KvDtype::F16,
        step_tokens: 512,
        sequences: 1,
        waiting: 1,
        draft_tokens: 0,
    };
    let settings = DiskCacheSettings {
        directory: directory.to_owned(),
        bytes_max: 1 << 40,
        key: Arc::new(Secret::new(vec![1; 32])),
        world: World::system(),
    };
    let shape = BlockShape { tokens: BLOCK, bytes: block };
    let disk = DiskCache::open(settings, &KvCache::format(model.shape(), KvDtype::F16), shape)?;
    Ok(Scheduler::new(model.clone(), limits)?.with_disk(disk))
}

/// The seconds to the first token, and how much of the prompt was cached.
fn first_token(runner: &mut Scheduler, request: Request) -> Result<(f64, usize)> {
    if let Err(refused) = runner.submit(request) {
        bail!("the runner refuses: {refused:?}");
    }
    let (start, mut seconds, mut cached) = (Instant::now(), 0.0, 0);
    while !runner.is_idle() {
        for happened in runner.step()? {
            match happened {
                StepEvent::Scheduled { cached_tokens, .. } => cached = cached_tokens,
                StepEvent::Token { .. } => seconds = start.elapsed().as_secs_f64(),
                StepEvent::State { .. } | StepEvent::End { .. } => {}
            }
        }
    }
    Ok((seconds, cached))
}

/// The seconds to the first token behind `shared` tokens and `new` ones: all computed, with the shared ones in memory, and
/// with them on disk after a restart. Then the bytes of the shared ones.
pub fn seconds(model: &Backend, shared: usize, new: usize) -> Result<[f64; 4]> {
    let directory = tempfile::tempdir()?;
    // The cache makes its directory, closed to other users of the machine.
    let cache = directory.path().join("cache");
    let prompt = |which: u32| {
        let token = |index: u32| (index * 37 + which * 101) % 10_000;
        let rest = (0..new as u32).map(|index| token(index) + which);
        request((0..shared as u32).map(|index| index * 37 % 10_000).chain(rest).collect(), 1)
    };
    let tokens = shared + new + BLOCK;
    let mut first = runner(model, &cache, tokens)?;
    let (cold, none) = first_token(&mut first, prompt(1))?;
    let (memory, held) = first_token(&mut first, prompt(2))?;
    while first.disk_counts().is_some_and(|counts| (counts.stored_blocks as usize) < shared / BLOCK) {
        std::thread::yield_now();
    }
    drop(first);
    let (disk, read) = first_token(&mut runner(model, &cache, tokens)?, prompt(3))?;
    if none != 0 || held < shared || read < shared {
        bail!("{none}, {held} and {read} of {shared} tokens were cached");
    }
    let bytes = shared / BLOCK * KvCache::block_bytes(model.shape(), KvDtype::F16);
    Ok([cold, memory, disk, bytes as f64])
}
