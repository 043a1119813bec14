//! `POST /v1/completions`, the legacy completions endpoint: continues a prompt.

use serde_json::{Map, Value, json};

use super::answer::{Circumstances, Reply, compose};
use super::checks::{self, Shape, Shape::*};
use super::error::ApiError;
use super::flavour::Flavour;
use super::request::{self, ChatRequest, flag, is_given, named_model, script};
use super::routes::OpenAiCall;
use super::usage::usage;
use super::{perf, stream, tokens};
use crate::emulator::answering::{bill, buffered, special_as, streamed};
use crate::emulator::frames::{self, Event};
use crate::emulator::service::{Answer, unix_seconds};
use crate::emulator::{Behaviour, Kind, Part, PartRole, UsageMode};
use crate::members::put;

/// The default output limit.
const TOKENS_MAX: u64 = 16;
const PROMPTS_MAX: usize = 2048;

#[rustfmt::skip]
const FIELDS: &[(&str, Shape)] = &[
    ("model", Text), ("prompt", TextOrList), ("best_of", Integer(1, 20)), ("echo", Flag),
    ("frequency_penalty", Decimal(-2.0, 2.0)), ("logit_bias", Object), ("logprobs", Integer(0, 5)),
    ("max_tokens", Integer(0, i64::MAX)), ("n", Integer(1, 128)), ("presence_penalty", Decimal(-2.0, 2.0)),
    ("seed", Integer(-i64::MAX, i64::MAX)), ("stop", TextOrList), ("stream", Flag),
    ("stream_options", Object), ("suffix", Text), ("temperature", Decimal(0.0, 2.0)),
    ("top_p", Decimal(0.0, 1.0)), ("user", Text),
];

/// A request that passed every check: one chat request per prompt, since a continuation is generated as a
/// response to it.
struct Completions {
    chats: Vec<ChatRequest>,
    prompts: Vec<String>,
    prompt_tokens: u64,
    echo: bool,
    logprobs: bool,
    include_usage: bool,
}

pub(crate) async fn answer(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let wanted = read(call, &fields)?;
    let first = wanted.chats.first().cloned().unwrap_or_default();
    let behaviour = call.begin(&first.model, first.stream, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let reply = wanted.reply(call.number(), &behaviour);
    bill(call.guard, &reply);
    if first.stream == behaviour.wrong_form {
        let mut answer =
            buffered(&wanted.whole(&reply, behaviour.usage), reply.completion_tokens, &behaviour)?;
        answer.headers.extend(perf::headers(&reply));
        return Ok(answer);
    }
    streamed(wanted.parts(&reply, &behaviour), &behaviour)
}

fn read(call: &OpenAiCall<'_>, fields: &Map<String, Value>) -> Result<Completions, ApiError> {
    let served = call.served();
    let model = named_model(fields, served)?;
    // Fireworks accepts any chat model here.
    let fits = match call.flavour {
        Flavour::Fireworks => model.kind != Kind::Embedding,
        Flavour::OpenAi
        | Flavour::Azure
        | Flavour::Xai
        | Flavour::Mistral
        | Flavour::Together
        | Flavour::Server(_) => model.kind == Kind::Completion,
    };
    if !fits {
        return Err(ApiError::new(
            404,
            "invalid_request_error",
            "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use \
             v1/chat/completions?",
        )
        .param("model"));
    }
    let vendor: &[(&str, Shape)] =
        if call.flavour == Flavour::Fireworks { checks::CHAT_FIREWORKS } else { &[] };
    checks::fields(fields, &[FIELDS, vendor], served.also, |name| served.flavour.unknown_field(name))?;
    request::stream_options(fields)?;
    request::stops(fields)?;
    let count = fields.get("n").and_then(Value::as_u64).unwrap_or(1);
    if is_given(fields, "best_of") && fields.get("best_of").and_then(Value::as_u64) < Some(count) {
        return Err(ApiError::bad(
            "You requested that the server return more choices than it will generate (HINT: 'best_of' must be at \
             least 'n').",
        )
        .param("best_of"));
    }
    let (prompts, prompt_tokens) = prompts(fields.get("prompt"))?;
    let tokens_max = fields.get("max_tokens").and_then(Value::as_u64).unwrap_or(TOKENS_MAX);
    let chat = |prompt: &String| ChatRequest {
        flavour: call.flavour,
        model: model.id.clone(),
        messages: vec![json!({"role": "user", "content": prompt})],
        stream: flag(fields, "stream"),
        choices: usize::try_from(count).unwrap_or(1),
        tokens_max: Some(tokens_max),
        stop: request::stop_list(fields),
        service_tier: "default".to_owned(),
        ..ChatRequest::default()
    };
    Ok(Completions {
        chats: prompts.iter().map(chat).collect(),
        prompts,
        prompt_tokens,
        echo: flag(fields, "echo"),
        logprobs: is_given(fields, "logprobs"),
        include_usage: fields.get("stream_options").and_then(|options| options.get("include_usage"))
            == Some(&Value::Bool(true)),
    })
}

/// Each prompt as text, and the token count of all; token ids are not decoded.
fn prompts(prompt: Option<&Value>) -> Result<(Vec<String>, u64), ApiError> {
    let invalid = || ApiError::bad("'$.prompt' is invalid. Please check the API reference.").param("prompt");
    let prompt = prompt.ok_or_else(|| ApiError::missing("prompt"))?;
    let many = match prompt {
        Value::Array(list) if list.iter().all(Value::is_u64) => vec![prompt],
        Value::Array(list) => list.iter().collect(),
        other => vec![other],
    };
    if many.is_empty() || many.len() > PROMPTS_MAX {
        return Err(invalid());
    }
    let mut cost = 0;
    let mut texts = Vec::with_capacity(many.len());
    for one in many {
        let (text, tokens) = match one {
            Value::String(text) => (text.clone(), tokens::count(text)),
            Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
                (one.to_string(), ids.len() as u64)
            }
            _ => return Err(invalid()),
        };
        cost += tokens;
        texts.push(text);
    }
    Ok((texts, cost))
}

impl Completions {
    /// One reply over all prompts; its choices are in the order of the prompts.
    fn reply(&self, number: u64, behaviour: &Behaviour) -> Reply {
        let known = Circumstances {
            number,
            created: unix_seconds(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: 0,
        };
        let mut replies = self.chats.iter().map(|chat| compose(chat, behaviour, &known));
        let mut whole = replies.next().unwrap_or_else(|| compose(&ChatRequest::default(), behaviour, &known));
        for more in replies {
            whole.choices.extend(more.choices);
            whole.completion_tokens += more.completion_tokens;
        }
        whole.id = format!("cmpl-emulator{number:012}");
        whole
    }

    /// The prompt that a choice continues.
    fn prompt(&self, choice: usize) -> &str {
        let each = self.chats.first().map_or(1, |chat| chat.choices.max(1));
        self.prompts.get(choice / each).map_or("", String::as_str)
    }

    fn whole(&self, reply: &Reply, mode: UsageMode) -> Value {
        let choices: Vec<Value> = reply
            .choices
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                let generated = choice.pieces.concat();
                let text = if self.echo { format!("{}{generated}", self.prompt(index)) } else { generated };
                self.choice(index, &text, 0, Some(&choice.finish))
            })
            .collect();
        let mut body = head(reply, &Value::from(choices));
        if mode != UsageMode::Missing {
            put(&mut body, "usage", usage(reply, mode, reply.completion_tokens));
        }
        body
    }

    fn choice(&self, index: usize, text: &str, offset: usize, finish: Option<&str>) -> Value {
        let logprobs = if self.logprobs { logprobs(text, offset) } else { Value::Null };
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})
    }

    fn parts(&self, reply: &Reply, behaviour: &Behaviour) -> Vec<Part> {
        let mut events = Vec::new();
        for (index, choice) in reply.choices.iter().enumerate() {
            let mut offset = 0;
            if self.echo {
                let prompt = self.prompt(index);
                let chunk = self.choice(index, prompt, offset, None);
                events.push(self.event(reply, &chunk, 0, PartRole::Role));
                offset += prompt.chars().count();
            }
            for piece in &choice.pieces {
                let chunk = self.choice(index, piece, offset, None);
                events.push(self.event(reply, &chunk, tokens::count(piece), PartRole::Content));
                offset += piece.chars().count();
            }
            let chunk = self.choice(index, "", offset, Some(&choice.finish));
            events.push(self.event(reply, &chunk, 0, PartRole::Finish));
        }
        self.end(reply, behaviour, &mut events);
        frames::parts(events, behaviour, || stream::error_event(behaviour))
    }

    /// The end of a stream: usage where it is due, and the terminator.
    fn end(&self, reply: &Reply, behaviour: &Behaviour, events: &mut Vec<Event>) {
        let has_usage = match behaviour.usage {
            UsageMode::Normal | UsageMode::Zero => self.include_usage || reply.flavour == Flavour::Fireworks,
            UsageMode::Unasked => true,
            UsageMode::Missing | UsageMode::Joined | UsageMode::Every => false,
        };
        if has_usage {
            let mut chunk = head(reply, &json!([]));
            put(&mut chunk, "usage", usage(reply, behaviour.usage, reply.completion_tokens));
            events.push(Event { name: None, data: chunk.to_string(), tokens: 0, role: PartRole::Usage });
        }
        let done = || Event { name: None, data: "[DONE]".to_owned(), tokens: 0, role: PartRole::Done };
        let marks = usize::from(!behaviour.no_done) + usize::from(behaviour.doubled_done);
        events.extend(std::iter::repeat_with(done).take(marks));
    }

    fn event(&self, reply: &Reply, choice: &Value, tokens: u64, role: PartRole) -> Event {
        let mut chunk = head(reply, &json!([choice]));
        if self.include_usage {
            put(&mut chunk, "usage", Value::Null);
        }
        Event { name: None, data: chunk.to_string(), tokens, role }
    }
}

fn head(reply: &Reply, choices: &Value) -> Value {
    json!({
        "id": reply.id, "object": "text_completion", "created": reply.created, "model": reply.model,
        "choices": choices,
    })
}

/// The endpoint's own log probability format: parallel lists.
fn logprobs(text: &str, offset: usize) -> Value {
    let tokens: Vec<&str> = tokens::split(text).collect();
    let offsets: Vec<usize> = tokens
        .iter()
        .scan(offset, |at, token| {
            let here = *at;
            *at += token.chars().count();
            Some(here)
        })
        .collect();
    json!({
        "tokens": tokens, "token_logprobs": vec![-0.25; tokens.len()],
        "top_logprobs": tokens.iter().map(|token| json!({*token: -0.25})).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
