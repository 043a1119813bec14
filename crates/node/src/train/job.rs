//! A job of training as it is written down, and what happened in it.

use std::collections::BTreeMap;

use domain::training::{Course, Outlook, Step};
use domain::{Fault, FaultClass};
use serde::{Deserialize, Serialize};

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Queued,
    Running,
    /// It waits for whoever paused it.
    Paused,
    Completed,
    Failed,
    Cancelled,
}

/// What is known of a job when it is asked for, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    /// Jobs are run in the order of their numbers.
    pub number: u64,
    pub status: Status,
    pub created_unix_ms: u64,
    pub started_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    pub error: Option<Failure>,
    pub outlook: Outlook,
    #[serde(flatten)]
    pub order: Order,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub model: String,
    /// The name that what comes of it is asked for by, behind the model's.
    pub adapter: String,
    /// Another adapter of that name makes place for it.
    pub replaces: bool,
    pub course: Course,
    /// How long it may run, all its starts together.
    pub seconds_max: Option<f64>,
    /// After how many steps it is told how far it is.
    pub told_every: u64,
    /// The adapter that it goes on from, as it was named; a copy of it is the job's own.
    #[serde(default)]
    pub from: Option<String>,
    pub training_file: Option<String>,
    pub validation_file: Option<String>,
    /// What was asked for in another grammar's words, and is told again in them.
    pub tuned: Option<Tuned>,
}

/// The settings of another grammar, as far as a client said them.
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

/// Something that happened in a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Its place among them, from 1 on.
    pub sequence: u64,
    pub unix_ms: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    Queued,
    Started {
        step: u64,
        of: u64,
    },
    /// It was paused, or the node was stopped or killed meanwhile; steps that were told before are not told again.
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

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub step: u64,
    pub of: u64,
    pub loss: f64,
    pub held_out_loss: Option<f64>,
    pub learning_rate: f64,
    pub tokens: u64,
    /// How long it has run, all its starts together.
    pub seconds: f64,
    /// It can be taken up again from here.
    pub is_checkpoint: bool,
    /// What requests name to be answered with what it was here, at the end of an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_model: Option<String>,
}

/// What a job was at the end of an epoch, for as long as that is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub step: u64,
    pub unix_ms: u64,
    /// What requests name to be answered with it.
    pub model: String,
    pub loss: f64,
    pub held_out_loss: Option<f64>,
}

impl Status {
    pub(crate) const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Paused, Self::Completed, Self::Failed, Self::Cancelled];

    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Record {
    /// What requests name to be answered with what came of it.
    pub(crate) fn model(&self) -> String {
        format!("{}:{}", self.order.model, self.order.adapter)
    }

    /// The name of what it was at a step: no other job's has it.
    pub(crate) fn checkpoint(&self, step: u64) -> String {
        format!("{}-{step}", self.checkpoints())
    }

    /// How such names begin.
    pub(crate) fn checkpoints(&self) -> String {
        format!("ftckpt-{}", self.id.trim_start_matches("ftjob-"))
    }
}

impl Progress {
    pub(crate) fn of(step: &Step, seconds: f64) -> Self {
        Self {
            step: step.step,
            of: step.of,
            loss: step.loss,
            held_out_loss: step.held_out_loss,
            learning_rate: step.rate,
            tokens: step.tokens,
            seconds,
            is_checkpoint: step.is_kept,
            checkpoint_model: None,
        }
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        // What is ours alone to know of a defect is in the log.
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
