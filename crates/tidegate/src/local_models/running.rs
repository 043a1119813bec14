//! Opens a local model, after checking that there is memory for it.

use std::sync::Arc;
use std::time::Instant;

use cli::output::{self, Failure};
use engine::{Drafting, EngineError, Local, LocalSettings, Processor, SchedulerLimits};
use kernels::{BLOCK, KvCache};
use prefixes::DiskCacheSettings;
use weights::{AvailableMemory, Source};
use world::World;

use crate::commands::node::{OpenedRuntime, Serving};
use crate::memory::{FreeMemory, Needed};

/// The most sequences in a step.
const STEP_TEXTS: usize = 64;

pub fn open(model: &str, serving: &Serving) -> Result<OpenedRuntime, Failure> {
    let started = Instant::now();
    let named = |error: EngineError| Failure::new(output::USAGE, format!("--device: {error}."));
    let processor: Processor = serving.device().parse().map_err(named)?;
    processor.check().map_err(named)?;
    processor
        .check_keeps(serving.kv_dtype())
        .map_err(|error| Failure::new(output::USAGE, format!("--kv-numbers: {error}.")))?;
    let disk_cache = disk_cache(processor, serving)?;
    let (path, id) = serving.model(model)?;
    let source = Source::open(&path).map_err(failure)?;
    let draft = draft(&id, serving)?;
    check_memory(&id, &source, processor, draft.as_ref(), serving)?;
    let settings = LocalSettings { disk_cache, ..settings(id, processor, draft, serving) };
    let local = Local::open_on(&source, settings, processor).map_err(failure)?;
    let remark = format!(
        "texts of up to {} tokens; ready after {:.1} s",
        local.longest(),
        started.elapsed().as_secs_f32()
    );
    Ok(OpenedRuntime { runtime: Arc::new(local), kind: "engine", remark })
}

fn failure(error: impl Into<EngineError>) -> Failure {
    Failure::new(output::FAILED, error.into().to_string())
}

const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

/// The draft model for speculative decoding, if one is set.
fn draft(id: &str, serving: &Serving) -> Result<Option<Drafting>, Failure> {
    let Some((path, bytes)) = serving.draft()? else { return Ok(None) };
    let source = Source::open(&path).map_err(failure)?;
    let weights = mib(source.weight_bytes());
    eprintln!(
        "{id} is drafted for with {weights} MiB of weights and {} MiB for what is read",
        mib(bytes as u64)
    );
    Ok(Some(Drafting { source: Arc::new(source), bytes }))
}

/// The prefix cache on disk, if one is set.
fn disk_cache(processor: Processor, serving: &Serving) -> Result<Option<DiskCacheSettings>, Failure> {
    let Some((directory, bytes_max, key)) = serving.prefix_cache()? else { return Ok(None) };
    processor
        .check_disk_cache()
        .map_err(|error| Failure::new(output::USAGE, format!("--prefix-cache-disk: {error}.")))?;
    Ok(Some(DiskCacheSettings { directory, bytes_max, key: Arc::new(key), world: World::system() }))
}

/// Prints what the model needs, and checks that this machine has it.
fn check_memory(
    id: &str,
    source: &Source,
    processor: Processor,
    draft: Option<&Drafting>,
    serving: &Serving,
) -> Result<(), Failure> {
    let (weights, beside) = processor.takes(source);
    let location = match processor {
        Processor::Own => String::new(),
        _ if beside == 0 => format!(" on {processor}"),
        _ => format!(" on {processor}, and {} MiB of weights in this machine's memory", mib(beside)),
    };
    let conversations = serving.kv_bytes() as u64;
    let token = KvCache::block_bytes(source.shape(), serving.kv_dtype()) / BLOCK;
    eprintln!(
        "{id}: {} MiB of weights and {} MiB for conversations{location}, {token} bytes for each token of them",
        mib(weights),
        mib(conversations)
    );
    let drafts = draft.map_or((0, 0), |draft| (draft.source.weight_bytes(), draft.bytes as u64));
    // What is on an accelerator takes no host memory, and is checked when it is opened there.
    let here = if processor.is_accelerator() { (beside, 0) } else { (weights + beside, conversations) };
    let needed = Needed { weights: here.0 + drafts.0, conversations: here.1 + drafts.1 };
    needed
        .within(FreeMemory::now(), serving.ignores_memory())
        .map_err(|what| Failure::new(output::FAILED, format!("{id} {what}")))
}

fn settings(id: String, processor: Processor, draft: Option<Drafting>, serving: &Serving) -> LocalSettings {
    let world = World::system();
    let clock = Arc::clone(&world.clock);
    let is_ignored = serving.ignores_memory();
    LocalSettings {
        id,
        created_unix_s: world.clock.unix_ms() / 1_000,
        scheduler_limits: SchedulerLimits {
            bytes: serving.kv_bytes(),
            kv_dtype: serving.kv_dtype(),
            step_tokens: processor.step_tokens(),
            sequences: STEP_TEXTS,
            waiting: serving.waiting(),
            draft_tokens: serving.draft_tokens(),
        },
        limits: serving.adapter_limits(),
        draft,
        disk_cache: None,
        spare: AvailableMemory::new(move || FreeMemory::now().left(is_ignored)),
        chance: Arc::new(move || {
            let mut bytes = [0; 8];
            world.random.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }),
        now_unix_s: Arc::new(move || clock.unix_ms() / 1_000),
    }
}
