//! Builds the small built-in model: tokenizer, training, evaluation and model card, all from the text files
//! next to it. `make builtin-model` runs it. The model is for demonstration.
//!
//! `builtin_model DIRECTORY` rebuilds the model; `builtin_model DIRECTORY examine` evaluates the existing
//! one; `builtin_model DIRECTORY try` holds one question of each fact out of the training and evaluates on
//! those, for work on the recipe.

#![expect(
    clippy::cast_possible_truncation,
    reason = "weights are drawn in double precision and kept in single"
)]

mod card;
mod examination;
mod lessons;
mod noise;
mod text;
mod tokens;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kernels::{Architecture, Pairs, Rope, RopeScaling};
use training::{Example, Job, Precision, Schedule, Settings, StepOutcome, Trains};
use weights::Source;
use weights::synthetic::SyntheticModel;

use crate::examination::Examination;
use crate::text::{Fact, HeldBack, Script};

/// The seed of everything random.
const SEED: u64 = 8_787;
/// How many variants of each question are trained on.
const PASSES: usize = 9;
const RATE: f64 = 2e-3;

fn shape(vocabulary: usize) -> Architecture {
    Architecture {
        vocabulary,
        hidden: 256,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        inner: 384,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 10_000.0, stretch: RopeScaling::None },
        context: 2_048,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

fn settings(passes: usize) -> Settings {
    Settings {
        trains: Trains::Whole,
        seed: SEED,
        // Each pass generates new variants, so that none is seen twice.
        epochs: 1,
        batch_tokens: 2_048,
        accumulation: 1,
        rate: RATE,
        warmup_steps: 40 * passes / PASSES,
        schedule: Schedule::Cosine,
        weight_decay: 0.1,
        betas: (0.9, 0.98),
        epsilon: 1e-8,
        slope_length_max: Some(1.0),
        held_back: 0,
        held_back_every: usize::MAX,
        checkpoint_every: 200,
        saves_memory: false,
        ..Settings::default()
    }
}

/// An untrained model.
fn untrained(vocabulary: usize) -> SyntheticModel {
    const SPREAD: f64 = 0.02;
    let mut made = SyntheticModel::new("qwen3", shape(vocabulary), SEED);
    for (name, (shape, numbers)) in &mut made.tensors {
        if shape.len() == 1 {
            // Small queries and keys make attention nearly uniform: the model learns first from the bag of
            // words of a question, and from their order only later.
            let is_of_heads = name.contains("q_norm") || name.contains("k_norm");
            numbers.fill(if is_of_heads { 0.25 } else { 1.0 });
            continue;
        }
        // Rescales each matrix to the same standard deviation, whatever `SyntheticModel` chose. Matrices that write to
        // the residual stream start smaller, by the number of such matrices.
        let square: f64 = numbers.iter().map(|number| f64::from(*number).powi(2)).sum();
        let own = (square / numbers.len() as f64).sqrt();
        let is_added = name.contains("o_proj") || name.contains("down_proj");
        let wanted = if is_added { SPREAD / 6f64.sqrt() } else { SPREAD };
        numbers.iter_mut().for_each(|number| *number = (f64::from(*number) / own * wanted) as f32);
    }
    made
}

fn train(base: &Path, lessons: Vec<Example>, work: &Path, passes: usize) -> Result<Job, Box<dyn Error>> {
    let source = Source::open(base)?;
    let mut job = Job::open(&source, lessons, settings(passes), work)?;
    println!("{} parameters, {} steps", job.network().parameters().len(), job.of());
    let started = (Instant::now(), None::<u64>);
    let (start, mut first) = started;
    while let StepOutcome::Step(progress) = job.step(&mut || true)? {
        let before = *first.get_or_insert(progress.tokens);
        if progress.step % 20 == 0 || progress.step == progress.of {
            let speed = (progress.tokens - before) as f64 / start.elapsed().as_secs_f64();
            println!(
                "step {} of {}: loss {:.4}, slopes {:.3}, rate {:.2e}, {speed:.0} tokens a second",
                progress.step, progress.of, progress.loss, progress.slope_length, progress.rate
            );
        }
    }
    Ok(job)
}

/// Writes the tokenizer, the configuration and the untrained weights into a directory.
fn lay_out(directory: &Path, facts: &[Fact], scripts: &[Script]) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(directory)?;
    let vocabulary = tokens::write(directory, facts, scripts)?;
    let made = untrained(vocabulary);
    made.write_plain(directory, false)?;
    tokens::write_config(directory, made.config(false))
}

fn make(builtin: &Path, is_trial: bool) -> Result<(), Box<dyn Error>> {
    let text = builtin.join("text");
    let mut facts: Vec<Fact> = text::read(&text.join("facts.jsonl"))?;
    let scripts: Vec<Script> = text::read(&text.join("dialogues.jsonl"))?;
    let mut examination = Examination { questions: text::read::<HeldBack>(&text.join("held_back.jsonl"))? };
    let work = PathBuf::from(if is_trial { "target/builtin-trial" } else { "target/builtin-model" });
    let (base, result) =
        (work.join("base"), if is_trial { work.join("result") } else { builtin.join("model") });
    lay_out(&base, &facts, &scripts)?;
    let passes = match std::env::var("BUILTIN_PASSES") {
        Ok(passes) if is_trial => passes.parse()?,
        _ => PASSES,
    };
    if is_trial {
        examination = Examination { questions: text::hold_back(&mut facts) };
    }
    let lessons = lessons::write(&base, &facts, &scripts, passes)?;
    println!(
        "{} texts of {} tokens",
        lessons.len(),
        lessons.iter().map(|text| text.tokens.len()).sum::<usize>()
    );
    let job = train(&base, lessons, &work.join("run"), passes)?;
    std::fs::create_dir_all(&result)?;
    job.write(&base, &result, Precision::Brain)?;
    let marks = examination.hold(&result)?;
    marks.print();
    if is_trial {
        return Ok(());
    }
    card::write(builtin, &facts, &scripts, &job, &marks)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let builtin = PathBuf::from(arguments.next().ok_or("say where the built-in model's directory is")?);
    match arguments.next().as_deref() {
        None => make(&builtin, false),
        Some("try") => make(&builtin, true),
        Some("examine") => {
            let questions = text::read::<HeldBack>(&builtin.join("text/held_back.jsonl"))?;
            Examination { questions }.hold(&builtin.join("model"))?.print();
            Ok(())
        }
        Some(other) => Err(format!("\"{other}\" is neither \"examine\" nor \"try\"").into()),
    }
}
