//! OpenAI's fine-tuning API over the same jobs: its requests and its responses.

use std::collections::BTreeMap;

use domain::training::{HeldOut, TrainingSettings};
use domain::{Fault, FaultClass};
use serde::Serialize;
use serde_json::{Value, json};

use super::data::Data;
use super::fields::{Fields, wrong};
use super::job::{Event, Failure, JobChange, Order, Point, Status, Tuned};
use super::job_request::{JobRequest, Offer, model};
use super::jobs::{JobState, SUFFIXED};
use crate::limits::{BATCH_EXAMPLES_MAX, EPOCHS_MAX, SUFFIX_BYTES_MAX};

/// Tokens per micro-batch, chosen so that an example seldom exceeds one.
const BATCH_TOKENS: usize = 2_048;
const SUPERVISED: &str = "supervised";

#[derive(Serialize)]
pub(super) struct Object {
    id: String,
    object: &'static str,
    model: String,
    created_at: u64,
    finished_at: Option<u64>,
    fine_tuned_model: Option<String>,
    organization_id: &'static str,
    result_files: [String; 0],
    status: &'static str,
    training_file: Option<String>,
    validation_file: Option<String>,
    hyperparameters: Hyperparameters,
    method: Method,
    trained_tokens: Option<u64>,
    error: Option<Failure>,
    seed: u64,
    estimated_finish: Option<u64>,
    integrations: [String; 0],
    metadata: BTreeMap<String, String>,
}

/// The client's hyperparameters, or `auto`.
#[derive(Serialize, Clone)]
struct Hyperparameters {
    n_epochs: Value,
    batch_size: Value,
    learning_rate_multiplier: Value,
}

#[derive(Serialize)]
struct Method {
    r#type: &'static str,
    supervised: Supervised,
}

#[derive(Serialize)]
struct Supervised {
    hyperparameters: Hyperparameters,
}

#[derive(Serialize)]
pub(super) struct Happened {
    id: String,
    object: &'static str,
    created_at: u64,
    level: &'static str,
    message: String,
    r#type: &'static str,
    data: Value,
}

#[derive(Serialize)]
pub(super) struct CheckpointObject {
    id: String,
    object: &'static str,
    created_at: u64,
    fine_tuned_model_checkpoint: String,
    fine_tuning_job_id: String,
    step_number: u64,
    metrics: Value,
}

/// Parses a request for a job.
pub(super) fn read(body: &[u8], offer: &Offer<'_>) -> Result<JobRequest, Box<Fault>> {
    let mut fields = Fields::read(body)?;
    let model = model(&mut fields, offer.models)?;
    let usual = offer.usual(None)?;
    let Some(training_file) = fields.text("training_file")? else {
        return Err(wrong(
            "training_file",
            "is missing",
            "Bring a file with POST /v1/files, and send its id.",
        ));
    };
    let validation_file = fields.text("validation_file")?;
    let adapter = adapter_name(fields.text("suffix")?)?;
    let mut tuned = Tuned { metadata: fields.notes("metadata")?, ..Tuned::default() };
    for given in [fields.object("hyperparameters")?, method(&mut fields)?].into_iter().flatten() {
        tune(given, &mut tuned)?;
    }
    if fields.take("integrations").is_some_and(|sent| sent != json!([])) {
        let fault = Fault::new(
            FaultClass::Unsupported,
            "unsupported_parameter",
            "This node doesn't send notifications about jobs.",
        );
        return Err(Box::new(fault.param("integrations").fix("Leave \"integrations\" out.")));
    }
    let seed = fields.whole("seed", 0..=u64::MAX)?.unwrap_or(usual.seed);
    fields.end()?;
    let order = Order {
        model,
        adapter,
        replaces: false,
        course: course(usual, seed, &tuned),
        seconds_max: None,
        report_every: 1,
        from: None,
        training_file: Some(training_file.clone()),
        validation_file: validation_file.clone(),
        tuned: Some(tuned),
    };
    Ok(JobRequest {
        order,
        training_data: Data::File(training_file),
        held_out: validation_file.map(Data::File),
        from: None,
        examples_max: None,
        is_preview: false,
    })
}

/// The adapter's name ends with the job's id, as clients of this API expect.
fn adapter_name(suffix: Option<String>) -> Result<String, Box<Fault>> {
    let Some(suffix) = suffix else { return Ok(SUFFIXED.to_owned()) };
    if suffix.len() > SUFFIX_BYTES_MAX || !crate::adapters::is_name(&suffix) {
        let fix = "Send 1 to 64 letters, digits, dots, dashes and underscores.";
        return Err(wrong("suffix", "isn't a plain name", fix));
    }
    Ok(format!("{suffix}-{SUFFIXED}"))
}

fn method(fields: &mut Fields) -> Result<Option<Fields>, Box<Fault>> {
    let Some(mut method) = fields.object("method")? else { return Ok(None) };
    match method.text("type")?.as_deref() {
        Some(SUPERVISED) => {}
        Some(other) => {
            let truncated: String = other.chars().take(64).collect();
            let message = format!("This node does not train by \"{truncated}\".");
            let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
            return Err(Box::new(fault.param("method.type").fix("Send \"supervised\".")));
        }
        None => return Err(wrong("method.type", "is missing", "Send \"supervised\".")),
    }
    let given = match method.object(SUPERVISED)? {
        None => None,
        Some(mut supervised) => {
            let given = supervised.object("hyperparameters")?;
            supervised.end()?;
            given
        }
    };
    method.end()?;
    Ok(given)
}

fn tune(mut given: Fields, tuned: &mut Tuned) -> Result<(), Box<Fault>> {
    let [epochs, batch, rate] = ["n_epochs", "batch_size", "learning_rate_multiplier"];
    for name in [epochs, batch, rate] {
        given.remove_if_equal(name, "auto");
    }
    tuned.epochs = given.whole(epochs, 1..=EPOCHS_MAX)?.or(tuned.epochs);
    tuned.batch_size = given.whole(batch, 1..=BATCH_EXAMPLES_MAX)?.or(tuned.batch_size);
    tuned.rate_multiplier = given.number(rate, f64::MIN_POSITIVE..=1e4)?.or(tuned.rate_multiplier);
    given.end()
}

fn course(usual: TrainingSettings, seed: u64, tuned: &Tuned) -> TrainingSettings {
    let count = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    TrainingSettings {
        seed,
        epochs: count(tuned.epochs).unwrap_or(usual.epochs),
        step_texts: count(tuned.batch_size).or(usual.step_texts),
        batch_tokens: usual.batch_tokens.max(BATCH_TOKENS),
        rate: usual.rate * tuned.rate_multiplier.unwrap_or(1.0),
        held_out: HeldOut::Texts(0),
        ..usual
    }
}

/// A job's status in OpenAI's terms.
const fn status(status: Status) -> &'static str {
    match status {
        Status::Completed => "succeeded",
        other => other.as_str(),
    }
}

impl Object {
    pub(super) fn of(state: &JobState) -> Self {
        let (record, order) = (&state.record, &state.record.order);
        let tuned = order.tuned.clone().unwrap_or_default();
        let or_auto = |value: Option<Value>| value.unwrap_or_else(|| json!("auto"));
        let hyperparameters = Hyperparameters {
            n_epochs: json!(order.course.epochs),
            batch_size: or_auto(order.course.step_texts.map(|count| json!(count))),
            learning_rate_multiplier: or_auto(tuned.rate_multiplier.map(|times| json!(times))),
        };
        let is_made = record.status == Status::Completed;
        let tokens = state.progress.as_ref().map(|progress| progress.tokens);
        Self {
            id: record.id.clone(),
            object: "fine_tuning.job",
            model: order.model.clone(),
            created_at: record.created_unix_ms / 1_000,
            finished_at: record.ended_unix_ms.map(|ms| ms / 1_000),
            fine_tuned_model: is_made.then(|| record.model()),
            organization_id: "local",
            result_files: [],
            status: status(record.status),
            // Inline data is not a file.
            training_file: Some(order.training_file.clone().unwrap_or_default()),
            validation_file: order.validation_file.clone(),
            method: Method {
                r#type: SUPERVISED,
                supervised: Supervised { hyperparameters: hyperparameters.clone() },
            },
            hyperparameters,
            trained_tokens: tokens.filter(|_| is_made),
            error: record.error.clone(),
            seed: order.course.seed,
            estimated_finish: None,
            integrations: [],
            metadata: tuned.metadata,
        }
    }
}

/// An event's id, which is also the page cursor.
fn event_id(job: &str, sequence: u64) -> String {
    format!("ftevent-{}-{sequence}", job.trim_start_matches("ftjob-"))
}

/// The sequence number in the id of one of this job's events.
pub(super) fn sequence_of(job: &str, id: &str) -> Option<u64> {
    let sequence = id.rsplit('-').next()?.parse().ok()?;
    (event_id(job, sequence) == id).then_some(sequence)
}

impl Happened {
    pub(super) fn of(job: &str, event: Event) -> Self {
        let (level, kind) = match &event.what {
            JobChange::Failed(_) => ("error", "message"),
            JobChange::Progress(_) => ("info", "metrics"),
            _ => ("info", "message"),
        };
        let (message, data) = match event.what {
            JobChange::Queued => ("The job is queued.".to_owned(), Value::Null),
            JobChange::Started { of, .. } => (format!("The job has begun: {of} steps."), Value::Null),
            JobChange::Resumed { step, of } => {
                (format!("The job was taken up again behind step {step} of {of}."), Value::Null)
            }
            JobChange::Progress(progress) => {
                let message =
                    format!("Step {}/{}: training loss={:.4}", progress.step, progress.of, progress.loss);
                let data = json!({
                    "step": progress.step, "total_steps": progress.of, "train_loss": progress.loss,
                    "full_valid_loss": progress.held_out_loss, "learning_rate": progress.learning_rate,
                    "tokens": progress.tokens, "seconds": progress.seconds,
                });
                (message, data)
            }
            JobChange::Paused => ("The job is paused.".to_owned(), Value::Null),
            JobChange::Completed { model } => {
                (format!("The job is done; ask for \"{model}\"."), json!({"fine_tuned_model": model}))
            }
            JobChange::Failed(failure) => (failure.message, Value::Null),
            JobChange::Cancelled => ("The job was called off.".to_owned(), Value::Null),
        };
        Self {
            id: event_id(job, event.sequence),
            object: "fine_tuning.job.event",
            created_at: event.unix_ms / 1_000,
            level,
            message,
            r#type: kind,
            data,
        }
    }
}

impl CheckpointObject {
    /// The job's retained checkpoints, newest first.
    pub(super) fn all(state: &JobState) -> Vec<Self> {
        let record = &state.record;
        let one = |point: Point| Self {
            id: record.checkpoint(point.step),
            object: "fine_tuning.job.checkpoint",
            created_at: point.unix_ms / 1_000,
            fine_tuned_model_checkpoint: point.model,
            fine_tuning_job_id: record.id.clone(),
            step_number: point.step,
            metrics: json!({
                "step": point.step, "train_loss": point.loss, "full_valid_loss": point.held_out_loss,
            }),
        };
        state.points().into_iter().map(one).collect()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}
