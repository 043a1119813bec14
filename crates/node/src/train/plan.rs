//! From a training request to a job: reads the data, checks everything, and queues the job.

use domain::runtime::Runtime;
use domain::training::{Trainer, TrainingEstimate, TrainingInput};
use domain::{Fault, FaultClass};

use super::data::{self, Data};
use super::files::Files;
use super::job_request::{self, JobRequest};
use super::jobs::{JobState, JobStore};
use super::view::{self, Preview};
use super::worker;
use crate::limits::{DATA_BYTES_MAX, STEPS_MAX};

/// The result of a request.
pub(super) enum Planned {
    Preview(Box<Preview>),
    Queued(Box<JobState>),
}

/// Checks a request and its data; returns a preview or queues the job.
pub(super) fn plan(
    request: JobRequest,
    runtime: &dyn Runtime,
    (book, files): (&JobStore, &Files),
    is_wanted: &dyn Fn() -> bool,
) -> Result<Planned, Box<Fault>> {
    let JobRequest { order, training_data: learned, held_out, from, examples_max, is_preview } = request;
    let Some(trainer) = runtime.trainer() else { return Err(Box::new(Fault::internal())) };
    let read = |data: Data| match data {
        Data::Lines(lines) => Ok(lines),
        Data::File(id) => files.read(&id),
    };
    let learned = read(learned)?;
    let learned = match examples_max {
        Some(count) => data::first(learned, count),
        None => learned,
    };
    let held_out = held_out.map(read).transpose()?.unwrap_or_default();
    if learned.len() + held_out.len() > DATA_BYTES_MAX {
        let message = format!("A job learns from {DATA_BYTES_MAX} bytes at most.");
        let fault = Fault::new(FaultClass::TooLarge, "too_much_data", message);
        return Err(Box::new(fault.param("training_file").fix("Train in several jobs, on less each.")));
    }
    book.check_order(&order)?;
    if !order.replaces {
        check_adapters(runtime, &order.adapter)?;
    }
    let from = from.as_deref();
    let lesson =
        TrainingInput { settings: &order.course, training_set: &learned, validation_set: &held_out, from };
    let may_go_on = || is_wanted() && !book.is_closing();
    let outlook = trainer.estimate(&lesson, &may_go_on);
    let outlook = outlook.map_err(|unfit| job_request::rename_param(data::unusable(unfit)))?;
    check_steps(&outlook)?;
    if is_preview {
        let settings = view::Settings::of(&order.course, order.report_every, order.seconds_max);
        return Ok(Planned::Preview(Box::new(Preview::of(order.model, settings, outlook))));
    }
    check_memory(trainer, outlook.memory_bytes)?;
    let state = book.add(order.clone(), outlook, &lesson)?;
    Ok(Planned::Queued(Box::new(state)))
}

fn check_steps(outlook: &TrainingEstimate) -> Result<(), Box<Fault>> {
    if outlook.steps <= STEPS_MAX {
        return Ok(());
    }
    let message = format!("It would take {} steps, and at most {STEPS_MAX} are allowed.", outlook.steps);
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
    Err(Box::new(fault.param("epochs").fix("Use fewer epochs, or larger batches.")))
}

/// Checks that the memory for a run is available: running out of it would kill the node.
pub(super) fn check_memory(trainer: &dyn Trainer, bytes: u64) -> Result<(), Box<Fault>> {
    let Some(available) = trainer.spare_bytes().filter(|available| bytes > *available) else { return Ok(()) };
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let message = format!(
        "The training takes about {} MiB of memory, and {} are left here.",
        mib(bytes),
        available / (1024 * 1024)
    );
    let fault = Fault::new(FaultClass::Unsupported, "not_enough_memory", message);
    Err(Box::new(fault.fix(
        "Train on shorter texts or smaller batches, with \"saves_memory\": true, or with a lower rank.",
    )))
}

/// Checks that no other adapter has the name.
fn check_adapters(runtime: &dyn Runtime, name: &str) -> Result<(), Box<Fault>> {
    let Some(adapters) = runtime.adapters() else { return Ok(()) };
    let known = worker::block_on(adapters.list()).map_err(Box::new)?;
    if known.iter().all(|adapter| adapter.id != name) {
        return Ok(());
    }
    let message = format!("There is an adapter \"{name}\" already.");
    let fault = Fault::new(FaultClass::Conflict, "adapter_exists", message);
    Err(Box::new(fault.param("adapter").fix("Choose another name, or send \"replace\": true.")))
}
