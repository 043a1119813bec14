//! Detects what a model is for by its files: generation, embeddings or reranking.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::assets::json;
use crate::error::WeightsError;
use crate::packed::{File, Value as Packed};
use crate::plain::Files;
use crate::source::{Source, Store};

/// What a model is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    Answers,
    Vectors(Vectors),
    Ranks(Ranks),
}

/// How an embedding model is used: last-token pooling, normalised to unit length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vectors {
    /// Prompts to put before a text, by name (such as "query" or "document").
    pub prompts: BTreeMap<String, String>,
    /// The name of the default prompt.
    pub usual: Option<String>,
}

/// How a reranker is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    pub judge: RerankHead,
    /// The prompt template for query and document, if the files have one.
    pub template: Option<String>,
}

/// What turns the final hidden state into a score.
#[derive(Debug, Clone, PartialEq)]
pub enum RerankHead {
    /// A classification head of one row: the higher, the better.
    One(Vec<f32>),
    /// A row for yes, and one for no.
    Two(Vec<f32>, Vec<f32>),
    /// The logits of two tokens of the vocabulary, yes and no.
    Words(String, String),
}

/// Marks a reranker by its name, if nothing else in the files does.
const NAMED: &str = "reranker";
const MODULES: &str = "modules.json";
const HABITS: &str = "config_sentence_transformers.json";
/// The pooling settings, in the usual subdirectory or, where the files were flattened, with it as a prefix.
const POOLINGS: [&str; 2] = ["1_Pooling/config.json", "1_Pooling.json"];
const LAST: &str = "lasttoken";
/// Values of `pooling_type` in GGUF files.
const POOLS_NONE: f64 = 0.0;
const POOLS_LAST: f64 = 3.0;
const POOLS_RANKS: f64 = 4.0;

impl Source {
    /// What the model is for. `name` is the model's name for requests.
    ///
    /// # Errors
    /// It is for something unsupported, or its files are invalid.
    pub fn purpose(&self, name: &str) -> Result<Purpose, WeightsError> {
        let names = [name, self.name.as_str()];
        let is_named = |more: Option<&str>| {
            names.into_iter().chain(more).any(|name| name.to_ascii_lowercase().contains(NAMED))
        };
        let purpose = match &self.store {
            Store::Plain(files) => plain(&self.directory, files, self.shape.hidden, is_named),
            Store::Packed(file) => packed(file, self.shape.hidden, is_named),
        }?;
        let has_own = match &purpose {
            Purpose::Answers => false,
            Purpose::Vectors(_) => true,
            Purpose::Ranks(ranks) => !matches!(ranks.judge, RerankHead::Words(..)),
        };
        if self.is_headless && !has_own {
            return Err(WeightsError::NoTensor("lm_head.weight".to_owned()));
        }
        Ok(purpose)
    }
}

/// Reranking by the tokens that the supported families answer with.
fn by_words() -> Purpose {
    let judge = RerankHead::Words("yes".to_owned(), "no".to_owned());
    Purpose::Ranks(Ranks { judge, template: None })
}

fn wrong(path: &Path, what: impl Into<String>) -> WeightsError {
    WeightsError::Broken { path: path.to_owned(), what: what.into() }
}

fn plain(
    directory: &Path,
    files: &Files,
    hidden: usize,
    is_named: impl Fn(Option<&str>) -> bool,
) -> Result<Purpose, WeightsError> {
    let config = json(&directory.join("config.json"))?;
    let string = |name: &str| config.get(name).and_then(Value::as_str);
    let architectures = config.get("architectures").and_then(Value::as_array);
    let mut architectures = architectures.into_iter().flatten().filter_map(Value::as_str);
    if architectures.any(|architecture| architecture.ends_with("ForSequenceClassification")) {
        return classifier(directory, files, hidden);
    }
    let modules = json(&directory.join(MODULES))?;
    let habits = json(&directory.join(HABITS))?;
    let kinds: Vec<&str> = modules.as_array().into_iter().flatten().filter_map(kind_of).collect();
    let crosses = |kind: &&str| kind.contains("cross_encoder") || *kind == "LogitScore";
    let is_crossed = habits.get("model_type").is_some_and(|kind| kind == "CrossEncoder");
    if is_crossed || kinds.iter().any(crosses) {
        return Ok(by_words());
    }
    let pooling = pooling(directory)?;
    if modules.is_null() && pooling.is_none() {
        let is_classifier = config.get("classifier_from_token").is_some_and(|words| !words.is_null());
        let is_ranking = is_classifier || is_named(string("_name_or_path"));
        return Ok(if is_ranking { by_words() } else { Purpose::Answers });
    }
    for kind in kinds {
        let short = kind.rsplit('.').next().unwrap_or(kind);
        if !["Transformer", "Pooling", "Normalize"].contains(&short) {
            let what = format!("has a module \"{kind}\", which isn't supported");
            return Err(wrong(&directory.join(MODULES), what));
        }
    }
    if let Some(other) = pooling.filter(|pooling| pooling != LAST) {
        let what = format!("pools by \"{other}\", and only \"{LAST}\" is supported");
        return Err(wrong(&directory.join(POOLINGS[0]), what));
    }
    Ok(Purpose::Vectors(vectors(&habits)))
}

fn kind_of(module: &Value) -> Option<&str> {
    module.get("type")?.as_str()
}

/// The pooling method; `None` where no file has one.
fn pooling(directory: &Path) -> Result<Option<String>, WeightsError> {
    for name in POOLINGS {
        let settings = json(&directory.join(name))?;
        if settings.is_null() {
            continue;
        }
        // Either a name, or a boolean for each method.
        let named = match settings.get("pooling_mode") {
            Some(Value::Array(modes)) => {
                modes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" and ")
            }
            Some(mode) => mode.as_str().unwrap_or_default().to_owned(),
            None => {
                let each = settings.as_object().into_iter().flatten();
                let each = each.filter(|(_, value)| **value == true);
                let modes = each.filter_map(|(name, _)| name.strip_prefix("pooling_mode_"));
                modes.collect::<Vec<_>>().join(" and ")
            }
        };
        return Ok(Some(named));
    }
    Ok(None)
}

fn vectors(habits: &Value) -> Vectors {
    let prompts = habits.get("prompts").and_then(Value::as_object).into_iter().flatten();
    let prompts = prompts.filter_map(|(name, prompt)| Some((name.clone(), prompt.as_str()?.to_owned())));
    let usual = habits.get("default_prompt_name").and_then(Value::as_str).map(str::to_owned);
    Vectors { prompts: prompts.collect(), usual }
}

fn classifier(directory: &Path, files: &Files, hidden: usize) -> Result<Purpose, WeightsError> {
    const HEAD: &str = "score.weight";
    if let Some((shape, _)) = files.shape_and_size(HEAD)
        && shape.first() != Some(&1)
    {
        let what =
            format!("its head has {:?} labels, and only a head of one row is supported", shape.first());
        return Err(wrong(&directory.join("config.json"), what));
    }
    let judge = RerankHead::One(files.row(HEAD, hidden)?);
    Ok(Purpose::Ranks(Ranks { judge, template: None }))
}

fn packed(
    file: &File,
    hidden: usize,
    is_named: impl Fn(Option<&str>) -> bool,
) -> Result<Purpose, WeightsError> {
    let text = |name: &str| match file.value(name) {
        Some(Packed::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let architecture = text("general.architecture").unwrap_or_default();
    let pooling = match file.value(&format!("{architecture}.pooling_type")) {
        Some(Packed::Number(kind)) => *kind,
        _ => POOLS_NONE,
    };
    if pooling == POOLS_LAST {
        return Ok(Purpose::Vectors(Vectors::default()));
    }
    if pooling == POOLS_RANKS {
        let template = text("tokenizer.chat_template.rerank").map(str::to_owned);
        return Ok(match judge(file, architecture, hidden)? {
            Some(judge) => Purpose::Ranks(Ranks { judge, template }),
            None => by_words(),
        });
    }
    if pooling != POOLS_NONE {
        return Err(file.broken(format!(
            "it pools its states by the kind {pooling}, and {POOLS_LAST} (the last token) and {POOLS_RANKS} (ranks) are supported"
        )));
    }
    Ok(if is_named(text("general.name")) { by_words() } else { Purpose::Answers })
}

/// The classification head of a GGUF reranker; `None` if it has none.
fn judge(file: &File, architecture: &str, hidden: usize) -> Result<Option<RerankHead>, WeightsError> {
    const HEAD: &str = "cls.output.weight";
    let Some(rows) = file.rows_of(HEAD, hidden)? else { return Ok(None) };
    let labels = match file.value(&format!("{architecture}.classifier.output_labels")) {
        Some(Packed::List(labels)) => labels.clone(),
        _ => Vec::new(),
    };
    let label_of = |at: usize| match labels.get(at) {
        Some(Packed::Text(label)) => label.to_ascii_lowercase(),
        _ => String::new(),
    };
    let mut rows = rows.into_iter();
    match (rows.next(), rows.next(), rows.next()) {
        (Some(one), None, None) => Ok(Some(RerankHead::One(one))),
        (Some(no), Some(yes), None) if label_of(0) == "no" => Ok(Some(RerankHead::Two(yes, no))),
        (Some(yes), Some(no), None) => Ok(Some(RerankHead::Two(yes, no))),
        _ => Err(file.broken(format!("its \"{HEAD}\" has more rows than one for yes and one for no"))),
    }
}
