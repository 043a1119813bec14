//! Reads a buffered response at once, and produces what the client gets.

use std::collections::BTreeMap;

use bytes::Bytes;
use conversation::answer::{AnswerFacts, ReadAnswer, ReadFrames, StreamFault};
use conversation::calls::object_of;
use conversation::constraints::AnswerFilter;
use conversation::face::ForwardAnswer;
use conversation::prompt_text::{CountedText, is_counted};
use conversation::turns::Gatherer;
use domain::{Event, Grammar, PartKind};
use framing::sse::{EventSplitter, begins_stream, read_event, skip_lead};

use crate::answer_path::AnswerPath;
use crate::answer_stream::{content_bytes, unreadable_call};
use crate::buffered::{BufferedAnswer, ProviderResponse};
use crate::registry::face;
use crate::transcript::read_whole;

/// Reads the body of a response with status 200 to a conversation, a continuation of one, or a text completion, and returns
/// what the client gets: the body itself, where both sides speak the same dialect.
///
/// # Errors
/// The body is not an answer: an error in a 200, HTML, nothing at all, truncated JSON, or a stream that does
/// not end well.
pub fn buffered_answer(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    match face(answer_path.client).facts().forward {
        Some(forward) if answer_path.is_passthrough() || answer_path.is_cleared(&body) => {
            forwarded(answer_path, forward, body)
        }
        _ => conversation(answer_path, body),
    }
}

/// A response about a stored answer is forwarded, whatever it is.
pub fn buffered_stored_answer(answer_path: &AnswerPath, body: Bytes) -> BufferedAnswer {
    let facts = AnswerFacts { usage: face(answer_path.upstream).stored_usage(&body), content_bytes: 0 };
    BufferedAnswer::plain(body, facts)
}

/// Reads a transcript, whose form the upstream's content type says, and forwards it as it is.
///
/// # Errors
/// The body is not a transcript, or it is an error in a 200.
pub fn buffered_transcript(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let facts = read_whole(answer_path.client, answer_path.form, &body)?;
    Ok(BufferedAnswer::plain(body, facts))
}

/// One dialect on both sides, in which only the usage is read.
fn forwarded(
    answer_path: &AnswerPath,
    forward: ForwardAnswer,
    body: Bytes,
) -> Result<BufferedAnswer, StreamFault> {
    let (body, facts) = forward(body, answer_path.needs_normalising)?;
    let text = match facts.usage {
        Some(_) => String::new(),
        None => text_of(answer_path, &body),
    };
    Ok(BufferedAnswer { text, ..BufferedAnswer::plain(body, facts) })
}

/// Reads the response into events, and rewrites it where the client speaks another dialect.
fn conversation(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let (mut events, is_stream) = read_events(answer_path.upstream, &body)?;
    let (mut facts, made) = (facts_of(&events), made_of(&events));
    let mut text = String::new();
    if !is_counted(facts.usage.as_ref(), facts.content_bytes) {
        CountedText::of(&events).as_str().clone_into(&mut text);
        if let Some(estimator) = &answer_path.options.estimator {
            let usage = estimator.usage(&text, facts.content_bytes);
            facts.usage = Some(usage);
            let end = events.iter().position(|event| *event == Event::Done).unwrap_or(events.len());
            events.insert(end, Event::Usage(usage));
        }
    }
    if answer_path.forwards_whole() && !is_stream {
        if let Some(guard) = &answer_path.options.guard {
            guard.guard().apply(&mut events);
        }
        return Ok(match face(answer_path.client).facts().forward {
            Some(forward) => forwarded(answer_path, forward, body)?,
            None => BufferedAnswer { provider_response: made, text, ..BufferedAnswer::plain(body, facts) },
        });
    }
    if let Some((_, word)) = unreadable_call(&events) {
        return Err(StreamFault::UnreadableCall(word, facts.usage.map(Box::new)));
    }
    let mut gatherer = Gatherer::default();
    if !answer_path.is_passthrough() {
        events.iter().for_each(|event| gatherer.note(event, answer_path.upstream));
    }
    AnswerFilter::new(&answer_path.options.constraints).apply(&mut events);
    if let Some(guard) = &answer_path.options.guard {
        guard.guard().apply(&mut events);
    }
    let dropped = dropped_of(answer_path, &events);
    let body = Bytes::from(face(answer_path.client).writer(answer_path.options()).write_buffered(events));
    Ok(BufferedAnswer {
        signatures: gatherer.state(answer_path.upstream),
        provider_response: made,
        text,
        dropped,
        ..BufferedAnswer::plain(body, facts)
    })
}

/// Whether a call has arguments that are no object.
fn has_unsound_call(events: &[Event]) -> bool {
    let mut calls: BTreeMap<(u32, u32), String> = BTreeMap::new();
    for event in events {
        match event {
            Event::Begin { choice, part, kind: PartKind::Call { is_custom: false, .. } } => {
                calls.insert((*choice, *part), String::new());
            }
            Event::Delta { choice, part, text } => {
                if let Some(arguments) = calls.get_mut(&(*choice, *part)) {
                    arguments.push_str(text);
                }
            }
            _ => {}
        }
    }
    calls.values().any(|arguments| object_of(arguments).is_none())
}

/// The kinds of content that the client's dialect can't express.
fn dropped_of(answer_path: &AnswerPath, events: &[Event]) -> Vec<String> {
    let facts = face(answer_path.client).facts();
    let mut dropped = Vec::new();
    if facts.has_object_arguments && has_unsound_call(events) {
        dropped.push("arguments".to_owned());
    }
    for event in events {
        let kind = match event {
            Event::Begin { kind: PartKind::Image { .. }, .. } if !facts.has_pictures => "image",
            Event::Begin { kind: PartKind::Foreign { kind, .. }, .. } if !answer_path.is_same_dialect() => {
                kind
            }
            _ => continue,
        };
        if !dropped.iter().any(|known| known == kind) {
            dropped.push(kind.to_owned());
        }
    }
    dropped
}

/// The events of an answer, whole or as a stream, and whether it is one.
pub(crate) fn read_events(grammar: Grammar, body: &[u8]) -> Result<(Vec<Event>, bool), StreamFault> {
    let text = skip_lead(body);
    let (mut reader, mut frames) = (face(grammar).reader(), face(grammar).frames());
    let mut events = Vec::new();
    let mut is_stream = false;
    match text.first() {
        None => return Err(StreamFault::Broken("empty")),
        Some(b'<') => return Err(StreamFault::Broken("html")),
        Some(b'{' | b'[') => reader.read_buffered(text, &mut events)?,
        Some(first) => {
            is_stream = true;
            match &mut frames {
                Some(frames) if frames.begins(*first) => {
                    read_frames(frames.as_mut(), reader.as_mut(), text, &mut events)?;
                }
                _ if begins_stream(text) == Some(true) => read_stream(reader.as_mut(), text, &mut events)?,
                _ => return Err(StreamFault::Broken("not_an_answer")),
            }
        }
    }
    Ok((events, is_stream))
}

/// The text of a buffered response that is forwarded.
fn text_of(answer_path: &AnswerPath, body: &[u8]) -> String {
    let mut events = Vec::new();
    // It was already accepted as an answer: if it can't be read here, it has no text to count.
    drop(face(answer_path.upstream).reader().read_buffered(skip_lead(body), &mut events));
    CountedText::of(&events).as_str().to_owned()
}

fn made_of(events: &[Event]) -> Option<Box<ProviderResponse>> {
    let id = events.iter().find_map(|event| match event {
        Event::Start { id, .. } => id.clone(),
        _ => None,
    })?;
    Some(Box::new(ProviderResponse {
        id,
        is_over: events.iter().any(|event| matches!(event, Event::Finish { .. })),
    }))
}

pub(crate) fn read_stream(
    reader: &mut dyn ReadAnswer,
    text: &[u8],
    events: &mut Vec<Event>,
) -> Result<(), StreamFault> {
    let mut splitter = EventSplitter::new();
    let mut ended = text.to_vec();
    ended.extend_from_slice(b"\n\n");
    let mut rest = ended.as_slice();
    while let Some((event, after)) = splitter.find_end(rest).and_then(|end| rest.split_at_checked(end)) {
        let parsed = read_event(event);
        let data = parsed.data.json(event);
        if !data.trim_ascii().is_empty() && events.last() != Some(&Event::Done) {
            reader.event(parsed.name, &data, events)?;
        }
        rest = after;
    }
    if events.last() != Some(&Event::Done) {
        reader.end(events)?;
    }
    Ok(())
}

fn read_frames(
    frames: &mut dyn ReadFrames,
    reader: &mut dyn ReadAnswer,
    stream: &[u8],
    events: &mut Vec<Event>,
) -> Result<(), StreamFault> {
    frames.push(stream);
    while events.last() != Some(&Event::Done) {
        match frames.next_frame(reader, events)? {
            Some(frame) => frame.result?,
            None => return reader.end(events),
        }
    }
    Ok(())
}

fn facts_of(events: &[Event]) -> AnswerFacts {
    let mut facts = AnswerFacts::default();
    for event in events {
        facts.content_bytes += content_bytes(event);
        if let Event::Usage(usage) = event {
            facts.usage = Some(*usage);
        }
    }
    facts
}
