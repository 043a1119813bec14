//! Parses a training request in this node's own API.

use std::path::{Path, PathBuf};

use domain::Fault;
use domain::training::{HeldOut, RateSchedule, Trainer, TrainingSettings};

use super::data::{Data, unusable};
use super::fields::{Fields, wrong};
use super::job::Order;
use super::jobs::{ADAPTER_FILES, SUFFIXED};
use crate::limits::{BATCH_TOKENS_MAX, EPOCHS_MAX, HOURS_MAX, LORA_RANK_MAX, STEPS_COUNTED_MAX};

/// A requested job and its data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JobRequest {
    pub order: Order,
    pub training_data: Data,
    pub held_out: Option<Data>,
    /// The directory of the adapter to continue from.
    pub from: Option<PathBuf>,
    /// Use only this many of the conversations.
    pub examples_max: Option<usize>,
    /// A dry run: only reports what the job would be.
    pub is_preview: bool,
}

/// What requests are parsed against.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    /// The models that can be trained.
    pub models: &'a [String],
    pub trainer: &'a dyn Trainer,
    /// The directory of adapters, which a job may continue from.
    pub adapters: Option<&'a Path>,
}

impl Offer<'_> {
    /// The default hyperparameters.
    pub(super) fn usual(&self, from: Option<&Path>) -> Result<TrainingSettings, Box<Fault>> {
        self.trainer.default_settings(from).map_err(|unfit| rename_param(unusable(unfit)))
    }

    /// The directory of an adapter, by its name.
    fn find(&self, name: &str) -> Result<PathBuf, Box<Fault>> {
        let found = || {
            let directory = crate::adapters::find(self.adapters, Path::new(name))?;
            for file in ADAPTER_FILES {
                match crate::adapters::find(self.adapters, &Path::new(name).join(file)) {
                    // If a file is missing, the error of reading it says more.
                    Err(fault) if fault.code != "adapter_not_found" => return Err(fault),
                    _ => {}
                }
            }
            Ok(directory)
        };
        found().map_err(|mut fault: Box<Fault>| {
            fault.param = Some("init_adapter_dir".into());
            fault
        })
    }
}

/// Parses a request.
pub(super) fn read(body: &[u8], offer: &Offer<'_>) -> Result<JobRequest, Box<Fault>> {
    let mut fields = Fields::read(body)?;
    let model = model(&mut fields, offer.models)?;
    let (learned, training_file) = data(&mut fields, ["data", "training_file"])?;
    let Some(learned) = learned else {
        return Err(wrong(
            "data",
            "is missing",
            "Send conversations as \"data\", or the id of a \"training_file\".",
        ));
    };
    let (held_out, validation_file) = data(&mut fields, ["validation_data", "validation_file"])?;
    let begins = fields.text("init_adapter_dir")?;
    let from = begins.as_deref().map(|name| offer.find(name)).transpose()?;
    let course = course(&mut fields, offer.usual(from.as_deref())?)?;
    let adapter = fields.text("adapter")?;
    if adapter.as_deref().is_some_and(|name| !crate::adapters::is_name(name)) {
        let fix = "Send 1 to 128 letters, digits, dots, dashes and underscores.";
        return Err(wrong("adapter", "isn't a plain name", fix));
    }
    if fields.text("device")?.is_some_and(|device| device != "cpu") {
        return Err(wrong(
            "device",
            "isn't a device that this node trains on",
            "Send \"cpu\", or leave it out.",
        ));
    }
    // Training on this machine costs nothing, so it stays below any limit.
    fields.number("max_cost_gbp", 0.0..=f64::MAX)?;
    let hours = fields.number("max_duration_hours", f64::MIN_POSITIVE..=HOURS_MAX)?;
    let request = JobRequest {
        order: Order {
            model,
            adapter: adapter.unwrap_or_else(|| SUFFIXED.to_owned()),
            replaces: fields.flag("replace")?.unwrap_or(false),
            course,
            seconds_max: hours.map(|hours| hours * 3_600.0),
            report_every: fields.whole("log_every", 1..=STEPS_COUNTED_MAX)?.unwrap_or(1),
            from: begins,
            training_file,
            validation_file,
            tuned: None,
        },
        training_data: learned,
        held_out,
        from,
        examples_max: fields.count("num_examples", 1..=u64::MAX)?,
        is_preview: fields.flag("preview")?.unwrap_or(false),
    };
    fields.end()?;
    Ok(request)
}

/// The base model; it may be omitted if there is only one.
pub(super) fn model(fields: &mut Fields, models: &[String]) -> Result<String, Box<Fault>> {
    let named = (fields.text("model")?, fields.text("base")?);
    let requested = match named {
        (Some(model), Some(base)) if model != base => {
            return Err(wrong("base", "is another than \"model\"", "Send one of them."));
        }
        (Some(requested), _) | (None, Some(requested)) => requested,
        (None, None) => match models {
            [only] => return Ok(only.clone()),
            _ => return Err(wrong("model", "is missing", "Name a model that GET /v1/models lists.")),
        },
    };
    let bare = requested.strip_prefix("local/").unwrap_or(&requested);
    if models.iter().any(|model| model == bare) {
        return Ok(bare.to_owned());
    }
    let truncated: String = requested.chars().take(128).collect();
    let message = format!("This node trains no model \"{truncated}\".");
    let fault = Fault::new(domain::FaultClass::NotFound, "model_not_found", message);
    let fix = format!("Train one of: {}.", models.join(", "));
    Err(Box::new(fault.param("model").fix(fix)))
}

fn data(
    fields: &mut Fields,
    [inline, file]: [&'static str; 2],
) -> Result<(Option<Data>, Option<String>), Box<Fault>> {
    match (fields.take(inline), fields.text(file)?) {
        (Some(_), Some(_)) => Err(wrong(
            file,
            "stands beside what is sent with the request",
            format!("Send \"{inline}\" or \"{file}\"."),
        )),
        (Some(value), None) => Ok((Some(Data::read(inline, value)?), None)),
        (None, Some(id)) => Ok((Some(Data::File(id.clone())), Some(id))),
        (None, None) => Ok((None, None)),
    }
}

fn course(fields: &mut Fields, usual: TrainingSettings) -> Result<TrainingSettings, Box<Fault>> {
    let rank = fields.count("lora_rank", 1..=LORA_RANK_MAX)?;
    // If only the rank is given, `alpha` is scaled with it, so that the adapter's weight stays the default.
    let strength = usual.alpha / usual.rank as f64;
    let rank_or_usual = rank.unwrap_or(usual.rank);
    let alpha = fields.number("lora_alpha", 0.0..=1e6)?;
    let schedule = match fields.text("lr_schedule")?.as_deref() {
        None => usual.schedule,
        Some("constant") => RateSchedule::Constant,
        Some("linear") => RateSchedule::Linear,
        Some("cosine") => RateSchedule::Cosine,
        Some(_) => return Err(wrong("lr_schedule", "is not known", "Send constant, linear or cosine.")),
    };
    Ok(TrainingSettings {
        rank: rank_or_usual,
        alpha: alpha.unwrap_or(strength * rank_or_usual as f64),
        is_rank_stable: fields.flag("use_rslora")?.unwrap_or(usual.is_rank_stable),
        targets: fields.string_list("target_modules")?.unwrap_or(usual.targets),
        seed: fields.whole("seed", 0..=u64::MAX)?.unwrap_or(usual.seed),
        epochs: fields.count("epochs", 1..=EPOCHS_MAX)?.unwrap_or(usual.epochs),
        batch_tokens: fields.count("batch_tokens", 1..=BATCH_TOKENS_MAX)?.unwrap_or(usual.batch_tokens),
        accumulation: fields
            .count("gradient_accumulation_steps", 1..=STEPS_COUNTED_MAX)?
            .unwrap_or(usual.accumulation),
        step_texts: fields.count("batch_size", 1..=STEPS_COUNTED_MAX)?.or(usual.step_texts),
        rate: fields.number("lr", f64::MIN_POSITIVE..=10.0)?.unwrap_or(usual.rate),
        warmup_steps: fields.count("warmup_steps", 0..=STEPS_COUNTED_MAX)?.unwrap_or(usual.warmup_steps),
        schedule,
        weight_decay: fields.number("weight_decay", 0.0..=1.0)?.unwrap_or(usual.weight_decay),
        held_out: held_out(fields)?.unwrap_or(usual.held_out),
        held_out_seed: fields.whole("split_seed", 0..=u64::MAX)?.or(usual.held_out_seed),
        held_out_every: fields.count("eval_every", 1..=STEPS_COUNTED_MAX)?.unwrap_or(usual.held_out_every),
        checkpoint_every: fields
            .count("checkpoint_every", 1..=STEPS_COUNTED_MAX)?
            .unwrap_or(usual.checkpoint_every),
        saves_memory: fields.flag("saves_memory")?.unwrap_or(usual.saves_memory),
    })
}

fn held_out(fields: &mut Fields) -> Result<Option<HeldOut>, Box<Fault>> {
    let learned = fields.number("split_ratio", 0.01..=1.0)?;
    match (learned, fields.count("eval_examples", 0..=u64::MAX)?) {
        (Some(_), Some(_)) => {
            let fix = "Send \"split_ratio\" or \"eval_examples\".";
            Err(wrong("eval_examples", "stands beside \"split_ratio\"", fix))
        }
        (Some(learned), None) => Ok(Some(HeldOut::Share(1.0 - learned))),
        (None, Some(count)) => Ok(Some(HeldOut::Texts(count))),
        (None, None) => Ok(None),
    }
}

/// Renames a fault's field from the hyperparameter to the request's field.
pub(super) fn rename_param(mut fault: Box<Fault>) -> Box<Fault> {
    let name = match fault.param.as_deref() {
        Some("from") => "init_adapter_dir",
        Some("is_rank_stable") => "use_rslora",
        Some("rank") => "lora_rank",
        Some("alpha") => "lora_alpha",
        Some("targets") => "target_modules",
        Some("rate") => "lr",
        Some("held_back") => "eval_examples",
        Some("accumulation") => "gradient_accumulation_steps",
        Some("step_texts") => "batch_size",
        _ => return fault,
    };
    fault.param = Some(name.into());
    fault
}
