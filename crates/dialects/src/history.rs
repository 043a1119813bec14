//! What came before in a conversation, as items of the Responses grammar: sessions keep those. They are put before the turns
//! of a request in any format, and read from its new turns and from its answer.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use conversation::answer::ReadAnswer;
use conversation::request::{Addressed, Request};
use conversation::target::TargetModel;
use domain::limits::ANSWER_BYTES_MAX;
use domain::prompt::{Content, Part, Role, Turn};
use domain::{Abilities, Dialect, Event, Fault, FaultClass, Grammar, Operation, Prompt};
use framing::sse::read_event;
use http::HeaderMap;
use json::members::Members;
use json::{Cursor, JsonError, Kind, Span};

use crate::answer_path::AnswerPath;
use crate::registry::face;
use crate::translate::{decode_request, read_prompt, translate_request};
use crate::whole::read_events;

/// The roles of messages that come first in every request, and are sent with each.
const LEADING: [&str; 2] = ["system", "developer"];

/// The beta of threads in Messages, without its date.
const THREADS: &str = "message-threads";

/// A request with its history before its own turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuedRequest {
    pub body: Bytes,
    /// The request's own turns, as items.
    pub items: Vec<String>,
}

/// Whether a request may be part of a thread: its client names the beta.
pub fn names_threads(dialect: Dialect, headers: &HeaderMap) -> bool {
    let mut betas = headers.get_all("anthropic-beta").iter().filter_map(|betas| betas.to_str().ok());
    dialect == Dialect::Anthropic && betas.any(|betas| betas.contains(THREADS))
}

/// Where the turns of a request are.
#[derive(Debug, Default)]
struct Turns {
    /// The list's value.
    span: Span,
    /// Those that come before everything else, and the others.
    leading: Vec<Span>,
    others: Vec<Span>,
}

/// Puts items before the turns of a request.
///
/// # Errors
/// The request is invalid, or the history or its own turns have something that can't be carried over.
pub fn continue_request(
    grammar: Grammar,
    body: &Bytes,
    addressed: Option<&Addressed>,
    history: &[String],
) -> Result<ContinuedRequest, Box<Fault>> {
    let decode = |body: &Bytes| decode_request(grammar, Operation::Chat, body, addressed);
    let request = decode(body)?;
    if request.choices > 1 {
        let message = "A session supports only one answer per request, but the request asks for several.";
        return Err(Box::new(not_carried(message).fix("Request a single answer.")));
    }
    // A request without a list of turns is refused as it would be without a history.
    let Some(turns) = find_turns(grammar, body) else {
        read_prompt(grammar, body, &request)?;
        return Err(Box::new(not_carried("The request has no list of messages to continue.")));
    };
    let (before, earlier) = written_history(grammar, &request, history)?;
    let with = |others: &[Span]| {
        let pieces = turns.leading.iter().map(|span| span.of(body));
        let pieces = pieces.chain(before.iter().map(Vec::as_slice));
        let list = pieces.chain(others.iter().map(|span| span.of(body))).collect::<Vec<_>>().join(&b',');
        let (start, end) = (body.get(..turns.span.start), body.get(turns.span.end..));
        Bytes::from([start.unwrap_or_default(), b"[", &list, b"]", end.unwrap_or_default()].concat())
    };
    let continued = with(&turns.others);
    let prompt = read_prompt(grammar, &continued, &decode(&continued)?)?;
    let kept = if before.is_empty() {
        Vec::new()
    } else {
        let alone = with(&[]);
        read_prompt(grammar, &alone, &decode(&alone)?)?.turns
    };
    let new = new_turns(prompt.turns, &kept, &earlier);
    Ok(ContinuedRequest { body: continued, items: items_of(grammar, new)? })
}

/// The items of an answer, which is complete, as the client gets it. `None` for what is no answer.
pub fn answer_items(grammar: Grammar, body: &[u8]) -> Option<Vec<String>> {
    let (events, _) = read_events(grammar, body).ok()?;
    written_answer(grammar, events)
}

/// Reads an answer while it is streamed to a client, for its items.
#[derive(Debug)]
pub struct StreamedItems {
    grammar: Grammar,
    reader: Box<dyn ReadAnswer>,
    events: Vec<Event>,
    bytes: usize,
    is_broken: bool,
}

impl StreamedItems {
    pub fn new(grammar: Grammar) -> Self {
        Self { grammar, reader: face(grammar).reader(), events: Vec::new(), bytes: 0, is_broken: false }
    }

    /// Takes a whole event. Returns whether the answer is complete with it.
    pub fn push(&mut self, event: &[u8]) -> bool {
        self.bytes = self.bytes.saturating_add(event.len());
        if self.is_broken || self.is_over() {
            return self.is_over();
        }
        let read = read_event(event);
        let data = read.data.json(event);
        if data.trim_ascii().is_empty() {
            return false;
        }
        let taken = self.reader.event(read.name, &data, &mut self.events);
        self.is_broken = taken.is_err() || self.bytes > ANSWER_BYTES_MAX;
        !self.is_broken && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.events.last() == Some(&Event::Done)
    }

    /// The answer's items at the end of its stream; `None` if it broke off.
    pub fn finish(mut self) -> Option<Vec<String>> {
        if self.is_broken || (!self.is_over() && self.reader.end(&mut self.events).is_err()) {
            return None;
        }
        self.is_over().then(|| written_answer(self.grammar, self.events)).flatten()
    }
}

fn written_answer(grammar: Grammar, events: Vec<Event>) -> Option<Vec<String>> {
    let options = AnswerPath::chat(Grammar::Responses, grammar).options();
    let answer = face(Grammar::Responses).writer(options).write_buffered(events);
    list_in(&answer, "output")
}

/// A history in two forms: each of its turns in the request's format, and all of them in ours.
type History = (Vec<Vec<u8>>, Vec<Turn>);

fn written_history(grammar: Grammar, request: &Request, history: &[String]) -> Result<History, Box<Fault>> {
    if history.is_empty() {
        return Ok(History::default());
    }
    let list = face(Grammar::Responses).facts().turns.list;
    let body = Bytes::from(format!(r#"{{"model":"m","{list}":[{}]}}"#, history.join(",")));
    let read = decode_request(Grammar::Responses, Operation::Chat, &body, None)
        .and_then(|request| read_prompt(Grammar::Responses, &body, &request));
    let mut prompt = read.map_err(|fault| not_readable(&fault))?;
    if let Some(extra) = prompt.extras.iter().find(|extra| extra.affects_answer) {
        return Err(Box::new(not_carried(format!(
            "The session's history contains \"{}\", which this format can't carry.",
            extra.name
        ))));
    }
    // Instructions are in another member where a format has one, and the request's own go there.
    let instructions = std::mem::take(&mut prompt.instructions).into_iter().map(|one| Turn {
        role: if one.is_developer { Role::Developer } else { Role::System },
        name: None,
        parts: vec![Part::of(Content::Text { text: one.text, citations: Vec::new() })],
    });
    let turns = plain(instructions.chain(prompt.turns).collect());
    let turns_alone = Prompt { turns: turns.clone(), ..Prompt::default() };
    let target = TargetModel { model: &request.model, abilities: Abilities::default() };
    let written = translate_request(Grammar::Responses, &turns_alone, grammar, &target, false);
    let written = written.map_err(|fault| not_readable(&fault))?;
    let found = find_turns(grammar, &written.body).unwrap_or_default();
    let spans = found.leading.iter().chain(&found.others);
    Ok((spans.map(|span| span.of(&written.body).to_vec()).collect(), turns))
}

/// The turns that follow `kept`, with the ids that calls have in `earlier`: a format without ids makes up others.
fn new_turns(all: Vec<Turn>, kept: &[Turn], earlier: &[Turn]) -> Vec<Turn> {
    let ids = |turns: &[Turn]| -> Vec<String> {
        let parts = turns.iter().flat_map(|turn| &turn.parts);
        let calls = parts.filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        });
        calls.collect()
    };
    let own: HashMap<String, String> = ids(kept).into_iter().zip(ids(earlier)).collect();
    let mut new = Vec::new();
    for (number, mut turn) in all.into_iter().enumerate() {
        // The first new parts may have joined the last turn that was there.
        let known = kept.get(number).map_or(0, |turn| turn.parts.len());
        turn.parts.drain(..known.min(turn.parts.len()));
        for part in &mut turn.parts {
            if let Content::ToolResult(result) = &mut part.content
                && let Some(id) = own.get(&result.id)
            {
                result.id.clone_from(id);
            }
        }
        if !turn.parts.is_empty() {
            new.push(turn);
        }
    }
    plain(new)
}

/// Without what holds for one provider or request: thoughts, and marks of caches.
fn plain(mut turns: Vec<Turn>) -> Vec<Turn> {
    for turn in &mut turns {
        turn.parts.retain(|part| !matches!(part.content, Content::Thought(_)));
        turn.parts.iter_mut().for_each(|part| part.cache = None);
    }
    turns.retain(|turn| !turn.parts.is_empty());
    turns
}

fn items_of(grammar: Grammar, turns: Vec<Turn>) -> Result<Vec<String>, Box<Fault>> {
    let prompt = Prompt { turns, ..Prompt::default() };
    let target = TargetModel { model: "m", abilities: Abilities::default() };
    let written = translate_request(grammar, &prompt, Grammar::Responses, &target, false)?;
    Ok(list_in(&written.body, face(Grammar::Responses).facts().turns.list).unwrap_or_default())
}

fn list_in(document: &[u8], name: &str) -> Option<Vec<String>> {
    let members = Members::of_answer(document)?;
    let elements = members.find_elements(name).into_iter();
    Some(elements.map(|element| String::from_utf8_lossy(element).into_owned()).collect())
}

/// `None` where there is no list, or more than one.
fn find_turns(grammar: Grammar, body: &[u8]) -> Option<Turns> {
    let name = face(grammar).facts().turns.list;
    let (mut found, mut lists) = (None, 0);
    let mut cursor = Cursor::new(body).ok()?;
    cursor
        .object(|cursor, member| {
            if !member.key.is(name) {
                return cursor.ignore();
            }
            lists += 1;
            if cursor.kind()? != Kind::Array {
                return cursor.ignore();
            }
            let mut spans = Vec::new();
            let span = cursor.array(|cursor, _| {
                spans.push(cursor.skip()?);
                Ok::<_, JsonError>(())
            })?;
            found = Some((span, spans));
            Ok(())
        })
        .ok()?;
    let (span, spans) = found.filter(|_| lists == 1)?;
    let leads = spans.iter().take_while(|turn| is_leading(turn.of(body))).count();
    let (leading, others) = spans.split_at_checked(leads)?;
    Some(Turns { span, leading: leading.to_vec(), others: others.to_vec() })
}

fn is_leading(turn: &[u8]) -> bool {
    let members = Members::of_answer(turn);
    members.and_then(|turn| turn.find_text("role")).is_some_and(|role| LEADING.contains(&&*role))
}

fn not_carried(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultClass::BadRequest, "history_not_carried", message).param("Agent-Session-History").fix(
        "Continue the session with POST /v2/responses, or send the whole conversation without this header.",
    )
}

/// Where it is in the history is of no use to a client that did not send it, so the whole sentence is told.
fn not_readable(fault: &Fault) -> Box<Fault> {
    let message = format!("The session's history can't be sent in this format: {}", fault.message);
    Box::new(not_carried(message))
}
