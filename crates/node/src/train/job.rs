//! A training job's stored record, and its events.

use std::collections::BTreeMap;

use domain::training::{Step, TrainingEstimate, TrainingSettings};
use domain::{Fault, FaultClass};
use serde::{Deserialize, Serialize};

domain::words! {
    /// A job's status.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub(crate) enum Status {
        Queued = "queued",
        Running = "running",
        /// Paused until it is resumed.
        Paused = "paused",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

/// A job's request, its timing, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    /// Jobs run in the order of their numbers.
    pub number: u64,
    pub status: Status,
    pub created_unix_ms: u64,
    pub started_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    pub error: Option<Failure>,
    pub outlook: TrainingEstimate,
    #[serde(flatten)]
    pub order: Order,
}

/// What the client requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub model: String,
    /// The name of the adapter to train; requests use it after the model's name.
    pub adapter: String,
    /// Replaces an adapter of the same name.
    pub replaces: bool,
    pub course: TrainingSettings,
    /// The longest running time, over all starts.
    pub seconds_max: Option<f64>,
    /// Steps between two progress events.
    #[serde(rename = "told_every")]
    pub report_every: u64,
    /// The adapter to continue from, as the client named it; the job has its own copy.
    #[serde(default)]
    pub from: Option<String>,
    pub training_file: Option<String>,
    pub validation_file: Option<String>,
    /// The parameters of OpenAI's fine-tuning API, to be repeated in its responses.
    pub tuned: Option<Tuned>,
}

/// The parameters of OpenAI's fine-tuning API, as far as the client set them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tuned {
    pub epochs: Option<u64>,
    pub batch_size: Option<u64>,
    pub rate_multiplier: Option<f64>,
    pub metadata: BTreeMap<String, String>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub code: String,
    pub message: String,
    pub param: Option<String>,
}

/// An event of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Its number, from 1.
    pub sequence: u64,
    pub unix_ms: u64,
    #[serde(flatten)]
    pub what: JobChange,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum JobChange {
    Queued,
    Started {
        step: u64,
        of: u64,
    },
    /// The job was paused, or the node was stopped or killed; steps that were reported before are not
    /// reported again.
    Resumed {
        step: u64,
        of: u64,
    },
    Progress(Progress),
    Paused,
    Completed {
        model: String,
    },
    Failed(Failure),
    Cancelled,
}

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub step: u64,
    pub of: u64,
    pub loss: f64,
    pub held_out_loss: Option<f64>,
    pub learning_rate: f64,
    pub tokens: u64,
    /// The running time, over all starts.
    pub seconds: f64,
    /// The job can be resumed from here.
    pub is_checkpoint: bool,
    /// The model name for requests that use this epoch's checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_model: Option<String>,
}

/// A checkpoint at the end of an epoch, while it is retained.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub step: u64,
    pub unix_ms: u64,
    /// The model name for requests that use it.
    pub model: String,
    pub loss: f64,
    pub held_out_loss: Option<f64>,
}

impl Status {
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl Record {
    /// The model name for requests that use the finished adapter.
    pub(crate) fn model(&self) -> String {
        format!("{}:{}", self.order.model, self.order.adapter)
    }

    /// The adapter name of a step's checkpoint; unique among jobs.
    pub(crate) fn checkpoint(&self, step: u64) -> String {
        format!("{}-{step}", self.checkpoints())
    }

    /// The prefix of checkpoint names.
    pub(crate) fn checkpoints(&self) -> String {
        format!("ftckpt-{}", self.id.trim_start_matches("ftjob-"))
    }
}

impl Progress {
    pub(crate) fn of(step: &Step, seconds: f64) -> Self {
        Self {
            step: step.step,
            of: step.steps_total,
            loss: step.loss,
            held_out_loss: step.validation_loss,
            learning_rate: step.learning_rate,
            tokens: step.tokens,
            seconds,
            is_checkpoint: step.has_checkpoint,
            checkpoint_model: None,
        }
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        // Details of an internal error are only logged.
        let message = match fault.class {
            FaultClass::Internal if fault.code == "internal_error" => {
                "The node failed to train it.".to_owned()
            }
            _ => fault.to_string(),
        };
        let param = fault.param.as_ref().map(ToString::to_string);
        Self { code: fault.code.to_owned(), message, param }
    }
}
