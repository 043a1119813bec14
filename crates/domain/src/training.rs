//! What a runtime that trains can be asked for: adapters that are made of conversations while it goes on answering.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// How an adapter is trained. All of it is said: a run that is taken up again must be the same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    pub rank: usize,
    pub alpha: f64,
    /// What is added is `alpha / sqrt(rank)` of the product, and not `alpha / rank`.
    pub is_rank_stable: bool,
    /// The matrices that it stands beside, as PEFT names them.
    pub targets: Vec<String>,
    pub seed: u64,
    pub epochs: usize,
    /// The tokens that are gone over at once.
    pub batch_tokens: usize,
    /// How many such batches make a step.
    pub accumulation: usize,
    /// How many texts make a step, in the place of batches.
    pub step_texts: Option<usize>,
    pub rate: f64,
    pub warmup_steps: usize,
    pub schedule: RateSchedule,
    pub weight_decay: f64,
    /// The texts that are only looked at, to see how well what is not learned goes.
    pub held_out: HeldOut,
    /// Says which texts are held out; where it says nothing, `seed` does.
    pub held_out_seed: Option<u64>,
    /// After how many steps those are looked at.
    pub held_out_every: usize,
    pub checkpoint_every: usize,
    /// Goes over each layer twice, and keeps less meanwhile.
    pub saves_memory: bool,
}

/// How the rate goes on once it has been reached.
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
    /// This part of all texts.
    Share(f64),
}

/// What is learned, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Lesson<'a> {
    pub course: &'a Course,
    /// Conversations, a line of JSON each.
    pub learned: &'a [u8],
    /// The same, which are only looked at.
    pub held_out: &'a [u8],
    /// The directory of an adapter that it goes on from; a new one begins where nothing is said.
    pub from: Option<&'a Path>,
}

/// Where a run leaves what is its own.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// What it needs to be taken up again.
    pub work: &'a Path,
    /// What came of it at the end of each epoch but the last: a directory for each, called by [`left_at`].
    pub epochs: &'a Path,
    /// What came of it in the end.
    pub result: &'a Path,
}

/// What the directory is called that holds what a run was at the end of an epoch.
#[must_use]
pub fn left_at(step: u64) -> String {
    format!("step-{step}")
}

/// What a lesson comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Texts that are learned from; a conversation may be several.
    pub texts: u64,
    pub held_out_texts: u64,
    /// Of one time over all that is learned from.
    pub tokens: u64,
    /// Those among them that are learned.
    pub learned_tokens: u64,
    pub longest_text_tokens: u64,
    pub steps: u64,
    /// The numbers that are trained.
    pub parameters: u64,
    /// What a run takes beside the model that answers, about.
    pub memory_bytes: u64,
}

/// A line of what is to be learned that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableLine {
    /// The first is 1.
    pub line: usize,
    /// Where in it; nothing where it is the line itself.
    pub field: String,
    pub why: String,
}

/// Why a lesson makes no run.
#[derive(Debug)]
pub enum Unfit {
    /// All lines that can't be used, up to a bound, and how many there are beyond that.
    Lines {
        of_held_out: bool,
        lines: Vec<UnusableLine>,
        more: usize,
    },
    Fault(Box<Fault>),
    /// Whoever asked wants it no more.
    CalledOff,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub step: u64,
    pub of: u64,
    /// The mean over the tokens that were learned in this step.
    pub loss: f64,
    /// The same of what is held out, where that was looked at.
    pub held_out_loss: Option<f64>,
    pub rate: f64,
    /// All tokens that were gone over since the run began.
    pub tokens: u64,
    /// The run can be taken up again from here.
    pub is_kept: bool,
    /// An epoch that is not the last ended, and what has come of the run so far is left.
    pub is_left: bool,
}

/// Whoever wants something trained, as the run sees it.
pub trait Watch: Sync {
    /// It is to stop, and what the step that it is in had done is of no worth. Asked many times in a step.
    fn is_called_off(&self) -> bool;

    /// It is called off for now, and will be taken up again: what was done so far is worth being kept.
    fn goes_on_later(&self) -> bool;

    /// Where the run begins, or is taken up; and the step before, of which whoever was killed may have told nothing.
    fn begun(&self, step: u64, of: u64, last: Option<&Step>);

    fn went(&self, step: &Step);
}

/// How a run that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    Whole,
    CalledOff,
}

/// A runtime that trains. What it does takes as long as it takes, on the thread that asks.
pub trait Trainer: Send + Sync {
    /// What is meant where nothing is said; of whoever goes on from an adapter, what that is.
    ///
    /// # Errors
    /// What is in the directory is no adapter that training can go on from.
    fn usual(&self, from: Option<&Path>) -> Result<Course, Unfit>;

    /// Reads what is to be learned, and begins nothing. `may_go_on` is asked between one text and the next.
    ///
    /// # Errors
    /// Lines that can't be used, or a course that can't be gone.
    fn outlook(&self, lesson: &Lesson<'_>, may_go_on: &dyn Fn() -> bool) -> Result<Outlook, Unfit>;

    /// The memory that a run may take now, where that is known.
    fn spare_bytes(&self) -> Option<u64>;

    /// Trains, and leaves in its places what comes of it. With the same lesson beside the same model it goes on from what is
    /// there to the same end, to the bit. It stands still while answers are given.
    ///
    /// # Errors
    /// The lesson is unfit, or the run can't go on.
    fn train(&self, lesson: &Lesson<'_>, places: &Places<'_>, watch: &dyn Watch) -> Result<RunEnd, Unfit>;

    /// Has a run that stands still ask its watch again.
    fn wake(&self);
}
