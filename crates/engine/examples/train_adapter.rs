//! Trains LoRA adapters of synthetic models, and writes base model, adapter and the trained model's logits,
//! for `scripts/verify-peft.py` to compare with PEFT's on the same files.
//!
//! `train_adapter DIRECTORY`

use std::error::Error;
use std::path::{Path, PathBuf};

use kernels::{Architecture, Pairs, Rope, RopeScaling};
use serde_json::json;
use training::{Example, Job, LoraConfig, Precision, Settings, StepOutcome, Trains};
use weights::Source;
use weights::synthetic::SyntheticModel;

fn shape(norms_heads: bool, stretch: RopeScaling) -> Architecture {
    Architecture {
        vocabulary: 512,
        hidden: 64,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 128,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch },
        context: 4_096,
        is_tied: norms_heads,
        norms_heads,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

fn train(family: &str, shape: Architecture, low: LoraConfig, directory: &Path) -> Result<(), Box<dyn Error>> {
    let base = directory.join("base");
    SyntheticModel::new(family, shape, 7).write_plain(&base, false)?;
    let source = Source::open(&base)?;
    let tokens: Vec<u32> = [17, 4, 301, 88, 250, 9, 133, 64].into_iter().cycle().take(63).collect();
    let text = Example { is_learned: vec![true; tokens.len()], tokens: tokens.clone() };
    let settings = Settings {
        trains: Trains::Adapter(low),
        epochs: 40,
        rate: 1e-2,
        warmup_steps: 2,
        ..Settings::default()
    };
    let mut job = Job::open(&source, vec![text], settings, &directory.join("run"))?;
    let mut loss = f64::NAN;
    while let StepOutcome::Step(progress) = job.step(&mut || true)? {
        loss = progress.loss;
    }
    job.write(&base, &directory.join("adapter"), Precision::Single)?;
    let scores = job.network().scores(&tokens)?;
    let output = json!({"tokens": tokens, "scores": scores.chunks(512).collect::<Vec<_>>()});
    std::fs::write(directory.join("said.json"), output.to_string())?;
    println!("{}: loss {loss:.4}", directory.display());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("say where to write")?);
    let usual = LoraConfig::default();
    let stable = LoraConfig { is_rank_stable: true, ..usual.clone() };
    let bands = RopeScaling::Bands { factor: 8.0, low: 1.0, high: 4.0, original: 256.0 };
    train("qwen3", shape(true, RopeScaling::None), usual, &directory.join("qwen3"))?;
    train("llama", shape(false, bands), stable, &directory.join("llama"))
}
