//! `POST /v1/audio/speech` and `/v1/rerank`: results that depend only on the request, so that a test can
//! predict them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::checks::{self, Shape, Shape::*};
use super::error::ApiError;
use super::flavour::Flavour;
use super::request::{is_given, list, named_model, script, text};
use super::routes::OpenAiCall;
use super::server::Server;
use super::{stream, tokens};
use crate::emulator::answering::{buffered, head, played, special_as, streamed};
use crate::emulator::frames::{self, Event};
use crate::emulator::service::Answer;
use crate::emulator::{Behaviour, Kind, Model, Part, PartRole, UsageMode};
use crate::members::put;

/// Every field of OpenAI's own API, as its SDK lists them.
#[rustfmt::skip]
const SPEECH: &[(&str, Shape)] = &[
    ("input", Text), ("model", Text), ("voice", TextOrObject), ("instructions", Text),
    ("response_format", OneOf(&["mp3", "opus", "aac", "flac", "wav", "pcm"])), ("speed", Decimal(0.25, 4.0)),
    ("stream_format", OneOf(&["sse", "audio"])),
];
const RANKING: &[(&str, Shape)] = &[
    ("model", Text),
    ("query", Text),
    ("documents", List),
    ("top_n", Integer(1, i64::MAX)),
    ("return_documents", Flag),
];
const RANKING_TOGETHER: &[(&str, Shape)] = &[("rank_fields", List)];
const RANKING_SERVER: &[(&str, Shape)] = &[("max_tokens_per_doc", Integer(1, i64::MAX))];

const INPUT_CHARACTERS_MAX: usize = 4_096;
/// Audio bytes per word, and the tokens that they are counted as.
const WORD_BYTES: usize = 480;
const WORD_TOKENS: u64 = 12;

pub(super) fn model<'a>(
    call: &'a OpenAiCall<'_>,
    fields: &Map<String, Value>,
    kind: Kind,
) -> Result<&'a Model, ApiError> {
    let model = named_model(fields, call.served())?;
    if model.kind == kind {
        return Ok(model);
    }
    let message = format!("The model '{}' is not supported with this endpoint.", model.id);
    Err(ApiError::bad(message).at("model", "invalid_value"))
}

pub(super) fn check(
    call: &OpenAiCall<'_>,
    fields: &Map<String, Value>,
    tables: &[&[(&str, Shape)]],
    needed: &[&str],
) -> Result<(), ApiError> {
    if let Some(name) = needed.iter().find(|name| !is_given(fields, name)) {
        return Err(ApiError::missing(name));
    }
    let served = call.served();
    checks::fields(fields, tables, served.also, |name| served.flavour.unknown_field(name))
}

pub(super) fn bill(call: &OpenAiCall<'_>, prompt_tokens: u64) {
    call.guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = prompt_tokens;
    });
}

pub(crate) async fn speech(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let model = model(call, &fields, Kind::Speech)?;
    check(call, &fields, &[SPEECH], &["input", "voice"])?;
    let input = text(&fields, "input").unwrap_or_default();
    if input.is_empty() || input.chars().count() > INPUT_CHARACTERS_MAX {
        let message = "Invalid 'input': string too long. Expected a string with maximum length 4096.";
        return Err(ApiError::bad(message).at("input", "string_above_max_length"));
    }
    let wants_events = text(&fields, "stream_format").as_deref() == Some("sse");
    if wants_events && model.id.starts_with("tts-1") {
        return Err(ApiError::unsupported("stream_format", "'sse' is not supported with this model."));
    }
    let behaviour = call.begin(&model.id, true, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let prompt_tokens = tokens::count(&input);
    bill(call, prompt_tokens);
    let words: Vec<Bytes> = input.split_whitespace().map(sound).collect();
    if wants_events {
        let events = speech_events(&words, prompt_tokens, &behaviour);
        return streamed(frames::parts(events, &behaviour, || stream::error_event(&behaviour)), &behaviour);
    }
    let media = match text(&fields, "response_format").as_deref() {
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        _ => "audio/mpeg",
    };
    let parts = words.into_iter().map(|bytes| Part { bytes, tokens: 0, role: PartRole::Content }).collect();
    played(parts, head(media, &behaviour), &behaviour)
}

/// The audio of a word, derived from its bytes.
fn sound(word: &str) -> Bytes {
    let one = [word.as_bytes(), &[0]].concat();
    Bytes::from(one.iter().copied().cycle().take(WORD_BYTES).collect::<Vec<u8>>())
}

fn speech_events(words: &[Bytes], prompt_tokens: u64, behaviour: &Behaviour) -> Vec<Event> {
    let delta = |bytes: &Bytes| {
        let data = json!({"type": "speech.audio.delta", "audio": STANDARD.encode(bytes)});
        Event { name: Some("speech.audio.delta"), data: data.to_string(), tokens: 0, role: PartRole::Content }
    };
    let mut events: Vec<Event> = words.iter().map(delta).collect();
    let made = WORD_TOKENS * words.len() as u64;
    let mut done = json!({"type": "speech.audio.done"});
    if behaviour.usage != UsageMode::Missing {
        let total = prompt_tokens + made;
        let usage = json!({"input_tokens": prompt_tokens, "output_tokens": made, "total_tokens": total});
        put(&mut done, "usage", usage);
    }
    let (name, data) = (Some("speech.audio.done"), done.to_string());
    events.push(Event { name, data, tokens: 0, role: PartRole::Finish });
    events
}

pub(crate) async fn rerank(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let model = model(call, &fields, Kind::Rerank)?;
    let also = match call.flavour {
        Flavour::Together => RANKING_TOGETHER,
        Flavour::Server(_) => RANKING_SERVER,
        _ => &[],
    };
    check(call, &fields, &[RANKING, also], &["query", "documents"])?;
    let query = text(&fields, "query").unwrap_or_default();
    let documents: Vec<String> =
        list(&fields, "documents").iter().enumerate().map(document).collect::<Result<_, _>>()?;
    let behaviour = call.begin(&model.id, false, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let tokens = documents.iter().map(|text| tokens::count(text) + tokens::count(&query)).sum();
    bill(call, tokens);
    let mut ranks: Vec<(usize, f64)> = documents.iter().map(|text| score(&query, text)).enumerate().collect();
    ranks.sort_by(|one, other| other.1.total_cmp(&one.1));
    let wanted = fields.get("top_n").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    ranks.truncate(wanted.unwrap_or(usize::MAX));
    let return_documents = fields.get("return_documents").and_then(Value::as_bool);
    let ranking = Ranking { call, model: &model.id, documents: &documents, ranks, tokens, return_documents };
    buffered(&ranking.answer(behaviour.usage), 0, &behaviour)
}

fn document((at, document): (usize, &Value)) -> Result<String, ApiError> {
    match document {
        Value::String(text) => Ok(text.clone()),
        Value::Object(fields) => Ok(fields.values().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        other => Err(ApiError::wrong_type(&format!("documents[{at}]"), "one of a string or object", other)),
    }
}

/// The relevance score: how many words of the query occur in the text.
pub(crate) fn score(query: &str, text: &str) -> f64 {
    let text = text.to_lowercase();
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let found = words.iter().filter(|word| text.contains(word.as_str())).count();
    found as f64 / (words.len() + 1) as f64
}

struct Ranking<'a> {
    call: &'a OpenAiCall<'a>,
    model: &'a str,
    documents: &'a [String],
    ranks: Vec<(usize, f64)>,
    tokens: u64,
    return_documents: Option<bool>,
}

impl Ranking<'_> {
    fn rows(&self, has_documents: bool, form: impl Fn(&str) -> Value) -> Vec<Value> {
        let row = |(index, score): &(usize, f64)| {
            let mut row = json!({"index": index, "relevance_score": score});
            let text = self.documents.get(*index).map_or("", String::as_str);
            if has_documents {
                put(&mut row, "document", form(text));
            }
            row
        };
        self.ranks.iter().map(row).collect()
    }

    fn answer(&self, mode: UsageMode) -> Value {
        let (number, wrapped) = (self.call.number(), |text: &str| json!({"text": text}));
        let usage =
            json!({"prompt_tokens": self.tokens, "completion_tokens": 0, "total_tokens": self.tokens});
        let mut answer = match self.call.flavour {
            Flavour::Fireworks => json!({
                "object": "list", "model": self.model,
                "data": self.rows(self.return_documents != Some(false), |text| text.into()), "usage": usage,
            }),
            // This server bills by search units.
            Flavour::Server(Server::Lenient) => json!({
                "id": format!("rerank-{number}"),
                "results": self.rows(self.return_documents == Some(true), wrapped),
                "meta": {"billed_units": {"search_units": 1}},
            }),
            Flavour::Server(_) => json!({
                "id": format!("rerank-{number}"), "model": self.model, "usage": {"total_tokens": self.tokens},
                "results": self.rows(true, wrapped),
            }),
            _ => json!({
                "id": format!("rerank-{number}"),
                "object": "rerank",
                "model": self.model,
                "results": self.rows(true, |text| match self.return_documents {
                    Some(true) => wrapped(text),
                    _ => json!({}),
                }),
                "usage": usage,
            }),
        };
        if let (UsageMode::Missing, Some(answer)) = (mode, answer.as_object_mut()) {
            answer.remove("usage");
            answer.remove("meta");
        }
        answer
    }
}
