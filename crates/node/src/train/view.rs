//! Jobs as this node's own API shows them.

use domain::training::{HeldOut, TrainingEstimate, TrainingSettings};
use serde::Serialize;

use super::job::{Event, Failure, Point, Progress};
use super::jobs::JobState;

#[derive(Serialize)]
pub(super) struct Object {
    id: String,
    /// The same id, for clients that read this name.
    job_id: String,
    object: &'static str,
    kind: &'static str,
    status: &'static str,
    model: String,
    adapter: String,
    /// The model name for requests that use the finished adapter; `None` before that.
    result: Option<String>,
    created_at: u64,
    started_at: Option<u64>,
    ended_at: Option<u64>,
    init_adapter_dir: Option<String>,
    training_file: Option<String>,
    validation_file: Option<String>,
    settings: Settings,
    outlook: TrainingEstimate,
    progress: Option<Progress>,
    error: Option<Failure>,
}

/// The hyperparameters, under the request's names.
#[derive(Serialize)]
pub(super) struct Settings {
    epochs: usize,
    lr: f64,
    lr_schedule: domain::training::RateSchedule,
    warmup_steps: usize,
    weight_decay: f64,
    lora_rank: usize,
    lora_alpha: f64,
    use_rslora: bool,
    target_modules: Vec<String>,
    seed: u64,
    batch_tokens: usize,
    batch_size: Option<usize>,
    gradient_accumulation_steps: usize,
    split_ratio: Option<f64>,
    eval_examples: Option<usize>,
    split_seed: Option<u64>,
    eval_every: usize,
    checkpoint_every: usize,
    log_every: u64,
    max_duration_hours: Option<f64>,
    saves_memory: bool,
}

/// A checkpoint at the end of an epoch.
#[derive(Serialize)]
pub(super) struct CheckpointView {
    object: &'static str,
    step: u64,
    created_at: u64,
    /// The model name for requests that use it.
    model: String,
    loss: f64,
    held_out_loss: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct Preview {
    object: &'static str,
    model: String,
    settings: Settings,
    outlook: TrainingEstimate,
    /// The cost: zero on your own machine.
    cost_gbp: f64,
}

#[derive(Serialize)]
pub(super) struct List<T> {
    pub object: &'static str,
    pub data: Vec<T>,
    pub has_more: bool,
}

#[derive(Serialize)]
pub(super) struct Events {
    pub object: &'static str,
    pub data: Vec<Event>,
    /// The value of `after` for the next page.
    pub next: u64,
}

impl Settings {
    pub(super) fn of(course: &TrainingSettings, log_every: u64, seconds_max: Option<f64>) -> Self {
        let (split_ratio, eval_examples) = match course.held_out {
            HeldOut::Share(share) => (Some(1.0 - share), None),
            HeldOut::Texts(count) => (None, Some(count)),
        };
        Self {
            epochs: course.epochs,
            lr: course.rate,
            lr_schedule: course.schedule,
            warmup_steps: course.warmup_steps,
            weight_decay: course.weight_decay,
            lora_rank: course.rank,
            lora_alpha: course.alpha,
            use_rslora: course.is_rank_stable,
            target_modules: course.targets.clone(),
            seed: course.seed,
            batch_tokens: course.batch_tokens,
            batch_size: course.step_texts,
            gradient_accumulation_steps: course.accumulation,
            split_ratio,
            eval_examples,
            split_seed: course.held_out_seed,
            eval_every: course.held_out_every,
            checkpoint_every: course.checkpoint_every,
            log_every,
            max_duration_hours: seconds_max.map(|seconds| seconds / 3_600.0),
            saves_memory: course.saves_memory,
        }
    }
}

impl From<JobState> for Object {
    fn from(state: JobState) -> Self {
        let JobState { record, progress, .. } = state;
        let result = (record.status == super::job::Status::Completed).then(|| record.model());
        let order = record.order;
        Self {
            job_id: record.id.clone(),
            id: record.id,
            object: "train.job",
            kind: "sft",
            status: record.status.as_str(),
            model: order.model,
            adapter: order.adapter,
            result,
            created_at: record.created_unix_ms / 1_000,
            started_at: record.started_unix_ms.map(|ms| ms / 1_000),
            ended_at: record.ended_unix_ms.map(|ms| ms / 1_000),
            init_adapter_dir: order.from,
            training_file: order.training_file,
            validation_file: order.validation_file,
            settings: Settings::of(&order.course, order.report_every, order.seconds_max),
            outlook: record.outlook,
            progress,
            error: record.error,
        }
    }
}

impl From<Point> for CheckpointView {
    fn from(point: Point) -> Self {
        let Point { step, unix_ms, model, loss, held_out_loss } = point;
        Self { object: "train.checkpoint", step, created_at: unix_ms / 1_000, model, loss, held_out_loss }
    }
}

impl Preview {
    pub(super) fn of(model: String, settings: Settings, outlook: TrainingEstimate) -> Self {
        Self { object: "train.preview", model, settings, outlook, cost_gbp: 0.0 }
    }
}
