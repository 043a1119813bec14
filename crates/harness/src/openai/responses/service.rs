//! The endpoints below `/v1/responses`.

use serde_json::{Value, json};

use super::answer::Response;
use super::order::Known;
use super::request::{self, ResponsesRequest};
use super::store::{Kept, Owner, Stage};
use super::stream;
use crate::emulator::answering::{bill, buffered, reply, special_as, streamed};
use crate::emulator::service::{Answer, json_answer};
use crate::emulator::state::lock;
use crate::emulator::{Behaviour, Part};
use crate::openai::error::ApiError;
use crate::openai::files;
use crate::openai::routes::OpenAiCall;
use crate::openai::tokens;

/// A page of input items, unless the client wants another size.
const PAGE: usize = 20;

pub(crate) async fn create(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let mut request = read(call)?;
    let chat = &request.chat;
    let behaviour = call.begin(&chat.model, chat.stream, chat.script.as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let cache = call.flavour.cache(call.key, &call.head.headers, &fields);
    let reply = reply(call, &mut request.chat, &cache, &behaviour)?;
    let response = Response::new(call.number(), &request, reply, &behaviour, &call.shared.sealer);
    let later = request.background && !request.chat.stream;
    if request.store {
        keep(call, &request, &response, if later { Stage::Queued } else { Stage::Done });
    }
    if later {
        return Ok(json_answer(200, Vec::new(), &response.open("queued")));
    }
    bill(call.guard, &response.reply);
    if request.background {
        // It is made to the end, whether somebody watches or not.
        said(call, &response);
        let parts = stream::parts(&response, request.obfuscated, &behaviour);
        return streamed(unbilled(parts), &behaviour);
    }
    answered(&request, &response, &behaviour)
}

/// All of the answer is generated with this call, however much of it is sent.
fn said(call: &OpenAiCall<'_>, response: &Response) {
    call.guard.note(|entry| entry.said_tokens += response.reply.completion_tokens);
}

fn unbilled(parts: Vec<Part>) -> Vec<Part> {
    parts.into_iter().map(|part| Part { tokens: 0, ..part }).collect()
}

fn owner<'a>(call: &OpenAiCall<'a>) -> Owner<'a> {
    Owner { flavour: call.flavour, key: call.key }
}

fn read(call: &OpenAiCall<'_>) -> Result<ResponsesRequest, ApiError> {
    let store = lock(&call.shared.responses);
    let known =
        Known { owner: owner(call), flavour: call.flavour, sealer: &call.shared.sealer, store: &store };
    let fields = call.fields()?;
    let request = request::read(&fields, call.served(), &known)?;
    files::check_named(call, &fields)?;
    Ok(request)
}

fn answered(
    request: &ResponsesRequest,
    response: &Response,
    behaviour: &Behaviour,
) -> Result<Answer, ApiError> {
    if request.chat.stream == behaviour.wrong_form {
        let body = response.ended(&response.output());
        return buffered(&body, response.reply.completion_tokens, behaviour);
    }
    streamed(stream::parts(response, request.obfuscated, behaviour), behaviour)
}

fn keep(call: &OpenAiCall<'_>, request: &ResponsesRequest, response: &Response, stage: Stage) {
    let number = call.number();
    let named = |(at, item): (usize, &Value)| {
        let mut item = item.clone();
        if let Some(fields) = item.as_object_mut() {
            let prefix = match fields.get("type").and_then(Value::as_str) {
                Some("function_call" | "function_call_output") => "fc",
                Some("custom_tool_call" | "custom_tool_call_output") => "ctc",
                Some("reasoning") => "rs",
                _ => "msg",
            };
            fields.entry("id").or_insert_with(|| Value::from(format!("{prefix}_input{number:012}{at:04}")));
        }
        item
    };
    let kept = Kept {
        flavour: call.flavour,
        key: call.key.to_owned(),
        response: response.clone(),
        stage,
        streamed: request.chat.stream.then_some(request.obfuscated),
        input: request.input.iter().enumerate().map(named).collect(),
        previous: request.previous.clone(),
    };
    lock(&call.shared.responses).keep(kept);
}

/// `POST /v1/responses/input_tokens`: what a request would cost before it is answered.
pub(crate) fn input_tokens(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let request = read(call)?;
    let tokens = tokens::prompt(&request.chat.messages, &request.chat.tools).tokens;
    let body = json!({"object": "response.input_tokens", "input_tokens": tokens});
    Ok(json_answer(200, Vec::new(), &body))
}

/// A look at a kept answer. The look that finds it completed is the one that generation is counted with: a
/// background answer that nobody asks for is never made.
pub(crate) fn get(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let query = call.head.uri.query().unwrap_or_default();
    if let Some(after) = Watched::read(query)? {
        return watch(call, id, &after);
    }
    let mut store = lock(&call.shared.responses);
    let (kept, completed) = store.poll(owner(call), id)?;
    if completed {
        bill(call.guard, &kept.response.reply);
        said(call, &kept.response);
        call.guard.note(|entry| entry.model = Some(kept.response.reply.model.clone()));
    }
    Ok(json_answer(200, Vec::new(), &kept.shown()))
}

/// The events of a background answer again, from one on.
fn watch(call: &OpenAiCall<'_>, id: &str, watched: &Watched) -> Result<Answer, ApiError> {
    let store = lock(&call.shared.responses);
    let kept = store.find(owner(call), id)?;
    let Some(obfuscated) = kept.streamed.filter(|_| kept.response.background) else {
        // The words are our own: only that it is refused is documented.
        let message = "Only a background response that was created with stream=true can be streamed.";
        return Err(ApiError::bad(message).param("stream"));
    };
    call.guard.note(|entry| entry.stream = true);
    let behaviour = Behaviour::ok();
    let parts = stream::parts(&kept.response, watched.obfuscated.unwrap_or(obfuscated), &behaviour);
    let rest = parts.into_iter().skip(watched.after.map_or(0, |after| after + 1)).collect();
    streamed(unbilled(rest), &behaviour)
}

/// From where on an answer is watched.
#[derive(Default)]
struct Watched {
    after: Option<usize>,
    obfuscated: Option<bool>,
}

impl Watched {
    /// `None` where a look is wanted and no stream.
    fn read(query: &str) -> Result<Option<Self>, ApiError> {
        let (mut watched, mut wanted) = (Self::default(), false);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value) {
                ("stream", "true") => wanted = true,
                ("stream", "false") => {}
                ("stream", other) => return Err(ApiError::wrong_value("stream", other, &["true", "false"])),
                ("starting_after", number) => {
                    let number = number.parse().map_err(|_| {
                        ApiError::bad("Invalid 'starting_after': expected an integer.")
                            .param("starting_after")
                    })?;
                    watched.after = Some(number);
                }
                ("include_obfuscation", truth) => watched.obfuscated = Some(truth == "true"),
                _ => {}
            }
        }
        Ok(wanted.then_some(watched))
    }
}

pub(crate) fn delete(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    lock(&call.shared.responses).delete(owner(call), id)?;
    Ok(json_answer(200, Vec::new(), &json!({"id": id, "object": "response", "deleted": true})))
}

pub(crate) fn cancel(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let mut store = lock(&call.shared.responses);
    let kept = store.cancel(owner(call), id)?;
    Ok(json_answer(200, Vec::new(), &kept.shown()))
}

/// The items of the call itself, newest first unless asked otherwise.
pub(crate) fn input_items(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let page = Page::read(call.head.uri.query().unwrap_or_default())?;
    let store = lock(&call.shared.responses);
    let mut items = store.find(owner(call), id)?.input.clone();
    if !page.ascending {
        items.reverse();
    }
    let item_id = |item: &Value| item.get("id").cloned().unwrap_or_default();
    if let Some(after) = page.after {
        let at = items.iter().position(|item| item_id(item) == after.as_str());
        let at = at.ok_or_else(|| ApiError::bad(format!("No item with id '{after}'.")).param("after"))?;
        items.drain(..=at);
    }
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let body = json!({
        "object": "list",
        "first_id": items.first().map(item_id),
        "last_id": items.last().map(item_id),
        "has_more": more,
        "data": items,
    });
    Ok(json_answer(200, Vec::new(), &body))
}

struct Page {
    after: Option<String>,
    ascending: bool,
    limit: usize,
}

impl Page {
    fn read(query: &str) -> Result<Self, ApiError> {
        let mut page = Self { after: None, ascending: false, limit: PAGE };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value) {
                ("after", id) => page.after = Some(id.to_owned()),
                ("order", "asc") => page.ascending = true,
                ("order", "desc") => {}
                ("order", other) => return Err(ApiError::wrong_value("order", other, &["asc", "desc"])),
                ("limit", number) => match number.parse() {
                    Ok(limit @ 1..=100) => page.limit = limit,
                    _ => return Err(ApiError::bad("Invalid 'limit': expected 1 to 100.").param("limit")),
                },
                _ => {}
            }
        }
        Ok(page)
    }
}

impl Kept {
    /// The object as a look at it shows it.
    fn shown(&self) -> Value {
        match self.stage {
            Stage::Queued => self.response.open("queued"),
            Stage::InProgress => self.response.open("in_progress"),
            Stage::Cancelled => self.response.open("cancelled"),
            Stage::Done => self.response.ended(&self.response.output()),
        }
    }
}
