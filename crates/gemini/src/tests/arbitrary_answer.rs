//! Any complete answer.

use domain::{Event, Finish, Json, PartKind, Reason, Usage, UsageSource};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::arbitrary::{name, object, words};

/// One part of a response.
#[derive(Debug, Clone)]
pub enum Piece {
    Text(Vec<String>),
    Thought(Vec<String>, Option<String>),
    Call(String, String, Option<String>),
    Foreign(String),
}

fn piece() -> impl Strategy<Value = Piece> {
    let seal = || option::of("[a-z]{4}");
    prop_oneof![
        vec(words(), 1..4).prop_map(Piece::Text),
        (vec(words(), 1..3), seal()).prop_map(|(texts, seal)| Piece::Thought(texts, seal)),
        (name(), object(), seal()).prop_map(|(name, arguments, seal)| Piece::Call(name, arguments, seal)),
        object().prop_map(Piece::Foreign),
    ]
}

/// A complete response, of one choice or of several that are interleaved.
pub fn answer() -> impl Strategy<Value = Vec<Event>> {
    let choices =
        vec((vec(piece(), 0..5), proptest::sample::select(&["STOP", "MAX_TOKENS", "SAFETY"][..])), 1..3);
    let usage = (0_u64..99, 0_u64..99, 1_u64..99, 0_u64..99);
    (choices, usage, option::of(name())).prop_map(|(choices, usage, model)| {
        let mut events = vec![Event::Start {
            id: Some("r-1".to_owned()),
            model: model.or(Some("m".to_owned())),
            created_unix_s: None,
        }];
        let mut ends = Vec::new();
        for (choice, (pieces, word)) in (0..).zip(choices) {
            ends.push((choice, end_of(word, &pieces)));
            for (part, piece) in (0..).zip(join_alike(pieces)) {
                push_part(choice, part, piece, &mut events);
            }
        }
        events.extend(ends.into_iter().map(|(choice, finish)| Event::Finish { choice, finish }));
        let (input, cached_read, output, reasoning) = usage;
        let source = UsageSource::Provider;
        events.push(Event::Usage(Usage {
            input,
            cached_read,
            output,
            reasoning,
            source,
            ..Usage::default()
        }));
        events.push(Event::Done);
        events
    })
}

fn end_of(word: &str, pieces: &[Piece]) -> Finish {
    let has_call = pieces.iter().any(|piece| matches!(piece, Piece::Call(..)));
    let reason = match word {
        "MAX_TOKENS" => Reason::Length,
        "SAFETY" => Reason::ContentFilter,
        _ if has_call => Reason::Calls,
        _ => Reason::Stop,
    };
    Finish { raw: Some(word.to_owned()), ..Finish::of(reason) }
}

/// Joins consecutive pieces of text: nothing in a Gemini stream separates them.
fn join_alike(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(texts)), Piece::Text(more)) => texts.extend(more),
            (Some(Piece::Thought(texts, seal)), Piece::Thought(more, other)) => {
                texts.extend(more);
                *seal = other.or(seal.take());
            }
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

fn push_part(choice: u32, part: u32, piece: Piece, events: &mut Vec<Event>) {
    let (kind, texts, seal) = match piece {
        Piece::Text(texts) => (PartKind::Text, texts, None),
        Piece::Thought(texts, seal) => (PartKind::Thought { is_summary: true, id: None }, texts, seal),
        Piece::Call(name, arguments, seal) => {
            let id = format!("id-{choice}-{part}");
            (PartKind::Call { id, name, is_custom: false }, vec![arguments], seal)
        }
        Piece::Foreign(json) => {
            let kind = PartKind::Foreign { kind: "executableCode".to_owned(), json: Json(json) };
            (kind, Vec::new(), None)
        }
    };
    events.push(Event::Begin { choice, part, kind });
    events.extend(texts.into_iter().map(|text| Event::Delta { choice, part, text }));
    events.extend(seal.map(|value| Event::Signature { choice, part, value }));
    events.push(Event::End { choice, part });
}
