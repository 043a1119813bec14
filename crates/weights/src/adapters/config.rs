//! `adapter_config.json`: which modules an adapter changes, at which rank and scaling. A setting that is not
//! implemented is refused, whether it is known or not: an adapter that is applied only in part gives other
//! output than it was trained to.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::names::{Key, Names};
use crate::error::WeightsError;
use crate::limits::{ADAPTER_CONFIG_BYTES_MAX, ADAPTER_ENTRIES_MAX, EXPRESSIONS_MAX};

/// Fields that have no effect on inference.
const SILENT: [&str; 9] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];
/// Initialisations that leave the base model's weights as they are.
const INIT_METHODS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The LoRA update of one matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub rank: usize,
    pub scale: f32,
}

#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    targets: Names,
    excluded: Option<Names>,
    /// `layers_to_transform`; `None` means all layers.
    layers: Option<Vec<usize>>,
    rank: usize,
    alpha: f64,
    ranks: Vec<(Key, f64)>,
    alphas: Vec<(Key, f64)>,
    is_rank_stabilised: bool,
    rank_max: usize,
}

/// The fields that are yet to be read.
struct Fields<'a> {
    path: &'a Path,
    left: Map<String, Value>,
}

pub(super) fn refusal(path: &Path, field: &str, what: impl Into<String>) -> WeightsError {
    WeightsError::Adapter { path: path.to_owned(), field: field.to_owned(), what: what.into() }
}

/// Whether a field has a value that means the same as its absence.
fn is_silent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) => false,
    }
}

impl Fields<'_> {
    fn refusal(&self, field: &str, what: impl Into<String>) -> WeightsError {
        refusal(self.path, field, what)
    }

    /// Removes a field; `None` where it is missing or null.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    fn is_on(&mut self, field: &str) -> Result<bool, WeightsError> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(is_on)) => Ok(is_on),
            Some(_) => Err(self.refusal(field, "is neither true nor false")),
        }
    }

    /// Refuses a field that has any value but this one.
    fn only(&mut self, field: &str, wanted: &str, is_needed: bool) -> Result<(), WeightsError> {
        match self.take(field) {
            None if !is_needed => Ok(()),
            Some(Value::String(text)) if text == wanted => Ok(()),
            None => Err(self.refusal(field, format!("is missing, and only {wanted} is supported"))),
            Some(other) => Err(self.refusal(field, format!("is {other}, and only {wanted} is supported"))),
        }
    }

    fn off(&mut self, field: &str, what: &str) -> Result<(), WeightsError> {
        match self.take(field) {
            Some(value) if !is_silent(&value) => Err(self.refusal(field, what)),
            _ => Ok(()),
        }
    }

    fn number(&mut self, field: &str, usual: f64) -> Result<f64, WeightsError> {
        match self.take(field) {
            None => Ok(usual),
            Some(value) => value.as_f64().ok_or_else(|| self.refusal(field, "isn't a number")),
        }
    }

    fn names(&mut self, field: &str) -> Result<Option<Names>, WeightsError> {
        let list = match self.take(field) {
            None => return Ok(None),
            Some(Value::String(text)) if text == "all-linear" && field == "target_modules" => {
                return Ok(Some(Names::All));
            }
            Some(Value::String(text)) => {
                return Names::expression(&text).map(Some).map_err(|what| self.refusal(field, what));
            }
            Some(Value::Array(list)) => list,
            Some(_) => return Err(self.refusal(field, "is neither a list nor an expression")),
        };
        if list.len() > ADAPTER_ENTRIES_MAX {
            return Err(self.refusal(
                field,
                format!("has {} entries, and at most {ADAPTER_ENTRIES_MAX} are allowed", list.len()),
            ));
        }
        let name = |value: Value| match value {
            Value::String(name) => Ok(name),
            _ => Err(self.refusal(field, "has an entry that isn't a name")),
        };
        let names: Vec<String> = list.into_iter().map(name).collect::<Result<_, _>>()?;
        Ok(Some(Names::Ends(names)))
    }

    /// The entries of `rank_pattern` or `alpha_pattern`, in order: the first key that matches a module wins.
    fn pattern(&mut self, field: &str) -> Result<Vec<(Key, f64)>, WeightsError> {
        let map = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(self.refusal(field, "isn't a map")),
        };
        if map.len() > ADAPTER_ENTRIES_MAX {
            return Err(self.refusal(
                field,
                format!("has {} entries, and at most {ADAPTER_ENTRIES_MAX} are allowed", map.len()),
            ));
        }
        if map.keys().filter(|key| !Key::is_plain(key)).count() > EXPRESSIONS_MAX {
            return Err(self.refusal(field, format!("has more than {EXPRESSIONS_MAX} expressions")));
        }
        let mut pattern = Vec::new();
        for (key, value) in map {
            let number = value.as_f64();
            let number = number.ok_or_else(|| self.refusal(field, format!("has no number for \"{key}\"")))?;
            pattern.push((Key::new(&key).map_err(|what| self.refusal(field, what))?, number));
        }
        Ok(pattern)
    }

    fn layers(&mut self, field: &str) -> Result<Option<Vec<usize>>, WeightsError> {
        let index = |value: &Value| value.as_u64().and_then(|index| usize::try_from(index).ok());
        let layers = match self.take(field) {
            None => return Ok(None),
            Some(Value::Array(list)) if list.is_empty() => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(index).collect(),
            Some(value) => index(&value).map(|index| vec![index]),
        };
        layers.map(Some).ok_or_else(|| self.refusal(field, "isn't a list of layers"))
    }

    fn init_method(&mut self, field: &str) -> Result<(), WeightsError> {
        match self.take(field) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(text)) if INIT_METHODS.contains(&text.as_str()) => Ok(()),
            Some(other) => Err(self.refusal(field, format!("is {other}, which changes the model itself"))),
        }
    }

    /// Refuses unsupported settings by name, and then any unknown field that is set.
    fn nothing_else(&mut self) -> Result<(), WeightsError> {
        self.only("peft_type", "LORA", true)?;
        self.only("task_type", "CAUSAL_LM", false)?;
        self.only("bias", "none", false)?;
        self.off("fan_in_fan_out", "is set, but the matrices of supported families aren't transposed")?;
        self.off("modules_to_save", "names parts of the model to replace, which isn't supported")?;
        self.off("use_dora", "is set, and magnitudes aren't supported")?;
        // Only the usual "layers" is accepted; the families here have no other.
        match self.take("layers_pattern") {
            Some(value) if is_silent(&value) => {}
            Some(Value::String(text)) if text == "layers" => {}
            Some(Value::Array(list)) if matches!(list.as_slice(), [Value::String(text)] if text == "layers") =>
                {}
            None => {}
            Some(_) => return Err(self.refusal("layers_pattern", "is not \"layers\"")),
        }
        self.init_method("init_lora_weights")?;
        let silent =
            |(field, value): &(&String, &Value)| SILENT.contains(&field.as_str()) || is_silent(value);
        match self.left.iter().find(|field| !silent(field)) {
            Some((field, _)) => Err(self.refusal(field, "has a value that isn't supported")),
            None => Ok(()),
        }
    }
}

impl Config {
    pub(super) fn read(path: &Path, rank_max: usize) -> Result<(Self, Vec<u8>), WeightsError> {
        let at_file = |source| WeightsError::File { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(at_file)?;
        file.take(ADAPTER_CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(at_file)?;
        let broken = |what: String| WeightsError::Broken { path: path.to_owned(), what };
        if bytes.len() as u64 > ADAPTER_CONFIG_BYTES_MAX {
            return Err(broken(format!("it has more than {ADAPTER_CONFIG_BYTES_MAX} bytes")));
        }
        let left = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        Ok((Self::of(Fields { path, left }, rank_max)?, bytes))
    }

    fn of(mut fields: Fields<'_>, rank_max: usize) -> Result<Self, WeightsError> {
        // Checked before all else, so that another kind of adapter is refused for its kind and not for a
        // field that it lacks.
        if fields.left.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            fields.only("peft_type", "LORA", true)?;
        }
        let targets = fields.names("target_modules")?;
        let config = Self {
            path: fields.path.to_owned(),
            targets: targets.ok_or_else(|| fields.refusal("target_modules", "is missing"))?,
            excluded: fields.names("exclude_modules")?,
            layers: fields.layers("layers_to_transform")?,
            // In PEFT, `r` and `lora_alpha` default to 8.
            rank: rank(fields.path, "r", fields.number("r", 8.0)?, rank_max)?,
            alpha: fields.number("lora_alpha", 8.0)?,
            ranks: fields.pattern("rank_pattern")?,
            alphas: fields.pattern("alpha_pattern")?,
            is_rank_stabilised: fields.is_on("use_rslora")?,
            rank_max,
        };
        if config.layers.is_some() && !matches!(config.targets, Names::Ends(_)) {
            return Err(fields.refusal("layers_to_transform", "works only with a list of targets"));
        }
        fields.nothing_else()?;
        Ok(config)
    }

    /// Rank, alpha and rsLoRA flag, if they are the same for all modules, as training needs them.
    pub(super) fn alike(&self) -> Result<(usize, f64, bool), WeightsError> {
        for (field, pattern) in [("rank_pattern", &self.ranks), ("alpha_pattern", &self.alphas)] {
            if !pattern.is_empty() {
                let what = "has several values, but training continues only from an adapter with one for all";
                return Err(refusal(&self.path, field, what));
            }
        }
        Ok((self.rank, self.alpha, self.is_rank_stabilised))
    }

    /// The LoRA update of a matrix, if the adapter changes it.
    pub(super) fn part(&self, name: &str, layer: usize) -> Result<Option<Part>, WeightsError> {
        let refusal = |field: &str, what: String| refusal(&self.path, field, what);
        // A target that is a full module name applies whatever `layers_to_transform` says.
        let is_left_out = self.layers.as_ref().is_some_and(|layers| !layers.contains(&layer));
        if is_left_out && !self.targets.name(name) {
            return Ok(None);
        }
        let is_meant = self.targets.mean(name).map_err(|what| refusal("target_modules", what))?;
        let excluded = self.excluded.as_ref().map_or(Ok(false), |excluded| excluded.mean(name));
        if !is_meant || excluded.map_err(|what| refusal("exclude_modules", what))? {
            return Ok(None);
        }
        let of = |field: &'static str, pattern: &[(Key, f64)]| {
            for (key, number) in pattern {
                if key.means(name).map_err(|what| refusal(field, what))? {
                    return Ok(Some(*number));
                }
            }
            Ok::<_, WeightsError>(None)
        };
        let rank = match of("rank_pattern", &self.ranks)? {
            Some(number) => rank(&self.path, "rank_pattern", number, self.rank_max)?,
            None => self.rank,
        };
        let own = of("alpha_pattern", &self.alphas)?;
        let alpha = own.unwrap_or(self.alpha);
        let by = if self.is_rank_stabilised { (rank as f64).sqrt() } else { rank as f64 };
        let scale = single(alpha / by);
        if !scale.is_finite() {
            let field = if own.is_some() { "alpha_pattern" } else { "lora_alpha" };
            return Err(refusal(field, format!("is {alpha}, which is out of range")));
        }
        Ok(Some(Part { rank, scale }))
    }

    /// Refuses a target that matches no module of the model.
    pub(super) fn check_targets<'a>(
        &self,
        parts: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Result<(), WeightsError> {
        let refusal = |what: String| Err(refusal(&self.path, "target_modules", what));
        if let Names::Ends(ends) = &self.targets {
            for end in ends {
                let one = Names::Ends(vec![end.clone()]);
                if !parts.clone().any(|name| one.mean(name) == Ok(true)) {
                    return refusal(format!("names \"{end}\", but this model has none that takes adapters"));
                }
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is beyond single precision is found to be infinite"
)]
const fn single(number: f64) -> f32 {
    number as f32
}

/// Checks a rank.
fn rank(path: &Path, field: &str, number: f64, most: usize) -> Result<usize, WeightsError> {
    (1..=most).find(|rank| *rank as f64 == number).ok_or_else(|| {
        refusal(path, field, format!("is {number}, and ranks are whole numbers from 1 to {most}"))
    })
}
