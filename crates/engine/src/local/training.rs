//! LoRA training of a model while it is served. Training yields to requests.
#![expect(
    clippy::cast_possible_truncation,
    reason = "shares of texts are rounded to whole ones, and an adapter's weight is kept in single precision"
)]

use std::path::Path;

use domain::training::{
    HeldOut, RateSchedule, RunEnd, Step, Trainer, TrainingDirectories, TrainingError, TrainingEstimate,
    TrainingInput, TrainingObserver, TrainingSettings, UnusableLine,
};
use domain::{Fault, FaultClass};
use prompts::PromptError;
use training::{
    BadLines, DatasetReader, Example, Job, LoraConfig, Precision, Progress, RunInputs, Schedule, Settings,
    StepOutcome, Target, TrainerError, TrainingEstimate as Reckoned, Trains,
};
use weights::adapters::InitialAdapter;
use weights::{Source, WeightsError};

use super::adapters::client_message;
use super::served::Local;

/// The training set and the validation set.
type Texts = (Vec<Example>, Vec<Example>);

/// A training job's inputs, read and checked.
struct Learned {
    texts: Texts,
    settings: Settings,
    low: LoraConfig,
    /// The adapter to continue from.
    from: Option<InitialAdapter>,
}

impl Local {
    fn read(
        &self,
        lesson: &TrainingInput<'_>,
        source: &Source,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Texts, TrainingError> {
        let Some(template) = self.chat_config.template() else {
            let message = "This model has no chat template.";
            let fault = Fault::new(FaultClass::Unsupported, "no_chat_template", message);
            return Err(TrainingError::Fault(Box::new(fault.fix("Train a model that has a chat template."))));
        };
        let longest = lesson.settings.batch_tokens.min(source.shape().context);
        let reading = DatasetReader { template, vocabulary: &self.vocabulary, longest };
        let read = |lines, of_held_out| {
            let read = reading.read_while(lines, may_go_on).map_err(|bad| unusable(bad, of_held_out))?;
            read.ok_or(TrainingError::Cancelled)
        };
        Ok((read(lesson.training_set, false)?, read(lesson.validation_set, true)?))
    }

    fn prepare(
        &self,
        lesson: &TrainingInput<'_>,
        source: &Source,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Learned, TrainingError> {
        let low = low_rank(lesson.settings)?;
        if self.has_experts && low.targets.iter().any(|target| is_dense(*target)) {
            // The engine can't serve adapters of experts, so they are not trained either.
            let what = "contains MLP matrices of a mixture of experts, which can't have adapters".to_owned();
            return Err(unfit(TrainerError::Setting { field: "targets", what }));
        }
        let from = lesson.from.map(|from| self.open_initial_adapter(from, source)).transpose()?;
        if let Some(started) = &from {
            check_same(started, lesson.settings)?;
        }
        let texts = self.read(lesson, source, may_go_on)?;
        let settings = settings(lesson.settings, texts.0.len(), &low);
        Ok(Learned { texts, settings, low, from })
    }

    fn open_initial_adapter(&self, from: &Path, source: &Source) -> Result<InitialAdapter, TrainingError> {
        InitialAdapter::open(from, source.shape(), &self.host.limits()).map_err(|error| {
            let fault = Fault::new(FaultClass::BadRequest, "invalid_adapter", client_message(&error, error.file_and_cause()));
            TrainingError::Fault(Box::new(fault.param("from").fix(
                "Continue from a LoRA for exactly this model that has one rank, one alpha and the same target matrices in each layer.",
            )))
        })
    }

    /// Starts or resumes a training run; `None` where it was cancelled meanwhile.
    fn open_job(
        &self,
        lesson: &TrainingInput<'_>,
        directories: &TrainingDirectories<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Job>, TrainingError> {
        let source = Source::open(&self.path).map_err(unfit)?;
        let Some(base) = source.digest_of_all(may_go_on).map_err(unfit)? else { return Ok(None) };
        Job::check_base(directories.work, base).map_err(unfit)?;
        let Learned { texts: (texts, beside), settings, from, .. } =
            match self.prepare(lesson, &source, may_go_on) {
                Err(TrainingError::Cancelled) => return Ok(None),
                learned => learned?,
            };
        let inputs = RunInputs { examples: texts, validation: beside, adapter: from, base: Some(base) };
        let started = Job::begin(&source, inputs, settings, directories.work, may_go_on).map_err(unfit)?;
        Ok(started.map(|mut job| {
            job.leave_epochs(&self.path, directories.epochs);
            job
        }))
    }
}

impl Trainer for Local {
    fn default_settings(&self, from: Option<&Path>) -> Result<TrainingSettings, TrainingError> {
        let (settings, mut low) = (Settings::default(), LoraConfig::default());
        low.targets.retain(|target| !(self.has_experts && is_dense(*target)));
        let usual = TrainingSettings {
            rank: low.rank,
            alpha: f64::from(low.alpha),
            is_rank_stable: low.is_rank_stable,
            targets: low.targets.iter().map(|target| target.as_str().to_owned()).collect(),
            seed: settings.seed,
            epochs: settings.epochs,
            batch_tokens: settings.batch_tokens,
            accumulation: settings.accumulation,
            step_texts: settings.step_texts,
            rate: settings.rate,
            warmup_steps: settings.warmup_steps,
            schedule: RateSchedule::Cosine,
            weight_decay: settings.weight_decay,
            held_out: HeldOut::Texts(settings.held_back),
            held_out_seed: settings.held_back_seed,
            held_out_every: settings.held_back_every,
            checkpoint_every: settings.checkpoint_every,
            saves_memory: settings.saves_memory,
        };
        let Some(from) = from else { return Ok(usual) };
        let source = Source::open(&self.path).map_err(unfit)?;
        let InitialAdapter { rank, alpha, is_rank_stable, targets, .. } =
            self.open_initial_adapter(from, &source)?;
        Ok(TrainingSettings { rank, alpha, is_rank_stable, targets, ..usual })
    }

    fn estimate(
        &self,
        lesson: &TrainingInput<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<TrainingEstimate, TrainingError> {
        let source = Source::open(&self.path).map_err(unfit)?;
        let Learned { texts, settings, low, .. } = self.prepare(lesson, &source, may_go_on)?;
        let reckoned = Reckoned::of(&source, texts, (settings, &low), may_go_on).map_err(unfit)?;
        let Some(reckoned) = reckoned else { return Err(TrainingError::Cancelled) };
        let Reckoned {
            examples: texts,
            validation_examples: held_back,
            tokens,
            learned,
            longest,
            steps,
            parameters,
            bytes,
        } = reckoned;
        Ok(TrainingEstimate {
            texts: texts as u64,
            held_out_texts: held_back as u64,
            tokens: tokens as u64,
            learned_tokens: learned as u64,
            longest_text_tokens: longest as u64,
            steps: steps as u64,
            parameters,
            memory_bytes: bytes,
        })
    }

    fn spare_bytes(&self) -> Option<u64> {
        self.available_memory.bytes()
    }

    fn train(
        &self,
        lesson: &TrainingInput<'_>,
        directories: &TrainingDirectories<'_>,
        watch: &dyn TrainingObserver,
    ) -> Result<RunEnd, TrainingError> {
        let Some(mut job) = self.open_job(lesson, directories, &|| !watch.is_cancelled())? else {
            return Ok(RunEnd::Cancelled);
        };
        let last = job.last().map(step);
        watch.on_start(job.done() as u64, job.of() as u64, last.as_ref());
        let serving_gate = self.host.serving_gate();
        loop {
            match job.step(&mut || serving_gate.wait(|| watch.is_cancelled())).map_err(unfit)? {
                StepOutcome::Step(progress) => watch.on_step(&step(&progress)),
                StepOutcome::CalledOff => {
                    if watch.will_resume() {
                        job.save_checkpoint().map_err(unfit)?;
                    }
                    return Ok(RunEnd::Cancelled);
                }
                StepOutcome::End => break,
            }
        }
        job.write(&self.path, directories.result, Precision::Single).map_err(unfit)?;
        Ok(RunEnd::Whole)
    }

    fn wake(&self) {
        self.host.serving_gate().wake();
    }
}

/// Continuing from an adapter requires the same rank, alpha and targets: another scaling, for example, would
/// change its output at once.
fn check_same(started: &InitialAdapter, course: &TrainingSettings) -> Result<(), TrainingError> {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (requested, had) = (sorted(&course.targets), sorted(&started.targets));
    let other = |field, requested: String, had: String| {
        let what = format!("is {requested}, but the adapter that training continues from has {had}");
        Err(unfit(TrainerError::Setting { field, what }))
    };
    if course.rank != started.rank {
        return other("rank", course.rank.to_string(), started.rank.to_string());
    }
    #[expect(clippy::float_cmp, reason = "either one number was said twice, or it is another")]
    if course.alpha != started.alpha {
        return other("alpha", course.alpha.to_string(), started.alpha.to_string());
    }
    if course.is_rank_stable != started.is_rank_stable {
        return other(
            "is_rank_stable",
            course.is_rank_stable.to_string(),
            started.is_rank_stable.to_string(),
        );
    }
    if requested != had {
        return other("targets", requested.join(", "), had.join(", "));
    }
    Ok(())
}

/// Whether it is a matrix of the MLP, which mixtures of experts replace.
const fn is_dense(target: Target) -> bool {
    matches!(target, Target::Gate | Target::Up | Target::Down)
}

fn low_rank(course: &TrainingSettings) -> Result<LoraConfig, TrainingError> {
    let target = |name: &String| {
        let found = Target::ALL.into_iter().find(|target| target.as_str() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Target::ALL.iter().map(|target| target.as_str()).collect();
            let what = format!("contains \"{name}\", which isn't one of {}", known.join(", "));
            unfit(TrainerError::Setting { field: "targets", what })
        })
    };
    let targets = course.targets.iter().map(target).collect::<Result<_, _>>()?;
    let TrainingSettings { rank, is_rank_stable, .. } = *course;
    Ok(LoraConfig { rank, alpha: course.alpha as f32, is_rank_stable, targets })
}

fn settings(course: &TrainingSettings, texts: usize, low: &LoraConfig) -> Settings {
    let held_back = match course.held_out {
        HeldOut::Texts(count) => count,
        // With two texts or more, both the training set and the validation set get at least one.
        HeldOut::Share(0.0) => 0,
        HeldOut::Share(share) => {
            ((texts as f64 * share).round() as usize).max(1).min(texts.saturating_sub(1))
        }
    };
    Settings {
        trains: Trains::Adapter(low.clone()),
        seed: course.seed,
        epochs: course.epochs,
        batch_tokens: course.batch_tokens,
        accumulation: course.accumulation,
        step_texts: course.step_texts,
        rate: course.rate,
        warmup_steps: course.warmup_steps,
        schedule: match course.schedule {
            RateSchedule::Constant => Schedule::Constant,
            RateSchedule::Linear => Schedule::Linear,
            RateSchedule::Cosine => Schedule::Cosine,
        },
        weight_decay: course.weight_decay,
        held_back,
        held_back_seed: course.held_out_seed,
        held_back_every: course.held_out_every,
        checkpoint_every: course.checkpoint_every,
        saves_memory: course.saves_memory,
        ..Settings::default()
    }
}

fn step(progress: &Progress) -> Step {
    Step {
        step: progress.step as u64,
        steps_total: progress.of as u64,
        loss: progress.loss,
        validation_loss: progress.held_back_loss,
        learning_rate: progress.rate,
        tokens: progress.tokens,
        has_checkpoint: progress.is_kept,
        has_epoch_adapter: progress.is_left,
    }
}

fn unusable(bad: BadLines, of_held_out: bool) -> TrainingError {
    let lines = bad.lines.into_iter();
    let lines = lines.map(|line| UnusableLine { line: line.line, field: line.field, why: line.why });
    TrainingError::Lines { of_held_out, lines: lines.collect(), more: bad.more }
}

fn unfit(error: impl Into<TrainerError>) -> TrainingError {
    let error = error.into();
    let message = client_message(&error, error.file_and_cause());
    let fault = match error {
        TrainerError::Setting { field, .. } => {
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            fault.param(field).fix("Send a value that this model can be trained with.")
        }
        TrainerError::Diverged { .. } => {
            Fault::new(FaultClass::Unsupported, "training_diverged", message).fix("Train with a lower rate.")
        }
        TrainerError::OtherBase => {
            let message = "The model's files have changed since the job began.";
            Fault::new(FaultClass::Conflict, "base_changed", message)
                .fix("Start a new job: it trains an adapter for the model as it is now.")
        }
        TrainerError::File { .. }
        | TrainerError::Broken { .. }
        | TrainerError::Weights(
            WeightsError::File { .. }
            | WeightsError::Broken { .. }
            | WeightsError::Prompt(PromptError::File { .. } | PromptError::Broken { .. }),
        ) => Fault::new(FaultClass::Internal, "training_files", message)
            .fix("Check the node's disk, and start the job again."),
        _ => Fault::new(FaultClass::Internal, "training_failed", message)
            .fix("Start the job again; if it fails again, report the error message."),
    };
    TrainingError::Fault(Box::new(fault))
}

#[cfg(test)]
mod tests {
    use std::io;

    use kernels::KernelError;

    use super::*;

    #[test]
    fn a_broken_disk_and_a_bug_have_different_codes() {
        let code = |error: TrainerError| match unfit(error) {
            TrainingError::Fault(fault) => fault.code,
            TrainingError::Lines { .. } | TrainingError::Cancelled => panic!("the trainer failed"),
        };
        let file = TrainerError::File { path: "state".into(), source: io::ErrorKind::StorageFull.into() };
        assert_eq!(code(file), "training_files");
        let broken = TrainerError::Broken { path: "state".into(), what: "it is cut".to_owned() };
        assert_eq!(code(broken), "training_files");
        assert_eq!(code(TrainerError::Kernel(KernelError::Step("no such layer"))), "training_failed");
    }
}
