//! Times a training step of the engine and of PEFT, for the same adapter on the same model files with the
//! same threads.
#![allow(clippy::cast_possible_truncation, reason = "tokens are far fewer than that")]

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kernels::Architecture;
use training::{Example, Job, LoraConfig, Settings, StepOutcome, Trains};
use weights::Source;
use weights::synthetic::SyntheticModel;

use crate::children::Child;
use crate::{Options, models, ours};

/// A base model, the sequence length, and the steps per measurement.
#[derive(Debug, Clone, Copy)]
pub struct Trained {
    directory: &'static str,
    shape: fn() -> Architecture,
    pub tokens: usize,
    pub steps: usize,
}

pub const SMALL: Trained = Trained { directory: "train-small", shape: small, tokens: 256, steps: 20 };
pub const WIDE: Trained = Trained { directory: "train-wide", shape: models::shape, tokens: 512, steps: 1 };

const RANK: usize = 16;

fn small() -> Architecture {
    let (hidden, layers, heads, kv_heads, head_dim, inner) = (64, 3, 4, 2, 32, 128);
    Architecture { vocabulary: 512, hidden, layers, heads, kv_heads, head_dim, inner, ..models::shape() }
}

impl Trained {
    fn made(self) -> Result<PathBuf> {
        let directory = Path::new(crate::MODELS).join(self.directory);
        if !directory.is_dir() {
            eprintln!("making {}, once", directory.display());
            let unfinished = directory.with_extension("part");
            SyntheticModel::new("qwen3", (self.shape)(), 1).write_plain(&unfinished, false)?;
            std::fs::rename(&unfinished, &directory)?;
        }
        Ok(directory)
    }

    /// The two trainers on a model of this shape: ours and PEFT's.
    pub fn children(self, options: &Options, peft: &Path) -> Result<[Child; 2]> {
        let directory = self.made()?;
        let sizes = [self.tokens.to_string(), RANK.to_string()];
        let theirs = Child::peft(peft, &directory, options.threads, &sizes)?;
        Ok([Child::trains(&directory, options.threads, &sizes)?, theirs])
    }
}

/// The training child process: each input line is a number of steps, each output line the seconds that they
/// took.
pub fn run(directory: &Path, sizes: &[&str]) -> Result<()> {
    let start = Instant::now();
    let [tokens, rank] = sizes else { bail!("a child that trains is told tokens and a rank") };
    let (tokens, rank): (usize, usize) = (tokens.parse()?, rank.parse()?);
    let source = Source::open(directory)?;
    let vocabulary = source.shape().vocabulary;
    let text = Example {
        tokens: (0..tokens).map(|index| (index * 37 % vocabulary) as u32).collect(),
        is_learned: vec![true; tokens],
    };
    let low = LoraConfig { rank, alpha: 2.0 * rank as f32, ..LoraConfig::default() };
    let settings = Settings {
        trains: Trains::Adapter(low),
        epochs: 10_000,
        batch_tokens: tokens,
        held_back_every: usize::MAX,
        checkpoint_every: usize::MAX,
        ..Settings::default()
    };
    let keeps = tempfile::tempdir()?;
    let mut job = Job::open(&source, vec![text], settings, keeps.path())?;
    ours::tell(&[start.elapsed().as_secs_f64()])?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let steps: usize = line.strip_prefix("train ").context("no command")?.parse()?;
        let started = Instant::now();
        let mut loss = f64::NAN;
        for _ in 0..steps {
            match job.step(&mut || true)? {
                StepOutcome::Step(progress) => loss = progress.loss,
                went => bail!("a step that is none: {went:?}"),
            }
        }
        ours::tell(&[started.elapsed().as_secs_f64(), loss])?;
    }
    Ok(())
}
