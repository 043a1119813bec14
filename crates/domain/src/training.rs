//! The interface of a runtime that trains: LoRA fine-tuning on conversations while it continues to serve.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The hyperparameters of a training run. All are explicit, because a resumed run must be the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSettings {
    pub rank: usize,
    pub alpha: f64,
    /// Scales by `alpha / sqrt(rank)` (rsLoRA) instead of `alpha / rank`.
    pub is_rank_stable: bool,
    /// The weight matrices that get an adapter, under PEFT's names.
    pub targets: Vec<String>,
    pub seed: u64,
    pub epochs: usize,
    /// Tokens per forward and backward pass (micro-batch).
    pub batch_tokens: usize,
    /// Micro-batches per optimizer step (gradient accumulation).
    pub accumulation: usize,
    /// Examples per optimizer step, instead of micro-batches.
    pub step_texts: Option<usize>,
    pub rate: f64,
    pub warmup_steps: usize,
    pub schedule: RateSchedule,
    pub weight_decay: f64,
    /// The validation set: examples that are evaluated and not trained on.
    pub held_out: HeldOut,
    /// Selects the validation set; `seed` if unset.
    pub held_out_seed: Option<u64>,
    /// Steps between two evaluations of the validation set.
    pub held_out_every: usize,
    pub checkpoint_every: usize,
    /// Gradient checkpointing: computes each layer twice to hold fewer activations.
    pub saves_memory: bool,
}

/// The learning-rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    Constant,
    Linear,
    Cosine,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOut {
    Texts(usize),
    /// This fraction of all examples.
    Share(f64),
}

/// The training data of a run, with its hyperparameters.
#[derive(Debug, Clone, Copy)]
pub struct TrainingInput<'a> {
    pub settings: &'a TrainingSettings,
    /// The training set: conversations, one line of JSON each.
    pub training_set: &'a [u8],
    /// The validation set, in the same form.
    pub validation_set: &'a [u8],
    /// The directory of an adapter to continue from; a new adapter is trained if unset.
    pub from: Option<&'a Path>,
}

/// The directories that a run writes to.
#[derive(Debug, Clone, Copy)]
pub struct TrainingDirectories<'a> {
    /// Checkpoints, from which the run can be resumed.
    pub work: &'a Path,
    /// The adapter at the end of each epoch but the last: a directory for each, named by [`checkpoint_directory_name`].
    pub epochs: &'a Path,
    /// The finished adapter.
    pub result: &'a Path,
}

/// The name of the directory that holds the adapter after `step`, the end of an epoch.
pub fn checkpoint_directory_name(step: u64) -> String {
    format!("step-{step}")
}

/// What a run would take: the size of its data and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingEstimate {
    /// Training examples; one conversation may give several.
    pub texts: u64,
    pub held_out_texts: u64,
    /// Tokens in one epoch.
    pub tokens: u64,
    /// Of these, the tokens that count in the loss.
    pub learned_tokens: u64,
    pub longest_text_tokens: u64,
    pub steps: u64,
    /// Trainable parameters.
    pub parameters: u64,
    /// Approximate memory for the run, on top of the serving model.
    pub memory_bytes: u64,
}

/// A line of training data that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableLine {
    /// Counted from 1.
    pub line: usize,
    /// The field within the line; empty if it is the line itself.
    pub field: String,
    pub why: String,
}

/// Why a run can't start.
#[derive(Debug)]
pub enum TrainingError {
    /// All unusable lines up to a bound, and how many more there are.
    Lines {
        of_held_out: bool,
        lines: Vec<UnusableLine>,
        more: usize,
    },
    Fault(Box<Fault>),
    /// The caller cancelled it.
    Cancelled,
}

/// The progress of a run after one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub step: u64,
    pub steps_total: u64,
    /// The mean loss over the tokens trained in this step.
    pub loss: f64,
    /// The mean loss on the validation set, if it was evaluated.
    pub validation_loss: Option<f64>,
    pub learning_rate: f64,
    /// Tokens processed since the run began.
    pub tokens: u64,
    /// A checkpoint was written: the run can be resumed from here.
    pub has_checkpoint: bool,
    /// An epoch other than the last ended, and its adapter was written.
    pub has_epoch_adapter: bool,
}

/// The run's view of its owner: cancellation, and where progress is reported.
pub trait TrainingObserver: Sync {
    /// Whether to stop now and discard the current step. Called many times in a step.
    fn is_cancelled(&self) -> bool;

    /// Whether a cancelled run will be resumed later, so that a checkpoint is worth writing.
    fn will_resume(&self) -> bool;

    /// The run starts or resumes at this step. `last` is the step before it, which a killed process may not
    /// have reported.
    fn on_start(&self, step: u64, of: u64, last: Option<&Step>);

    fn on_step(&self, step: &Step);
}

/// How a run that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    Whole,
    Cancelled,
}

/// A runtime that trains. Its calls block the calling thread until they are done.
pub trait Trainer: Send + Sync {
    /// The default hyperparameters; with `from`, those of that adapter.
    ///
    /// # Errors
    /// The directory does not hold an adapter that training can continue from.
    fn default_settings(&self, from: Option<&Path>) -> Result<TrainingSettings, TrainingError>;

    /// Reads the training data without starting a run. `may_go_on` is polled between examples.
    ///
    /// # Errors
    /// Unusable lines, or hyperparameters that don't fit together.
    fn estimate(
        &self,
        lesson: &TrainingInput<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<TrainingEstimate, TrainingError>;

    /// The memory that a run may use now, if known.
    fn spare_bytes(&self) -> Option<u64>;

    /// Trains, and writes the results to `directories`. The same lesson on the same model resumes from the last
    /// checkpoint and ends in the same adapter, bit for bit. It pauses while answers are generated.
    ///
    /// # Errors
    /// The lesson is unfit, or the run can't go on.
    fn train(
        &self,
        lesson: &TrainingInput<'_>,
        directories: &TrainingDirectories<'_>,
        watch: &dyn TrainingObserver,
    ) -> Result<RunEnd, TrainingError>;

    /// Makes a paused run poll its watch again.
    fn wake(&self);
}
