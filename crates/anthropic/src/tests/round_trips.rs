//! Round trips: whatever is written reads back the same.

use conversation::answer::{ReadAnswer, WriteAnswer};
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::Json;
use domain::{Abilities, Event, Finish, Grammar, Operation, PartKind, Reason, Usage, UsageSource};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::answers::{own_wish, read_stream};
use super::any_prompt::prompt;
use crate::{Reader, Writer, decode_request, read_prompt, write_prompt};

proptest! {
    #[test]
    fn a_prompt_is_read_as_it_was_written(prompt in prompt()) {
        let abilities = Abilities { system_turns: true, ..Abilities::default() };
        let target = TargetModel { model: "claude-x", abilities };
        let mut losses = DroppedFields::new(Grammar::Anthropic, Grammar::Anthropic, dialects::feature_names);
        let body = write_prompt(&prompt, &target, &mut losses).expect("it can be said");
        prop_assert_eq!(losses.finish(true).expect("lenient"), Vec::<String>::new());
        let request = decode_request(Operation::Chat, &bytes::Bytes::from(body.clone())).expect("the rooms read it");
        prop_assert_eq!(&request.model, "claude-x");
        prop_assert!(request.spans.removed.is_empty());
        prop_assert_eq!(read_prompt(&body).expect("it is read"), prompt, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn a_streamed_answer_is_read_as_it_was_written(answer in answer(false)) {
        let mut writer = Writer::new(own_wish());
        let mut bytes = Vec::new();
        answer.events().into_iter().for_each(|event| writer.event(event, &mut bytes));
        let events = read_stream(&bytes).expect("it is read");
        prop_assert_eq!(gather_parts(&events), gather_parts(&answer.events()), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_whole_answer_is_read_as_it_was_written(answer in answer(true)) {
        let body = Writer::new(own_wish()).write_buffered(answer.events());
        let mut events = Vec::new();
        Reader::default().read_buffered(&body, &mut events).expect("it is read");
        prop_assert_eq!(gather_parts(&events), gather_parts(&answer.events()), "{}", String::from_utf8_lossy(&body));
    }
}

#[derive(Debug, Clone)]
struct PartSpec {
    kind: PartKind,
    deltas: Vec<String>,
    seal: Option<String>,
    citations: Vec<Json>,
}

/// Parts in groups: those of one group are open concurrently.
#[derive(Debug, Clone)]
struct Answer {
    groups: Vec<Vec<PartSpec>>,
    reason: (Reason, &'static str),
    usage: Usage,
}

fn part_group() -> impl Strategy<Value = Vec<PartSpec>> {
    let texts = || vec("[a-zé\n\"\\\\]{0,6}", 1..4);
    let citation = Just(Json(r#"{"type":"char_location","cited_text":"x"}"#.to_owned()));
    let text = (texts(), vec(citation, 0..2)).prop_map(|(mut deltas, citations)| {
        deltas.push("x".to_owned());
        vec![PartSpec { kind: PartKind::Text, deltas, seal: None, citations }]
    });
    let thought = (texts(), "[a-z]{1,9}").prop_map(|(deltas, seal)| {
        let kind = PartKind::Thought { is_summary: false, id: None };
        vec![PartSpec { kind, deltas, seal: Some(seal), citations: Vec::new() }]
    });
    let redacted = "[a-z]{1,9}".prop_map(|seal| {
        vec![PartSpec {
            kind: PartKind::Redacted,
            deltas: Vec::new(),
            seal: Some(seal),
            citations: Vec::new(),
        }]
    });
    let foreign = Just(vec![PartSpec {
        kind: PartKind::Foreign {
            kind: "web_search_tool_result".to_owned(),
            json: Json(r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[]}"#.to_owned()),
        },
        deltas: Vec::new(),
        seal: None,
        citations: Vec::new(),
    }]);
    let call = ("[a-z]{1,6}", vec("[a-z]{0,4}", 0..3)).prop_map(|(name, pieces)| {
        let mut deltas = vec!["{\"a\":\"".to_owned()];
        deltas.extend(pieces);
        deltas.push("\"}".to_owned());
        PartSpec {
            kind: PartKind::Call { id: format!("toolu_{name}"), name, is_custom: false },
            deltas,
            seal: None,
            citations: Vec::new(),
        }
    });
    prop_oneof![text, thought, redacted, foreign, vec(call, 1..4)]
}

fn answer(is_whole: bool) -> impl Strategy<Value = Answer> {
    let reason = select(vec![
        (Reason::Stop, "end_turn"),
        (Reason::Length, "max_tokens"),
        (Reason::StopSequence, "stop_sequence"),
        (Reason::ContextLength, "model_context_window_exceeded"),
        (Reason::Refusal, "refusal"),
        (Reason::Pause, "pause_turn"),
    ]);
    let usage = (1..1000_u64, 0..9_u64, 0..9_u64, 0..9_u64, 0..9_u64, option::of(1..9_u64)).prop_map(
        move |(input, cached_read, cache_write, output, reasoning, long)| Usage {
            input,
            cached_read,
            cache_write,
            // The last report of a stream has no breakdown.
            cache_write_long: long.filter(|_| is_whole).unwrap_or(0),
            output,
            reasoning,
            source: UsageSource::Provider,
            ..Usage::default()
        },
    );
    (vec(part_group(), 0..5), reason, usage).prop_map(|(groups, reason, usage)| {
        let is_call = |spec: &PartSpec| matches!(spec.kind, PartKind::Call { .. });
        let calls = groups.iter().flatten().any(is_call);
        let reason = if calls && reason.0 == Reason::Stop { (Reason::Calls, "tool_use") } else { reason };
        Answer { groups, reason, usage }
    })
}

impl Answer {
    fn events(&self) -> Vec<Event> {
        let (id, model) = (Some("msg_1".to_owned()), Some("claude-x".to_owned()));
        let mut events = vec![Event::Start { id, model, created_unix_s: None }];
        let mut next = 0;
        for group in &self.groups {
            let first = next;
            let numbered = || (first..).zip(group);
            for (part, spec) in numbered() {
                next += 1;
                events.push(Event::Begin { choice: 0, part, kind: spec.kind.clone() });
            }
            let longest = group.iter().map(|spec| spec.deltas.len()).max().unwrap_or(0);
            for turn in 0..longest {
                for (part, spec) in numbered() {
                    let text = spec.deltas.get(turn).cloned();
                    events.extend(text.map(|text| Event::Delta { choice: 0, part, text }));
                }
            }
            for (part, spec) in numbered() {
                let citations = spec.citations.iter().cloned();
                events.extend(citations.map(|json| Event::Citation { choice: 0, part, json }));
                let seal = spec.seal.clone();
                events.extend(seal.map(|value| Event::Signature { choice: 0, part, value }));
            }
            // Parts that started later end first.
            events.extend(
                numbered()
                    .map(|(part, _)| Event::End { choice: 0, part })
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev(),
            );
        }
        let (reason, raw) = self.reason;
        let finish = Finish {
            reason,
            raw: Some(raw.to_owned()),
            sequence: (reason == Reason::StopSequence).then(|| "END".to_owned()),
            explanation: (reason == Reason::Refusal).then(|| "No.".to_owned()),
        };
        events.extend([Event::Finish { choice: 0, finish }, Event::Usage(self.usage), Event::Done]);
        events
    }
}

/// A part with its whole text, its signature and its citations.
type GatheredPart = (PartKind, String, Option<String>, Vec<Json>);

/// The combined content of a series of events, however it was cut into deltas.
fn gather_parts(events: &[Event]) -> (Vec<GatheredPart>, Vec<Event>) {
    let mut parts = Vec::new();
    let mut rest = Vec::new();
    let mut usage = None;
    for event in events {
        let at = match event {
            Event::Delta { part, .. } | Event::Signature { part, .. } | Event::Citation { part, .. } => {
                *part as usize
            }
            _ => 0,
        };
        match event {
            Event::Begin { kind, .. } => parts.push((kind.clone(), String::new(), None, Vec::new())),
            Event::Delta { text, .. } => parts[at].1.push_str(text),
            Event::Signature { value, .. } => parts[at].2 = Some(value.clone()),
            Event::Citation { json, .. } => parts[at].3.push(json.clone()),
            Event::End { .. } => {}
            Event::Usage(latest) => usage = Some(*latest),
            other => rest.push(other.clone()),
        }
    }
    rest.extend(usage.map(Event::Usage));
    (parts, rest)
}
