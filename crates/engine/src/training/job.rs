//! A training run, one step after the other. It is broken off at any moment without loss of more than the steps since the
//! last checkpoint, and goes on from there to the same end, to the bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::{self, Notes, Precision, Tensor};
use super::network::{Batch, Network};
use super::packing::{batch, digest, packed, split, steps_of};
use super::rule::{Moments, Stride, length};
use super::settings::Settings;
use super::texts::Text;
use crate::{EngineError, Source};

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub step: usize,
    pub of: usize,
    /// The mean over the tokens that were learned in this step.
    pub loss: f64,
    /// The same of the texts that are held back, where they were looked at.
    pub held_back_loss: Option<f64>,
    pub rate: f64,
    /// How long all slopes were together, before they were cut.
    pub slope_length: f64,
    /// All tokens that were gone over, since the run began.
    pub tokens: u64,
    /// Whether the run can go on from here.
    pub is_kept: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Went {
    Step(Progress),
    /// It was told not to go on. What this step had done so far is lost, and nothing else.
    CalledOff,
    /// There is nothing left to do.
    End,
}

#[derive(Debug)]
pub struct Job {
    network: Network,
    settings: Settings,
    texts: Vec<Text>,
    digest: u64,
    held_back: Vec<Batch>,
    slopes: Vec<f32>,
    moments: Moments,
    /// The steps of each epoch.
    steps: Vec<usize>,
    /// The batches of each step of one epoch, that of the next step at last.
    epoch: Option<(usize, Vec<Vec<Vec<usize>>>)>,
    done: usize,
    tokens: u64,
    checkpoint: PathBuf,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const NOTE: &str = "run";

/// What a checkpoint says of its run.
#[derive(serde::Serialize, serde::Deserialize)]
struct Note {
    done: usize,
    tokens: u64,
    texts: u64,
    settings: Settings,
}

impl Job {
    /// A run that keeps its checkpoint in this directory, and goes on from one that is there.
    ///
    /// # Errors
    /// The settings or the texts make no run, or the checkpoint is another run's.
    pub fn open(
        source: &Source,
        texts: Vec<Text>,
        settings: Settings,
        directory: &Path,
    ) -> Result<Self, EngineError> {
        Self::open_beside(source, (texts, Vec::new()), settings, directory)
    }

    /// The same, with further texts that are only looked at.
    ///
    /// # Errors
    /// The settings or the texts make no run, or the checkpoint is another run's.
    pub fn open_beside(
        source: &Source,
        (texts, beside): (Vec<Text>, Vec<Text>),
        settings: Settings,
        directory: &Path,
    ) -> Result<Self, EngineError> {
        let settings = settings.checked()?;
        let digest = digest(texts.iter().chain(&beside));
        let (texts, mut held_back) = split(texts, &settings)?;
        held_back.extend(beside);
        let context = source.shape().context;
        if texts.iter().chain(&held_back).any(|text| text.tokens.len() > settings.batch_tokens.min(context)) {
            return Err(EngineError::Setting {
                field: "batch_tokens",
                what: "is less than a text has".into(),
            });
        }
        let all: Vec<usize> = (0..held_back.len()).collect();
        let packs = packed(&held_back, &all, settings.batch_tokens);
        let held_back = packs.iter().map(|which| batch(&held_back, which)).collect();
        let network = Network::load(source, &settings.trains, settings.seed)?;
        if network.parameters().is_empty() {
            return Err(EngineError::Setting {
                field: "targets",
                what: "name nothing that this model has".into(),
            });
        }
        std::fs::create_dir_all(directory)
            .map_err(|source| EngineError::File { path: directory.to_owned(), source })?;
        let none = vec![0.0; network.parameters().len()];
        let moments = Moments { first: none.clone(), second: none.clone() };
        let checkpoint = directory.join(CHECKPOINT);
        let (done, tokens, epoch, steps) = (0, 0, None, Vec::new());
        let mut job = Self {
            network,
            settings,
            texts,
            digest,
            held_back,
            slopes: none,
            moments,
            steps,
            epoch,
            done,
            tokens,
            checkpoint,
        };
        let of_epoch = |epoch| steps_of(&job.texts, &job.settings, epoch).len();
        job.steps = (0..job.settings.epochs).map(of_epoch).collect();
        if job.checkpoint.exists() {
            job.take_up()?;
        }
        Ok(job)
    }

    #[must_use]
    pub fn of(&self) -> usize {
        self.steps.iter().sum()
    }

    /// The steps that are done.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The batches of the next step; nothing after the last.
    fn next(&mut self) -> Option<Vec<Batch>> {
        let (mut left, mut epoch) = (self.done, 0);
        for steps in &self.steps {
            if left < *steps {
                break;
            }
            (left, epoch) = (left - steps, epoch + 1);
        }
        if epoch >= self.steps.len() {
            return None;
        }
        let steps = match self.epoch.take() {
            Some((of, steps)) if of == epoch => steps,
            _ => steps_of(&self.texts, &self.settings, epoch),
        };
        let batches = steps.get(left).map(Vec::as_slice).unwrap_or_default();
        let next = batches.iter().map(|which| batch(&self.texts, which)).collect();
        self.epoch = Some((epoch, steps));
        Some(next)
    }

    /// One step. `may_go_on` is asked before each layer of each batch: it may wait as long as others have work that comes
    /// first, and calls the step off where it says no.
    ///
    /// # Errors
    /// What is computed is no number any more, or the checkpoint can't be written.
    pub fn step(&mut self, may_go_on: &mut dyn FnMut() -> bool) -> Result<Went, EngineError> {
        let Some(batches) = self.next() else { return Ok(Went::End) };
        let targets: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let scale = 1.0 / targets.max(1) as f32;
        self.slopes.fill(0.0);
        let mut loss = 0.0;
        for batch in &batches {
            let saves = self.settings.saves_memory;
            let learned = self.network.learn(batch, (scale, saves), &mut self.slopes, may_go_on)?;
            let Some(learned) = learned else { return Ok(Went::CalledOff) };
            loss += learned;
        }
        let (step, of) = (self.done + 1, self.of());
        let slope_length = length(&self.slopes);
        if !loss.is_finite() || !slope_length.is_finite() {
            return Err(EngineError::Diverged { step });
        }
        let most = self.settings.slope_length_max.unwrap_or(f64::INFINITY);
        let shrink = if slope_length > most { most / slope_length } else { 1.0 };
        let rate = self.settings.rate_at(self.done, of);
        let stride = Stride { settings: &self.settings, rate, step, shrink };
        let (slots, parameters) = self.network.trained();
        stride.go(slots, parameters, &self.slopes, &mut self.moments);
        self.done = step;
        self.tokens += batches.iter().map(|batch| batch.tokens.len() as u64).sum::<u64>();
        let held_back_loss = match step % self.settings.held_back_every == 0 || step == of {
            true => self.held_back_loss(may_go_on)?,
            false => None,
        };
        let is_kept = step % self.settings.checkpoint_every == 0 || step == of;
        if is_kept {
            self.keep()?;
        }
        let (loss, tokens) = (loss / targets.max(1) as f64, self.tokens);
        Ok(Went::Step(Progress { step, of, loss, held_back_loss, rate, slope_length, tokens, is_kept }))
    }

    /// The mean loss of the texts that are held back; nothing where there are none, or where it may not go on.
    fn held_back_loss(&self, may_go_on: &mut dyn FnMut() -> bool) -> Result<Option<f64>, EngineError> {
        let (mut loss, mut count) = (0.0, 0);
        for batch in &self.held_back {
            if !may_go_on() {
                return Ok(None);
            }
            loss += self.network.loss(batch)?;
            count += batch.targets.len();
        }
        Ok((count > 0).then(|| loss / count as f64))
    }

    /// Writes what was trained so far.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn write(&self, base: &Path, directory: &Path, precision: Precision) -> Result<(), EngineError> {
        self.network.write(&self.settings.trains, base, directory, precision)
    }

    /// Writes the checkpoint.
    fn keep(&self) -> Result<(), EngineError> {
        let Self { done, tokens, digest: texts, .. } = *self;
        let note = Note { done, tokens, texts, settings: self.settings.clone() };
        let note = serde_json::to_string(&note).map_err(|error| self.broken(error.to_string()))?;
        let notes = Notes::from([(NOTE.to_owned(), note)]);
        let mut tensors = Vec::new();
        let parts = [self.network.parameters(), &self.moments.first, &self.moments.second];
        for (part, numbers) in PARTS.into_iter().zip(parts) {
            for slot in self.network.slots() {
                let numbers = numbers.get(slot.range.clone()).unwrap_or_default();
                tensors.push(Tensor { name: format!("{part}.{}", slot.name), shape: &slot.shape, numbers });
            }
        }
        file::write(&self.checkpoint, &tensors, Precision::Single, &notes)
    }

    fn broken(&self, what: impl Into<String>) -> EngineError {
        EngineError::Broken { path: self.checkpoint.clone(), what: what.into() }
    }

    /// Goes on from the checkpoint.
    fn take_up(&mut self) -> Result<(), EngineError> {
        let (notes, mut tensors) = file::read(&self.checkpoint)?;
        let note = notes.get(NOTE).ok_or_else(|| self.broken("it says nothing of its run"))?;
        let note: Note = serde_json::from_str(note).map_err(|error| self.broken(error.to_string()))?;
        if note.settings != self.settings {
            return Err(self.broken("it is of a run with other settings"));
        }
        if note.texts != self.digest {
            return Err(self.broken("it is of a run with other texts"));
        }
        if note.done > self.of() {
            return Err(self.broken("it is of a run with more steps"));
        }
        for (part, name) in PARTS.into_iter().enumerate() {
            self.take_part(part, name, &mut tensors)?;
        }
        (self.done, self.tokens) = (note.done, note.tokens);
        Ok(())
    }

    fn take_part(
        &mut self,
        part: usize,
        name: &str,
        tensors: &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ) -> Result<(), EngineError> {
        for slot in self.network.slots().to_vec() {
            let name = format!("{name}.{}", slot.name);
            let found = tensors.remove(&name).filter(|(shape, _)| *shape == slot.shape);
            let (_, numbers) = found.ok_or_else(|| self.broken(format!("it lacks \"{name}\"")))?;
            let into = match part {
                0 => self.network.parameters_mut(),
                1 => &mut self.moments.first,
                _ => &mut self.moments.second,
            };
            if let Some(into) = into.get_mut(slot.range) {
                into.copy_from_slice(&numbers);
            }
        }
        Ok(())
    }
}

/// What a checkpoint has of each tensor.
const PARTS: [&str; 3] = ["parameter", "mean", "square"];
