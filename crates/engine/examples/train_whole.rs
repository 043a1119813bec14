//! Training benchmark: all weights of a small model, adapters of that model, and adapters of a two-layer
//! model that is as wide as larger models.
//!
//! `train_whole [STEPS]`

use std::error::Error;
use std::time::Instant;

use kernels::{Architecture, Pairs, Rope, RopeScaling};
use training::{Example, Job, LoraConfig, Settings, StepOutcome, Target, Trains};
use weights::Source;
use weights::synthetic::SyntheticModel;

fn small() -> Architecture {
    Architecture {
        vocabulary: 2_048,
        hidden: 256,
        layers: 6,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        inner: 768,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 10_000.0, stretch: RopeScaling::None },
        context: 2_048,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

fn wide() -> Architecture {
    Architecture {
        vocabulary: 4_096,
        hidden: 1_024,
        layers: 2,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        inner: 3_072,
        ..small()
    }
}

fn measure(what: &str, shape: Architecture, trains: Trains, steps: usize) -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("tidegate-train-{}", std::process::id()));
    let vocabulary = u32::try_from(shape.vocabulary)?;
    SyntheticModel::new("qwen3", shape, 7).write_plain(&directory.join("base"), false)?;
    let source = Source::open(&directory.join("base"))?;
    // Sixteen sequences of 128 tokens per step.
    let text = |of: u32| {
        let tokens = (0..128).map(|index| (index * 37 + of * 101) % vocabulary).collect();
        Example { tokens, is_learned: vec![true; 128] }
    };
    let texts: Vec<Example> = (0..16).map(text).collect();
    let settings = Settings {
        trains,
        epochs: steps + 1,
        checkpoint_every: usize::MAX,
        held_back_every: usize::MAX,
        ..Settings::default()
    };
    let mut job = Job::open(&source, texts, settings, &directory.join("run"))?;
    let parameters = job.network().parameters().len();
    // Warm-up: the first step allocates the memory that the others reuse.
    job.step(&mut || true)?;
    let (start, mut tokens) = (Instant::now(), 0);
    for _ in 0..steps {
        let StepOutcome::Step(progress) = job.step(&mut || true)? else { break };
        tokens = progress.tokens - 2_048;
    }
    let speed = tokens as f64 / start.elapsed().as_secs_f64();
    println!("{what}: {parameters} parameters are trained, {speed:.0} tokens a second");
    Ok(std::fs::remove_dir_all(&directory)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(5), |steps| steps.parse())?;
    let targets = vec![Target::Queries, Target::Values, Target::Down];
    let adapter = || Trains::Adapter(LoraConfig { targets: targets.clone(), ..LoraConfig::default() });
    measure("small, whole", small(), Trains::Whole, steps)?;
    measure("small, adapter", small(), adapter(), steps)?;
    measure("wide, adapter", wide(), adapter(), steps)
}
