//! A training run, one optimizer step at a time. It may be killed at any moment and loses at most the steps
//! since the last checkpoint; resumed from there, it ends with bit-identical weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weights::Source;
use weights::adapters::InitialAdapter;

use kernels::KernelError;

use crate::dataset::Example;
use crate::error::TrainerError;
use crate::file::{self, Notes, Precision, Tensor};
use crate::network::{Batch, Network};
use crate::optimizer::{AdamWStep, Moments, gradient_norm};
use crate::packing::{batch, digest, pack, split, steps_of};
use crate::settings::Settings;

/// The state of a run after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub step: usize,
    pub of: usize,
    /// Mean training loss over the target tokens of this step.
    pub loss: f64,
    /// Mean loss over the validation set, where this step evaluated it.
    pub held_back_loss: Option<f64>,
    pub rate: f64,
    /// Norm of all gradients together, before clipping.
    pub slope_length: f64,
    /// All tokens processed since the run started.
    pub tokens: u64,
    /// Whether a checkpoint was written, from which the run can resume.
    pub is_kept: bool,
    /// Whether an epoch ended here and its result was written.
    pub is_left: bool,
}

/// The inputs of a run, apart from its settings.
#[derive(Debug, Default)]
pub struct RunInputs {
    pub examples: Vec<Example>,
    /// Additional examples for the validation set.
    pub validation: Vec<Example>,
    /// An adapter to continue training from.
    pub adapter: Option<InitialAdapter>,
    /// Digest of the base model's files, where the checkpoint shall record it.
    pub base: Option<u128>,
}

/// Where the result of each epoch but the last is written.
#[derive(Debug)]
struct EpochOutput {
    base: PathBuf,
    directory: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    Step(Progress),
    /// `may_go_on` cancelled it. Only the work of this step is lost.
    CalledOff,
    /// All steps are done.
    End,
}

#[derive(Debug)]
pub struct Job {
    network: Network,
    settings: Settings,
    examples: Vec<Example>,
    digest: u64,
    validation: Vec<Batch>,
    gradients: Vec<f32>,
    moments: Moments,
    /// The number of steps in each epoch.
    steps: Vec<usize>,
    /// The current epoch's number and the example indices of each batch of each of its steps.
    epoch: Option<(usize, Vec<Vec<Vec<usize>>>)>,
    done: usize,
    tokens: u64,
    /// The last step that was done.
    last: Option<Progress>,
    /// The step that the checkpoint on disk was written at.
    kept: Option<usize>,
    base: Option<u128>,
    epoch_output: Option<EpochOutput>,
    checkpoint: PathBuf,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const NOTE: &str = "run";

/// A checkpoint's metadata.
#[derive(Serialize, Deserialize)]
struct Note {
    done: usize,
    tokens: u64,
    texts: u64,
    settings: Settings,
    #[serde(default)]
    last: Option<Progress>,
    /// Digest of the base model's files, in hexadecimal.
    #[serde(default)]
    base: Option<String>,
}

impl Job {
    /// Opens a run whose checkpoint is in this directory, and resumes it where there is one.
    ///
    /// # Errors
    /// The settings or the texts are unusable, or the checkpoint belongs to another run.
    pub fn open(
        source: &Source,
        texts: Vec<Example>,
        settings: Settings,
        directory: &Path,
    ) -> Result<Self, TrainerError> {
        let inputs = RunInputs { examples: texts, ..RunInputs::default() };
        let started = Self::begin(source, inputs, settings, directory, &|| true)?;
        started.ok_or(TrainerError::Kernel(KernelError::Step("a run that nobody called off did not begin")))
    }

    /// Like `open`, with validation examples, an adapter to start from and the base's digest. `None` where
    /// `may_go_on`, which is called during the preparation, returned false.
    ///
    /// # Errors
    /// The settings or the texts are unusable, or the checkpoint belongs to another run.
    pub fn begin(
        source: &Source,
        inputs: RunInputs,
        settings: Settings,
        directory: &Path,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, TrainerError> {
        let settings = settings.checked()?;
        let RunInputs { examples: texts, validation: beside, adapter, base } = inputs;
        let digest = digest(texts.iter().chain(&beside));
        let (texts, mut held_back) = split(texts, &settings)?;
        held_back.extend(beside);
        let context = source.shape().context;
        if texts.iter().chain(&held_back).any(|text| text.tokens.len() > settings.batch_tokens.min(context)) {
            return Err(TrainerError::Setting {
                field: "batch_tokens",
                what: "is less than the tokens of a text".into(),
            });
        }
        let mut steps = Vec::new();
        for epoch in 0..settings.epochs {
            if !may_go_on() {
                return Ok(None);
            }
            steps.push(steps_of(&texts, &settings, epoch).len());
        }
        let all: Vec<usize> = (0..held_back.len()).collect();
        let packs = pack(&held_back, &all, settings.batch_tokens);
        let held_back = packs.iter().map(|which| batch(&held_back, which)).collect();
        let Some(mut network) = Network::load_while(source, &settings.trains, settings.seed, may_go_on)?
        else {
            return Ok(None);
        };
        if network.parameters().is_empty() {
            return Err(TrainerError::Setting {
                field: "targets",
                what: "name nothing in this model".into(),
            });
        }
        if let Some(started) = &adapter {
            network.begin_as(started)?;
        }
        let none = vec![0.0; network.parameters().len()];
        let mut job = Self {
            moments: Moments { first: none.clone(), second: none.clone() },
            gradients: none,
            checkpoint: directory.join(CHECKPOINT),
            network,
            settings,
            examples: texts,
            digest,
            validation: held_back,
            steps,
            epoch: None,
            done: 0,
            tokens: 0,
            last: None,
            kept: None,
            base,
            epoch_output: None,
        };
        job.ready(directory)?;
        Ok(Some(job))
    }

    /// Resumes from the checkpoint, or creates the directory for it.
    fn ready(&mut self, directory: &Path) -> Result<(), TrainerError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| TrainerError::File { path: directory.to_owned(), source })?;
        if self.checkpoint.exists() {
            return self.resume();
        }
        // Records the base model's digest before the first step.
        if self.base.is_some() { self.save_checkpoint() } else { Ok(()) }
    }

    /// Checks that a run in this directory, if there is one, was started on the base model with this digest.
    /// Called before the training data is read, since another model tokenizes it differently.
    ///
    /// # Errors
    /// It was started on another base model, or its checkpoint can't be read.
    pub fn check_base(directory: &Path, base: u128) -> Result<(), TrainerError> {
        let checkpoint = directory.join(CHECKPOINT);
        if !checkpoint.exists() {
            return Ok(());
        }
        let note = Note::read(&file::notes(&checkpoint)?, &checkpoint)?;
        match note.base {
            Some(started) if started != digits(base) => Err(TrainerError::OtherBase),
            _ => Ok(()),
        }
    }

    /// Makes the run write its result at the end of each epoch but the last, each in a subdirectory named
    /// after its step. `base` is the path of the base model.
    pub fn leave_epochs(&mut self, base: &Path, directory: &Path) {
        self.epoch_output = Some(EpochOutput { base: base.to_owned(), directory: directory.to_owned() });
    }

    pub fn of(&self) -> usize {
        self.steps.iter().sum()
    }

    /// The number of steps done.
    pub const fn done(&self) -> usize {
        self.done
    }

    /// The last step that was done, if any.
    pub const fn last(&self) -> Option<&Progress> {
        self.last.as_ref()
    }

    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The batches of the next step; `None` after the last.
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
            _ => steps_of(&self.examples, &self.settings, epoch),
        };
        let batches = steps.get(left).map(Vec::as_slice).unwrap_or_default();
        let next = batches.iter().map(|which| batch(&self.examples, which)).collect();
        self.epoch = Some((epoch, steps));
        Some(next)
    }

    /// Runs one optimizer step. `may_go_on` is called before each layer of each batch: it may block while
    /// serving has priority, and cancels the step by returning false.
    ///
    /// # Errors
    /// The loss or the gradient is not finite, or the checkpoint can't be written.
    pub fn step(&mut self, may_go_on: &mut dyn FnMut() -> bool) -> Result<StepOutcome, TrainerError> {
        let Some(batches) = self.next() else { return Ok(StepOutcome::End) };
        let targets: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let scale = 1.0 / targets.max(1) as f32;
        self.gradients.fill(0.0);
        let mut loss = 0.0;
        for batch in &batches {
            let saves = self.settings.saves_memory;
            let learned =
                self.network.accumulate_gradients(batch, (scale, saves), &mut self.gradients, may_go_on)?;
            let Some(learned) = learned else { return Ok(StepOutcome::CalledOff) };
            loss += learned;
        }
        let (step, of) = (self.done + 1, self.of());
        let slope_length = gradient_norm(&self.gradients);
        if !loss.is_finite() || !slope_length.is_finite() {
            return Err(TrainerError::Diverged { step });
        }
        let most = self.settings.slope_length_max.unwrap_or(f64::INFINITY);
        let shrink = if slope_length > most { most / slope_length } else { 1.0 };
        let rate = self.settings.rate_at(self.done, of);
        let stride = AdamWStep { settings: &self.settings, rate, step, shrink };
        let (slots, parameters) = self.network.trainable_parameters();
        stride.go(slots, parameters, &self.gradients, &mut self.moments);
        self.done = step;
        self.tokens += batches.iter().map(|batch| batch.tokens.len() as u64).sum::<u64>();
        let ends_epoch = self.ends_epoch(step);
        let held_back_loss = if step % self.settings.held_back_every == 0 || ends_epoch {
            self.held_back_loss(may_go_on)?
        } else {
            None
        };
        let is_left = ends_epoch && step < of && self.leave(step)?;
        let is_kept = step % self.settings.checkpoint_every == 0 || step == of;
        let (loss, tokens) = (loss / targets.max(1) as f64, self.tokens);
        let went = Progress { step, of, loss, held_back_loss, rate, slope_length, tokens, is_kept, is_left };
        self.last = Some(went.clone());
        if is_kept {
            self.save_checkpoint()?;
        }
        Ok(StepOutcome::Step(went))
    }

    /// Whether this is the last step of an epoch.
    fn ends_epoch(&self, step: usize) -> bool {
        let ends = self.steps.iter().scan(0, |end, steps| {
            *end += steps;
            Some(*end)
        });
        ends.take_while(|end| *end <= step).any(|end| end == step)
    }

    /// Writes the epoch's result, if requested. This comes before the checkpoint: a run killed in between
    /// does the step again.
    fn leave(&self, step: usize) -> Result<bool, TrainerError> {
        let Some(EpochOutput { base, directory }) = &self.epoch_output else { return Ok(false) };
        let directory = directory.join(domain::training::checkpoint_directory_name(step as u64));
        self.write(base, &directory, Precision::Single)?;
        Ok(true)
    }

    /// The mean loss over the validation set; `None` where it is empty or `may_go_on` returned false.
    fn held_back_loss(&self, may_go_on: &mut dyn FnMut() -> bool) -> Result<Option<f64>, TrainerError> {
        let (mut loss, mut count) = (0.0, 0);
        for batch in &self.validation {
            if !may_go_on() {
                return Ok(None);
            }
            loss += self.network.loss(batch)?;
            count += batch.targets.len();
        }
        Ok((count > 0).then(|| loss / count as f64))
    }

    /// Writes the trained weights.
    pub fn write(&self, base: &Path, directory: &Path, precision: Precision) -> Result<(), TrainerError> {
        self.network.write(&self.settings.trains, base, directory, precision)
    }

    /// Writes a checkpoint to resume from, unless the one on disk is current.
    ///
    /// # Errors
    /// The checkpoint can't be written.
    pub fn save_checkpoint(&mut self) -> Result<(), TrainerError> {
        if self.kept == Some(self.done) {
            return Ok(());
        }
        let Self { done, tokens, digest: texts, .. } = *self;
        let (settings, last, base) = (self.settings.clone(), self.last.clone(), self.base.map(digits));
        let note = Note { done, tokens, texts, settings, last, base };
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
        file::write(&self.checkpoint, &tensors, Precision::Single, &notes)?;
        self.kept = Some(done);
        Ok(())
    }

    fn broken(&self, what: impl Into<String>) -> TrainerError {
        TrainerError::Broken { path: self.checkpoint.clone(), what: what.into() }
    }

    /// Restores the state from the checkpoint.
    fn resume(&mut self) -> Result<(), TrainerError> {
        let (notes, mut tensors) = file::read(&self.checkpoint)?;
        let note = Note::read(&notes, &self.checkpoint)?;
        if note.settings != self.settings {
            return Err(self.broken("it belongs to a run with other settings"));
        }
        if note.texts != self.digest {
            return Err(self.broken("it belongs to a run with other texts"));
        }
        if note.done > self.of() {
            return Err(self.broken("it belongs to a run with more steps"));
        }
        for (part, name) in PARTS.into_iter().enumerate() {
            self.take_part(part, name, &mut tensors)?;
        }
        (self.done, self.tokens, self.last) = (note.done, note.tokens, note.last);
        self.kept = Some(note.done);
        Ok(())
    }

    fn take_part(
        &mut self,
        part: usize,
        name: &str,
        tensors: &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ) -> Result<(), TrainerError> {
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

impl Note {
    fn read(notes: &Notes, path: &Path) -> Result<Self, TrainerError> {
        let broken = |what: String| TrainerError::Broken { path: path.to_owned(), what };
        let note = notes.get(NOTE).ok_or_else(|| broken("it doesn't describe its run".to_owned()))?;
        serde_json::from_str(note).map_err(|error| broken(error.to_string()))
    }
}

fn digits(base: u128) -> String {
    format!("{base:032x}")
}

/// What a checkpoint stores of each tensor: its values and AdamW's two moments.
const PARTS: [&str; 3] = ["parameter", "mean", "square"];
