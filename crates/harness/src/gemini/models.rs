//! The served Gemini models, the abilities that their names imply, and `GET models`.

use serde::Serialize;

use super::error::ApiError;
use crate::emulator::{Kind, Model};

const OUTPUT_TOKENS_MAX: u64 = 65_536;
const CONTEXT_TOKENS_MAX: u64 = 1_048_576;
const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;

/// Served if the configuration names no Gemini model.
const DEFAULTS: &[&str] =
    &["gemini-3-pro-preview", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-embedding-001"];

/// A model's abilities, derived from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) thinks: bool,
    /// Signs its function calls and requires the signatures back; takes a thinking level instead of a budget.
    pub(crate) signs: bool,
    /// The thinking budgets that it accepts, whether it accepts 0, and -1 (ai.google.dev, "Thinking").
    pub(crate) budgets: Option<Budgets>,
    /// The shortest prefix that is cached; `None` where nothing is.
    pub(crate) cache_tokens_min: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budgets {
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) may_be_off: bool,
}

impl Budgets {
    const FLASH: Self = Self { low: 1, high: 24_576, may_be_off: true };
    const LITE: Self = Self { low: 512, ..Self::FLASH };
    const PRO: Self = Self { low: 128, high: 32_768, may_be_off: false };

    pub(crate) fn take(self, budget: i64) -> bool {
        match budget {
            -1 => true,
            0 => self.may_be_off,
            budget => (self.low..=self.high).contains(&budget),
        }
    }

    fn of(id: &str) -> Self {
        if id.contains("-pro") {
            Self::PRO
        } else if id.contains("-flash-lite") {
            Self::LITE
        } else {
            Self::FLASH
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    name: String,
    version: &'static str,
    display_name: String,
    description: String,
    input_token_limit: u64,
    output_token_limit: u64,
    supported_generation_methods: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    models: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// The Gemini models among the configured ones.
pub(crate) fn served_models(configured: &[Model]) -> Vec<Model> {
    let ours = |id: &str| id.starts_with("gemini") || id.starts_with("gemma");
    let named: Vec<Model> = configured.iter().filter(|model| ours(&model.id)).cloned().collect();
    if named.is_empty() {
        DEFAULTS.iter().map(|id| Model::named(id).context_tokens_max(CONTEXT_TOKENS_MAX)).collect()
    } else {
        named
    }
}

/// Finds a model that supports a method; the name may have the prefix `models/`.
pub(crate) fn find(configured: &[Model], name: &str, version: &str, method: &str) -> Result<Model, ApiError> {
    let id = name.strip_prefix("models/").unwrap_or(name);
    let found = served_models(configured).into_iter().find(|model| model.id == id);
    found.filter(|model| method == "getModel" || methods(model.kind).contains(&method)).ok_or_else(|| {
        ApiError::not_found(format!(
            "models/{id} is not found for API version {version}, or is not supported for {method}. Call ListModels \
             to see the list of available models and their supported methods."
        ))
    })
}

pub(crate) fn abilities(id: &str) -> Abilities {
    let version = id.strip_prefix("gemini-").and_then(|rest| rest.split('-').next()).unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let (major, minor): (u32, u32) = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
    match (major, minor) {
        (3.., _) => Abilities { thinks: true, signs: true, budgets: None, cache_tokens_min: Some(4096) },
        (2, 5..) => {
            let budgets = Some(Budgets::of(id));
            Abilities { thinks: true, signs: false, budgets, cache_tokens_min: Some(2048) }
        }
        _ => Abilities { thinks: false, signs: false, budgets: None, cache_tokens_min: None },
    }
}

pub(crate) fn page(configured: &[Model], size: Option<usize>, token: Option<&str>) -> Result<Page, ApiError> {
    let bad = || ApiError::invalid("Invalid page_token.");
    let start: usize =
        token.filter(|token| !token.is_empty()).map_or(Ok(0), str::parse).map_err(|_| bad())?;
    let size = size.filter(|size| *size > 0).unwrap_or(PAGE).min(PAGE_MAX);
    let all = served_models(configured);
    let rest = all.len().saturating_sub(start + size);
    let next_page_token = (rest > 0).then(|| (start + size).to_string());
    Ok(Page { models: all.iter().skip(start).take(size).map(row).collect(), next_page_token })
}

pub(crate) fn row(model: &Model) -> Row {
    let speaks = model.kind != Kind::Embedding;
    Row {
        name: format!("models/{}", model.id),
        version: "001",
        display_name: model.id.clone(),
        description: format!("The emulator's {}", model.id),
        input_token_limit: model.context_tokens_max,
        output_token_limit: if speaks { OUTPUT_TOKENS_MAX } else { 1 },
        supported_generation_methods: methods(model.kind),
        temperature: speaks.then_some(1.0),
        max_temperature: speaks.then_some(2.0),
        thinking: (speaks && abilities(&model.id).thinks).then_some(true),
    }
}

fn methods(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Embedding => &["embedContent", "batchEmbedContents", "countTokens"],
        _ => &[
            "generateContent",
            "streamGenerateContent",
            "countTokens",
            "createCachedContent",
            "batchGenerateContent",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_model_can_do() {
        for (id, thinks, signs, cache) in [
            ("gemini-4-pro", true, true, Some(4096)),
            ("gemini-3-pro-preview", true, true, Some(4096)),
            ("gemini-3.1-flash", true, true, Some(4096)),
            ("gemini-2.5-flash-lite", true, false, Some(2048)),
            ("gemini-2.0-flash", false, false, None),
            ("gemma-3-27b-it", false, false, None),
        ] {
            let found = abilities(id);
            assert_eq!(found.budgets.is_some(), thinks && !signs, "{id}");
            let expected = Abilities { thinks, signs, budgets: found.budgets, cache_tokens_min: cache };
            assert_eq!(found, expected, "{id}");
        }
    }
}
