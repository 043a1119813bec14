//! `/v2/requests/{id}/content`: what a request said and what it was answered, where its project kept that. Each opening is
//! recorded in the audit, whoever opens.

use std::sync::Arc;

use api::access::Access;
use api::auditing::record_act;
use api::failure::{content_unreadable, not_found};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::KeptBody;
use domain::{Dialect, Fault, FaultClass, Grammar, MeterRecord, Operation, TraceId, TraceMode};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sessions::{KeptContent, open_content};
use transcripts::{RequestContentRow, RequestContents};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/requests/{id}/content", Access::DEVELOP, get)
            .says("Shows the content of a request and its answer, if its project kept it. The audit log records who opened it.")
            .returns_value::<ContentView>()
            .refuses(404, "content_not_kept"),
    ]
}

/// The content of a request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RequestContent")]
struct ContentView {
    object: &'static str,
    request_id: String,
    project_id: String,
    #[schemars(extend("enum" = TraceMode::WORDS))]
    trace_mode: &'static str,
    dialect: String,
    operation: String,
    status: u16,
    /// The answer came to its end, and its client read it.
    complete: bool,
    kept_at: Moment,
    expires_at: Moment,
    /// As policies left it. Where the shape alone is kept, each text is its length and a keyed hash.
    request: BodyView,
    /// `null` where the shape alone is kept.
    answer: Option<BodyView>,
    /// A conversation in the chat format, whatever its dialect, with its answer as the last message; `null` for others.
    messages: Option<Vec<Value>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptBody")]
struct BodyView {
    media_type: String,
    /// Of all of it.
    bytes: u64,
    /// Not all of it is kept.
    truncated: bool,
    /// JSON, or text; `null` for other bytes.
    content: Option<Value>,
    content_base64: Option<String>,
}

fn body(kept: &KeptBody) -> BodyView {
    let json = serde_json::from_slice::<Value>(&kept.bytes).ok();
    let text = || String::from_utf8(kept.bytes.to_vec()).ok().map(Value::String);
    let content = json.or_else(text);
    BodyView {
        media_type: kept.media_type.clone(),
        bytes: kept.length,
        truncated: kept.length > kept.bytes.len() as u64,
        content_base64: content.is_none().then(|| STANDARD.encode(&kept.bytes)),
        content,
    }
}

/// A kept conversation in the chat format.
pub struct Conversation {
    /// The request's document.
    pub request: Value,
    /// The message of the answer; `None` where that is an error, or not whole.
    pub answer: Option<Value>,
}

impl Conversation {
    /// `None` where only its shape is kept, or not all of it, and for what is no conversation.
    pub fn of(content: &KeptContent, model: &str) -> Option<Self> {
        let is_whole = content.sent.length == content.sent.bytes.len() as u64;
        let is_kept = content.mode == TraceMode::FullFidelity && is_whole;
        let dialect =
            dialect(content).filter(|_| is_kept && content.operation == Operation::Chat.as_str())?;
        // A run's is that of the chat completion that serves it.
        let grammar = dialect.grammar();
        let request = dialects::request_as_chat(grammar, &content.sent.bytes, model)?;
        let request: Value = serde_json::from_slice(&request).ok()?;
        request.get("messages")?.as_array()?;
        Some(Self { request, answer: answer_message(grammar, content) })
    }

    /// With the answer as the last message.
    pub fn messages(&self) -> Vec<Value> {
        let sent = self.request.get("messages").and_then(Value::as_array);
        sent.into_iter().flatten().chain(&self.answer).cloned().collect()
    }
}

/// A kept request for another model: as it was, where its dialect names the model in its body, and else as a chat completion. `None`
/// for a turn of a conversation that a provider keeps.
pub fn resent(
    content: &KeptContent,
    conversation: &Conversation,
    model: &str,
    streams: bool,
) -> Option<(Dialect, Value)> {
    let sent: Value = serde_json::from_slice(&content.sent.bytes).ok()?;
    let names_model = sent.get("model").is_some_and(Value::is_string);
    let (dialect, mut body) = match dialect(content).filter(|_| names_model) {
        Some(dialect) => (dialect.grammar().dialect(), sent),
        None => (Dialect::Chat, conversation.request.clone()),
    };
    let fields = body.as_object_mut()?;
    fields.insert("model".to_owned(), Value::from(model));
    fields.remove("background");
    if !streams {
        fields.retain(|name, _| !["stream", "stream_options"].contains(&name.as_str()));
    }
    // A comparison leaves nothing behind: neither a stored answer, nor a turn in the conversation that the first was of.
    if fields.get("conversation").is_some_and(|named| !named.is_null()) {
        return None;
    }
    if let Some((store, _)) = dialects::face(dialect.grammar()).facts().parameters.store {
        fields.insert(store.to_owned(), Value::from(false));
    }
    Some((dialect, body))
}

/// The dialect that a content is in.
pub fn dialect(content: &KeptContent) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == content.dialect)
}

fn answer_message(grammar: Grammar, content: &KeptContent) -> Option<Value> {
    let is_kept = content.answer.length == content.answer.bytes.len() as u64 && content.status < 400;
    let answer = is_kept.then(|| dialects::answer_as_chat(grammar, &content.answer.bytes)).flatten()?;
    message_of(&answer)
}

/// The message of a chat completion.
pub fn message_of(completion: &[u8]) -> Option<Value> {
    let mut completion: Value = serde_json::from_slice(completion).ok()?;
    let mut message = completion.get_mut("choices")?.get_mut(0)?.get_mut("message")?.take();
    if let Some(fields) = message.as_object_mut() {
        // A refusal that is none is nothing to train on; a call without words says so.
        fields.retain(|name, value| name == "content" || !value.is_null());
    }
    Some(message)
}

/// The content of a request, opened.
///
/// # Errors
/// 404 where none is kept; the database does not answer.
pub async fn opened(
    control: &Control,
    request: &ApiRequest,
    record: &MeterRecord,
) -> Result<KeptContent, Box<Fault>> {
    let contents = RequestContents::of(control.deps.store.database());
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let found = contents.get(request.workspace(), record.trace, now_unix_ms).await.map_err(of_store)?;
    open(control, request, &found.ok_or_else(|| not_kept(record.trace))?)
}

/// Opens a content that was found.
///
/// # Errors
/// It was changed, or its key is not here.
pub fn open(
    control: &Control,
    request: &ApiRequest,
    row: &RequestContentRow,
) -> Result<KeptContent, Box<Fault>> {
    open_content(&control.deps.vault, request.workspace(), row).map_err(|_| content_unreadable())
}

fn not_kept(request: TraceId) -> Box<Fault> {
    let message = format!(
        "No content of the request {request} is stored: it was never stored, or its retention has ended."
    );
    let fault = Fault::new(FaultClass::NotFound, "content_not_kept", message);
    Box::new(fault.fix("What a project keeps of its requests is set at /v2/retention-profile."))
}

/// The record of a request, where the caller may see it.
///
/// # Errors
/// 404, or the database does not answer.
pub async fn record_of(control: &Control, request: &ApiRequest) -> Result<MeterRecord, Box<Fault>> {
    let id: TraceId = request.id("request")?;
    let record = control.deps.store.records().request(request.workspace(), id).await.map_err(of_store)?;
    match request.confined_to() {
        Some(own) if own != record.project => Err(not_found("request", &id.to_string())),
        _ => Ok(record),
    }
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let record = record_of(control, &request).await?;
    let content = opened(control, &request, &record).await?;
    let mode = content.mode.as_str();
    record_act(control, &request, "content.open", &record.trace.to_string(), mode).await?;
    Reply::json(&view(&record, &content))
}

fn view(record: &MeterRecord, content: &KeptContent) -> ContentView {
    let is_full = content.mode == TraceMode::FullFidelity;
    ContentView {
        object: "request_content",
        request_id: record.trace.to_string(),
        project_id: record.project.to_string(),
        trace_mode: content.mode.as_str(),
        dialect: content.dialect.clone(),
        operation: content.operation.clone(),
        status: content.status,
        complete: content.is_whole,
        kept_at: Moment(content.kept_unix_ms),
        expires_at: Moment(content.until_unix_ms),
        request: body(&content.sent),
        answer: is_full.then(|| body(&content.answer)),
        messages: Conversation::of(content, &record.requested_model).map(|one| one.messages()),
    }
}
