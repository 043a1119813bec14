//! Turns a parsed request and a behaviour into a response's head and steps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{self, Plan};
use super::caches::Cached;
use super::content::Content;
use super::error::ApiError;
use super::models::{Abilities, abilities};
use super::options;
use super::prompt::{self, Counted, ModalityTokens};
use super::request::GenerateRequest;
use super::service::{Admitted, check_turns, error_answer, json, to_json};
use super::stream::{self, Form};
use crate::emulator::answering::{buffered, head, played, special};
use crate::emulator::service::{Answer, before_head, behaviour, unix_seconds};
use crate::emulator::{Behaviour, Model, UsageMode};
use crate::openai::answer::{Circumstances, Reply, compose};

const TIER_HEADER: &str = "x-gemini-service-tier";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CountRequest {
    contents: Vec<Content>,
    generate_content_request: Option<GenerateRequest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<u64>,
    prompt_tokens_details: Vec<ModalityTokens>,
}

/// A request that passed every check, merged with its cached content.
struct Checked {
    contents: Vec<Content>,
    counted: Counted,
    cached: Option<Cached>,
    abilities: Abilities,
}

pub(crate) fn count(call: &Admitted<'_>, model: &Model, request: CountRequest) -> Result<Answer, ApiError> {
    let request = match (request.generate_content_request, request.contents) {
        (Some(_), contents) if !contents.is_empty() => {
            return Err(ApiError::invalid("Only one of contents and generate_content_request can be set."));
        }
        (Some(inner), _) => inner,
        (None, contents) => GenerateRequest { contents, ..GenerateRequest::default() },
    };
    let checked = check_request(call, model, &request)?;
    json(&Count {
        total_tokens: checked.counted.prompt.tokens,
        cached_content_token_count: checked.cached.map(|cached| cached.tokens),
        prompt_tokens_details: checked.counted.details(),
    })
}

pub(crate) async fn embed(
    call: &Admitted<'_>,
    prompt_tokens: u64,
    body: impl FnOnce(bool) -> Result<Value, ApiError>,
) -> Result<Answer, ApiError> {
    let behaviour = script_behaviour(call, None)?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = canned_answer(call, &behaviour, false)? {
        return Ok(answer);
    }
    call.guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = prompt_tokens;
    });
    buffered(&body(behaviour.usage != UsageMode::Missing)?, 0, &behaviour)
        .map_err(|error| broken(&error.message))
}

pub(crate) async fn generate(
    call: &Admitted<'_>,
    model: &Model,
    request: &GenerateRequest,
    streamed: Option<Form>,
) -> Result<Answer, ApiError> {
    let checked = check_request(call, model, request)?;
    call.shared.gemini.check_signatures(&model.id, checked.abilities, &checked.contents)?;
    let behaviour = script_behaviour(call, request.script())?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = canned_answer(call, &behaviour, streamed.is_some())? {
        return Ok(answer);
    }
    check_limits(model, request, checked.counted.prompt.tokens)?;
    let reply = reply(call, model, request, &checked, &behaviour);
    let mut response_id = String::new();
    call.guard.note(|entry| {
        response_id = format!("emulator{:014}", entry.id);
        entry.billable = true;
        entry.prompt_tokens = reply.prompt_tokens;
        entry.cached_tokens = reply.cached_tokens;
    });
    let plan = plan(call, model, request, &checked, &reply, behaviour.usage, response_id);
    let mut answer = put(&plan, &behaviour, streamed)?;
    // A script may report a downgraded tier; it is inserted last and takes precedence.
    let tier = request.service_tier.as_deref().filter(|tier| *tier != "UNSPECIFIED").unwrap_or("STANDARD");
    answer.headers.insert(0, (TIER_HEADER.to_owned(), tier.to_ascii_lowercase()));
    Ok(answer)
}

/// The result of one request of a batch: only its own script applies.
pub(crate) fn item(
    call: &Admitted<'_>,
    model: &Model,
    request: &GenerateRequest,
    at: usize,
) -> Result<Value, ApiError> {
    let checked = check_request(call, model, request)?;
    call.shared.gemini.check_signatures(&model.id, checked.abilities, &checked.contents)?;
    let script = request.script().map(Behaviour::parse).transpose();
    let behaviour =
        script.map_err(|error| ApiError::invalid(error.to_string()))?.unwrap_or_else(Behaviour::ok);
    if let Some(status) = behaviour.status {
        return Err(ApiError::scripted(status, &behaviour));
    }
    check_limits(model, request, checked.counted.prompt.tokens)?;
    let reply = reply(call, model, request, &checked, &behaviour);
    let mut response_id = String::new();
    call.guard.note(|entry| response_id = format!("emulator{:014}b{at}", entry.id));
    let plan = plan(call, model, request, &checked, &reply, behaviour.usage, response_id);
    let blocked = behaviour.refusal.then(|| answer::blocked_response(&plan, behaviour.code.as_deref()));
    to_json(&blocked.unwrap_or_else(|| plan.whole()))
}

fn plan<'a>(
    call: &'a Admitted<'_>,
    model: &'a Model,
    request: &GenerateRequest,
    checked: &Checked,
    reply: &'a Reply,
    usage: UsageMode,
    response_id: String,
) -> Plan<'a> {
    Plan {
        reply,
        prompt_details: checked.counted.details(),
        include_thoughts: request.include_thoughts(),
        logprobs: request.generation_config.response_logprobs,
        signer: checked.abilities.signs.then_some(&call.shared.gemini.signer),
        model: &model.id,
        usage,
        response_id,
    }
}

fn check_request(call: &Admitted<'_>, model: &Model, request: &GenerateRequest) -> Result<Checked, ApiError> {
    let named = request.model.as_deref().map(|name| name.strip_prefix("models/").unwrap_or(name));
    if named.is_some_and(|named| named != model.id) {
        return Err(ApiError::at("model", "the model must be the one in the path"));
    }
    let abilities = abilities(&model.id);
    check_turns(request)?;
    options::check(request, abilities)?;
    let cached = call.shared.gemini.caches.lookup(&call.key, &model.id, request)?;
    let before = cached.as_ref().map(|cached| cached.contents.clone()).unwrap_or_default();
    let contents: Vec<Content> = before.into_iter().chain(request.contents.iter().cloned()).collect();
    let counted = match &cached {
        Some(cached) => prompt::count(&cached.tools, cached.system_instruction.as_ref(), &contents),
        None => prompt::count(&request.tools, request.system_instruction.as_ref(), &contents),
    };
    Ok(Checked { contents, counted, cached, abilities })
}

fn check_limits(model: &Model, request: &GenerateRequest, prompt_tokens: u64) -> Result<(), ApiError> {
    let limit = model.context_tokens_max;
    let wanted = request.generation_config.max_output_tokens.and_then(|tokens| u64::try_from(tokens).ok());
    if prompt_tokens > limit {
        return Err(ApiError::invalid(format!(
            "The input token count ({prompt_tokens}) exceeds the maximum number of tokens allowed ({limit})."
        )));
    }
    // Gemini caps the output at the remaining context; only a limit above the whole context window is
    // rejected.
    if wanted.is_some_and(|wanted| wanted > limit) {
        return Err(ApiError::at("generation_config.max_output_tokens", "exceeds what the model can say"));
    }
    Ok(())
}

/// The generated response, from the emulator's shared generator.
fn reply(
    call: &Admitted<'_>,
    model: &Model,
    request: &GenerateRequest,
    checked: &Checked,
    behaviour: &Behaviour,
) -> Reply {
    let tools = match &checked.cached {
        Some(cached) => (cached.tools.as_slice(), cached.tool_config.as_ref()),
        None => (request.tools.as_slice(), request.tool_config.as_ref()),
    };
    let question = prompt::question(request, &checked.contents, tools, &model.id, checked.abilities);
    let implicit = call.shared.remember(&call.key, &model.id, &checked.counted.prompt);
    let long_enough = checked.abilities.cache_tokens_min.is_some_and(|tokens| implicit >= tokens)
        && !call.shared.config.gemini_forgets;
    let explicit = checked.cached.as_ref().map(|cached| cached.tokens);
    let known = Circumstances {
        number: call.guard.number(),
        created: unix_seconds(),
        prompt_tokens: checked.counted.prompt.tokens,
        cached_tokens: explicit.unwrap_or(if long_enough { implicit } else { 0 }),
    };
    let mut behaviour = answer::behaviour(behaviour);
    let config = &request.generation_config;
    if config.wants_enum() && behaviour.text.is_none() {
        let schema = config.schema().unwrap_or_default();
        behaviour.text = schema.pointer("/enum/0").and_then(Value::as_str).map(str::to_owned);
    }
    let mut reply = compose(&question, &behaviour, &known);
    if behaviour.refusal {
        reply.choices.clear();
        reply.reasoning_tokens = 0;
        reply.completion_tokens = 0;
    }
    reply
}

fn put(plan: &Plan<'_>, behaviour: &Behaviour, streamed: Option<Form>) -> Result<Answer, ApiError> {
    let blocked = behaviour.refusal.then(|| answer::blocked_response(plan, behaviour.code.as_deref()));
    let form = match (streamed, behaviour.wrong_form) {
        (form, false) => form,
        (Some(_), true) => None,
        (None, true) => Some(Form::Events),
    };
    let Some(form) = form else {
        let body = to_json(&blocked.unwrap_or_else(|| plan.whole()))?;
        return buffered(&body, plan.reply.completion_tokens, behaviour)
            .map_err(|error| broken(&error.message));
    };
    let parts = match blocked {
        Some(blocked) => stream::single(&to_json(&blocked)?.to_string(), behaviour, form),
        None => stream::parts(plan, behaviour, form),
    };
    let media = match form {
        Form::Events => "text/event-stream",
        Form::Array => "application/json; charset=UTF-8",
    };
    played(parts, head(media, behaviour), behaviour).map_err(|error| broken(&error.message))
}

fn script_behaviour(call: &Admitted<'_>, script: Option<&str>) -> Result<Behaviour, ApiError> {
    behaviour(call.shared, &call.key, script).map_err(|error| ApiError::invalid(error.message))
}

/// Responses that do not depend on the request; a bare status gets Gemini's error envelope.
fn canned_answer(
    call: &Admitted<'_>,
    behaviour: &Behaviour,
    streamed: bool,
) -> Result<Option<Answer>, ApiError> {
    match behaviour.own_status() {
        Some(status) => {
            let mut answer = error_answer(call.guard, &ApiError::scripted(status, behaviour), streamed);
            let named = behaviour.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
            answer.headers.extend(named);
            Ok(Some(answer))
        }
        None => special(call.guard, behaviour).map_err(|error| broken(&error.message)),
    }
}

fn broken(why: &str) -> ApiError {
    ApiError::internal(why)
}
