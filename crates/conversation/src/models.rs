//! Model lists (`/v1/models`) in OpenAI's format, which most dialects use.

use bytes::Bytes;
use domain::calendar::Civil;
use domain::{Modality, Price, Rates};
use serde::Serialize;

/// One row of a list. What is not known of a model is left out of every format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelRow {
    pub id: String,
    pub display_name: Option<String>,
    pub owned_by: String,
    /// Seconds of Unix time.
    pub created: u64,
    pub modality: Option<Modality>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    /// What the messages of a chat may consist of, beginning with `text`.
    pub inputs: Option<Vec<&'static str>>,
    /// What its tokens cost whoever reads the list.
    pub rates: Option<Rates>,
}

impl ModelRow {
    /// What a list for people calls it.
    pub fn title(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Serialize)]
struct ChatList<'a> {
    object: &'static str,
    data: Vec<ChatModel<'a>>,
}

#[derive(Serialize)]
struct ChatModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    /// OpenAI's own list ends here. Clients of OpenRouter, LibreChat, Cline and others read the following as OpenRouter names it.
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<Architecture<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pricing: Option<Pricing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_provider: Option<TopProvider>,
}

#[derive(Serialize)]
struct Architecture<'a> {
    input_modalities: &'a [&'static str],
    output_modalities: [&'static str; 1],
}

/// USD for a token, as decimal text.
#[derive(Serialize)]
struct Pricing {
    prompt: String,
    completion: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_read: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_write: Option<String>,
}

#[derive(Serialize)]
struct TopProvider {
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
}

/// A list of models.
pub fn models_list(rows: &[ModelRow]) -> Bytes {
    document(&ChatList { object: "list", data: rows.iter().map(chat).collect() })
}

/// One model.
pub fn model_object(row: &ModelRow) -> Bytes {
    document(&chat(row))
}

fn chat(row: &ModelRow) -> ChatModel<'_> {
    let (context_length, max_completion_tokens) = (row.context_tokens, row.output_tokens_max);
    let has_size = context_length.is_some() || max_completion_tokens.is_some();
    ChatModel {
        id: &row.id,
        object: "model",
        created: row.created,
        owned_by: &row.owned_by,
        name: row.title(),
        context_length,
        architecture: row
            .inputs
            .as_deref()
            .map(|input_modalities| Architecture { input_modalities, output_modalities: ["text"] }),
        pricing: row.rates.and_then(pricing),
        top_provider: has_size.then_some(TopProvider { context_length, max_completion_tokens }),
    }
}

/// `None` of a model that is not paid by the token.
fn pricing(rates: Rates) -> Option<Pricing> {
    let is_by_token = rates.input != Price(0) || rates.output != Price(0);
    is_by_token.then(|| Pricing {
        prompt: usd_of_one(rates.input),
        completion: usd_of_one(rates.output),
        input_cache_read: rates.cached_read.map(usd_of_one),
        input_cache_write: rates.cache_write.map(usd_of_one),
    })
}

/// Micro-USD for a million units are picodollars for one.
fn usd_of_one(Price(picos): Price) -> String {
    const PICOS: u64 = 1_000_000_000_000;
    let text = format!("{}.{:012}", picos / PICOS, picos % PICOS);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in RFC 3339 format.
pub fn moment(unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A value as a document.
pub fn document(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
