//! The engine as a child process of the benchmark. It uses the same protocol as the other child: commands in,
//! figures out.
#![allow(clippy::cast_possible_truncation, reason = "counts of tokens are small")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use engine::{
    AdapterId, Backend, CacheScope, Group, RegisterOptions, Request, Sampling, Scheduler, SchedulerLimits,
    SequenceId, StepEvent,
};
use kernels::{KvCache, KvDtype};
use weights::{Source, load_model};

use crate::disk;
use crate::own::{self, Ruled};

/// The same KV cache capacity, in tokens, as the other child.
const CONTEXT: usize = 8192;
const STEP_TOKENS: usize = 512;

const SHARE: CacheScope = CacheScope(1);
/// The most steps in which all prompts are prefilled.
pub const PROMPT_STEPS_MAX: usize = 64;

pub struct Child {
    model: Backend,
    runner: Scheduler,
    /// The adapters that sequences alternate between, if any.
    adapters: Vec<AdapterId>,
    /// Numbers the prompts so that no two are alike: the prefix cache must not help.
    texts: usize,
    keeps: KvDtype,
}

/// The capacity of a child.
pub struct Holds {
    /// KV cache capacity in tokens.
    pub context: usize,
    pub step_tokens: usize,
    pub texts: usize,
    pub keeps: KvDtype,
}

pub fn run(path: &Path, keeps: KvDtype) -> Result<()> {
    let start = Instant::now();
    let mut child = Child::load(path, keeps)?;
    child.prefill(1)?;
    tell(&[start.elapsed().as_secs_f64()])?;
    let directory = tempfile::tempdir()?;
    let mut ruled: Option<Ruled> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let numbers: Vec<usize> = words.map(str::parse).collect::<Result<_, _>>()?;
        match (verb, numbers.as_slice()) {
            ("decode", [texts, prompt, count]) => tell(&[child.decode(*texts, *prompt, *count)?])?,
            ("prefill", [prompt]) => tell(&[child.prefill(*prompt)?])?,
            ("again", [shared, new]) => tell(&child.again(*shared, *new)?)?,
            ("adapters", []) => tell(&own::adapters(&child.model)?)?,
            ("rules", []) => {
                // Built once, because that takes longer than what is measured.
                let made = ruled.take().map_or_else(|| Ruled::new(directory.path()), Ok)?;
                tell(&ruled.insert(made).seconds(&child.model)?)?;
            }
            ("rules8", []) => {
                let made = ruled.take().map_or_else(|| Ruled::new(directory.path()), Ok)?;
                tell(&ruled.insert(made).seconds_of_eight(&child.model)?)?;
            }
            ("disk", [shared, new]) => tell(&disk::seconds(&child.model, *shared, *new)?)?,
            ("copies", []) => tell(&own::copies(&child.model)?)?,
            ("memory", []) => tell(&[resident()? as f64])?,
            ("kept", []) => tell(&[child.kept() as f64])?,
            _ => bail!("\"{line}\" is no command"),
        }
    }
    Ok(())
}

pub fn tell(figures: &[f64]) -> Result<()> {
    let words: Vec<String> = figures.iter().map(f64::to_string).collect();
    println!("{}", words.join(" "));
    Ok(std::io::stdout().flush()?)
}

/// The resident memory of this process, in bytes.
pub fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).context("no count of pages")?.parse()?;
    Ok(pages * 4096)
}

impl Child {
    fn load(path: &Path, keeps: KvDtype) -> Result<Self> {
        let model = Arc::new(load_model(&Source::open(path)?)?);
        Self::of(model, &Holds { context: CONTEXT, step_tokens: STEP_TOKENS, texts: 8, keeps })
    }

    pub fn of(model: impl Into<Backend>, holds: &Holds) -> Result<Self> {
        let model = model.into();
        let Holds { context, step_tokens: tokens, texts, keeps } = *holds;
        let bytes = context.div_ceil(kernels::BLOCK) * KvCache::block_bytes(model.shape(), keeps);
        let limits = SchedulerLimits {
            bytes,
            kv_dtype: keeps,
            step_tokens: tokens,
            sequences: texts,
            waiting: texts,
            draft_tokens: 0,
        };
        Ok(Self {
            runner: Scheduler::new(model.clone(), limits)?,
            model,
            adapters: Vec::new(),
            texts: 0,
            keeps,
        })
    }

    /// Registers an adapter; from now on, sequences alternate between the registered ones.
    pub fn wear(&mut self, name: &str, directory: &Path) -> Result<()> {
        let id = AdapterId::from(name);
        let registering = RegisterOptions { replaces: false, is_pinned: true };
        let read = self.runner.reading(id.clone(), directory, registering)?.read();
        self.runner.settle(read)?;
        self.adapters.push(id);
        Ok(())
    }

    /// The KV cache size of a token in bytes.
    fn kept(&self) -> usize {
        KvCache::block_bytes(self.model.shape(), self.keeps) / kernels::BLOCK
    }

    fn prompt(&mut self, length: usize) -> Vec<u32> {
        self.texts += 1;
        let first = self.texts * 101;
        let (first, vocabulary) = (first as u32, self.model.shape().vocabulary as u32);
        let token = |index: u32| (first + index * 37) % vocabulary;
        (0..length as u32).map(token).collect()
    }

    fn submit(&mut self, prompt: Vec<u32>, max_tokens: usize) -> Result<SequenceId> {
        let request = Request {
            prompt,
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            max_tokens,
            stop_tokens: Vec::new(),
            constraint: None,
            adapter: self
                .adapters
                .get(self.texts.checked_rem(self.adapters.len()).unwrap_or_default())
                .cloned(),
            adapter_switches: Vec::new(),
            cache_scope: SHARE,
            group: Group(1),
        };
        match self.runner.submit(request) {
            Ok(text) => Ok(text),
            Err(refused) => bail!("the runner refuses: {refused:?}"),
        }
    }

    fn step(&mut self) -> Result<usize> {
        let happened = self.runner.step()?;
        Ok(happened.iter().filter(|happened| matches!(happened, StepEvent::Token { .. })).count())
    }

    /// Cancels the sequences and clears the prefix cache.
    fn finish(&mut self, texts: Vec<SequenceId>) {
        texts.into_iter().for_each(|text| self.runner.cancel(text));
        self.runner.forget(SHARE);
    }

    /// The seconds to decode `count` tokens after prompts of this length.
    pub fn decode(&mut self, texts: usize, prompt: usize, count: usize) -> Result<f64> {
        let mut running = Vec::new();
        for _ in 0..texts {
            let prompt = self.prompt(prompt);
            // Early sequences generate more tokens, until the last prompt has been prefilled.
            running.push(self.submit(prompt, count + PROMPT_STEPS_MAX)?);
        }
        while self.step()? != texts {}
        let start = Instant::now();
        for _ in 0..count {
            if self.step()? != texts {
                bail!("not every text was told");
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        self.finish(running);
        Ok(seconds)
    }

    pub fn prefill(&mut self, length: usize) -> Result<f64> {
        let prompt = self.prompt(length);
        let seconds = self.first_token(prompt)?;
        self.finish(Vec::new());
        Ok(seconds)
    }

    fn first_token(&mut self, prompt: Vec<u32>) -> Result<f64> {
        self.submit(prompt, 1)?;
        let start = Instant::now();
        while self.step()? == 0 {}
        Ok(start.elapsed().as_secs_f64())
    }

    /// The seconds to the first token of a prompt, and of another with the same prefix.
    fn again(&mut self, shared: usize, new: usize) -> Result<[f64; 2]> {
        let prefix = self.prompt(shared);
        let mut prompts = [prefix.clone(), prefix];
        for prompt in &mut prompts {
            let rest = self.prompt(new);
            prompt.extend(rest);
        }
        let [cold, warm] = prompts;
        let seconds = [self.first_token(cold)?, self.first_token(warm)?];
        self.finish(Vec::new());
        Ok(seconds)
    }
}
