//! Models of one's own, where this binary holds the engine.

use crate::commands::node::{Opened, Serving};
use crate::output::{self, Failure};

#[cfg(not(feature = "engine"))]
pub fn open(model: &str, _serving: &Serving) -> Result<Opened, Failure> {
    let message = format!(
        "This build of Tidegate holds no engine, so it can't run {}: it has the runtime echo. Build it with its usual \
         features, or start `tidegate node --model echo`.",
        model
    );
    Err(Failure::new(output::NOT_FOUND, message))
}

#[cfg(feature = "engine")]
pub fn open(model: &str, serving: &Serving) -> Result<Opened, Failure> {
    use std::sync::Arc;
    use std::time::Instant;

    use engine::{Drafting, Keeps, Local, LocalSettings, Processor, Room, Source};
    use world::World;

    use crate::memory::{self, Needed};

    /// The texts of one step.
    const STEP_TEXTS: usize = 64;

    let begun = Instant::now();
    let named = |error: engine::EngineError| Failure::new(output::USAGE, format!("--device: {error}."));
    let processor: Processor = serving.device().parse().map_err(named)?;
    processor.check().map_err(named)?;
    let (path, id) = serving.model(model)?;
    let told = |error: engine::EngineError| Failure::new(output::FAILED, error.to_string());
    let source = Source::open(&path).map_err(told)?;
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let (weights, beside) = processor.takes(&source);
    let place = match processor {
        Processor::Own => String::new(),
        _ if beside == 0 => format!(" on {processor}"),
        _ => format!(" on {processor}, and {} MiB of weights in this machine's memory", mib(beside)),
    };
    eprintln!(
        "{id}: {} MiB of weights and {} MiB for conversations{place}",
        mib(weights),
        mib(serving.kv_bytes() as u64)
    );
    let draft = match serving.draft()? {
        Some((path, bytes)) => {
            let source = Source::open(&path).map_err(told)?;
            eprintln!(
                "{id} is drafted for with {} MiB of weights and {} MiB for what is read",
                mib(source.weight_bytes()),
                mib(bytes as u64)
            );
            Some(Drafting { source: Arc::new(source), bytes })
        }
        None => None,
    };
    let drafts = draft.as_ref().map_or((0, 0), |draft| (draft.source.weight_bytes(), draft.bytes as u64));
    // What lies on an accelerator takes nothing of this machine's memory, and is looked at where it is opened.
    let here =
        if processor.is_accelerator() { (beside, 0) } else { (weights + beside, serving.kv_bytes() as u64) };
    let needed = Needed { weights: here.0 + drafts.0, conversations: here.1 + drafts.1 };
    if let Err(what) = needed.within(memory::free(), serving.ignores_memory()) {
        return Err(Failure::new(output::FAILED, format!("{id} {what}")));
    }
    let world = World::system();
    let clock = Arc::clone(&world.clock);
    let settings = LocalSettings {
        id,
        created_unix_s: world.clock.unix_ms() / 1_000,
        room: Room {
            bytes: serving.kv_bytes(),
            keeps: Keeps::Half,
            tokens: processor.step_tokens(),
            texts: STEP_TEXTS,
            waiting: serving.waiting(),
            guesses: serving.guesses(),
        },
        limits: serving.adapter_limits(),
        draft,
        chance: Arc::new(move || {
            let mut bytes = [0; 8];
            world.random.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }),
        now_unix_s: Arc::new(move || clock.unix_ms() / 1_000),
    };
    let local = Local::open_on(&source, settings, processor).map_err(told)?;
    let remark = format!(
        "texts of up to {} tokens; ready after {:.1} s",
        local.longest(),
        begun.elapsed().as_secs_f32()
    );
    Ok(Opened { runtime: Arc::new(local), kind: "engine", remark })
}
