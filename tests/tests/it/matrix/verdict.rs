//! Compares what a client saw, and what reached the provider, with what is expected.

use harness::Entry;
use serde_json::Value;

use super::cases::{Expected, TIDE, WEATHER};
use super::driver::{Language, Round, Seen, Usage};
use super::page::Note;
use super::parties::{Cell, Client, Seller};

/// The reasoning setting that the drivers send: an effort or a token budget, depending on the wire format.
const EFFORT: &str = "low";
const BUDGET_TOKENS: u64 = 1024;

/// Every deviation.
pub fn of(cell: &Cell, language: Language, seen: &Seen, entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    match cell.failure() {
        Some(_) => failed(cell, language, seen, entries, &mut wrong),
        None => check_answer(cell, seen, entries, &mut wrong),
    }
    if cell.is_passed_on() {
        check_passthrough(cell, seen, entries, &mut wrong);
    }
    check_upstream(cell, entries, &mut wrong);
    if cell.case.thinks() {
        let asked = entries.iter().map(Entry::json).filter(|body| !asks_to_think(cell, body));
        wrong.extend(
            asked.map(|body| format!("nobody asked it to think as much as the client wants: {body}")),
        );
    }
    wrong
}

fn check_answer(cell: &Cell, seen: &Seen, entries: &[Entry], wrong: &mut Vec<String>) {
    if let Some(error) = &seen.error {
        wrong.push(format!("it failed: {error:?}"));
    }
    let expected = cell.expected();
    let calls = [seen.rounds.len(), seen.sent.len(), entries.len()];
    if calls != [expected.len(); 3] {
        let [seen, sent, reached] = calls;
        let wanted = expected.len();
        wrong.push(format!(
            "{seen} calls were seen, {sent} sent, {reached} reached the seller; {wanted} were to be"
        ));
    }
    for (at, ((round, expected), entry)) in seen.rounds.iter().zip(&expected).zip(entries).enumerate() {
        compare_round(cell, round, expected, entry, &mut |what| wrong.push(format!("call {at}: {what}")));
    }
}

fn compare_round(
    cell: &Cell,
    round: &Round,
    expected: &Expected,
    entry: &Entry,
    tell: &mut impl FnMut(String),
) {
    if round.text != expected.text {
        tell(format!("text {:?}, not {:?}", round.text, expected.text));
    }
    let calls: Vec<(&str, &str)> = round.calls.iter().map(|call| (&*call.name, &*call.arguments)).collect();
    let known = [WEATHER, TIDE];
    let wanted: Vec<(&str, &str)> =
        expected.calls.iter().map(|name| *known.iter().find(|(known, _)| known == name).unwrap()).collect();
    if calls != wanted {
        tell(format!("calls {calls:?}, not {wanted:?}"));
    }
    let thought = expected.thought(cell);
    if round.thought != thought {
        tell(format!("thought {:?}, not {thought:?}", round.thought));
    }
    let finish = expected.ended.finish_reason(cell.client, cell.seller);
    if round.finish != finish {
        tell(format!("it ended with {:?}, not {finish:?}", round.finish));
    }
    let note = Note::of(cell.client, cell.seller, cell.case);
    let counted_beside = if note == Some(Note::ThoughtsBeside) { expected.reasoning } else { 0 };
    let usage = Usage {
        input: entry.prompt_tokens,
        output: entry.said_tokens - counted_beside,
        cached: entry.cached_tokens,
        reasoning: match note {
            Some(Note::ThoughtsUncounted | Note::ThoughtsUntold) => 0,
            _ if cell.client == Client::Converse => 0,
            _ => expected.reasoning,
        },
    };
    if round.usage != usage {
        tell(format!("{:?}, not {usage:?}", round.usage));
    }
}

fn failed(cell: &Cell, language: Language, seen: &Seen, entries: &[Entry], wrong: &mut Vec<String>) {
    let Some(failure) = cell.failure() else { return };
    let (class, status) = failure.seen[usize::from(language == Language::Node)];
    match &seen.error {
        None => wrong.push(format!("it did not fail: {:?}", seen.rounds)),
        Some(error) if error.foreseen && error.class == class && error.status == status => {}
        Some(error) => wrong.push(format!("{error:?}, not {class} with {status:?}")),
    }
    if seen.sent.len() != 1 || entries.len() != failure.tries {
        let (sdk, gateway) = (seen.sent.len(), entries.len());
        wrong.push(format!("the SDK tried {sdk} times, the gateway {gateway} and not {}", failure.tries));
    }
}

/// If both sides use one wire format, the SDK's body arrives unchanged, except for the model's name.
fn check_passthrough(cell: &Cell, seen: &Seen, entries: &[Entry], wrong: &mut Vec<String>) {
    let name = Value::from(cell.model().1).to_string();
    for (at, (sent, entry)) in seen.sent.iter().zip(entries).enumerate() {
        let arrived = String::from_utf8_lossy(&entry.body).replacen(&name, "\"*\"", 1);
        if arrived != *sent {
            wrong.push(format!("call {at}: the body arrived otherwise: {arrived} and not {sent}"));
        }
    }
}

/// Every client requests a little reasoning: by a low effort, or by the equivalent token budget. Each wire
/// format has its own field for it, and its models support one of the two.
fn asks_to_think(cell: &Cell, body: &Value) -> bool {
    // The model always reasons and takes no effort, so the gateway writes none; a passed-on body has the
    // client's own.
    if cell.seller == Seller::Xai && !cell.is_passed_on() {
        return ["reasoning_effort", "reasoning"].iter().all(|field| body.get(field).is_none());
    }
    let is_set_to = |pointer: &str, word: &str| {
        body.pointer(pointer).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    let budget = |pointer: &str| body.pointer(pointer).and_then(Value::as_u64) == Some(BUDGET_TOKENS);
    match cell.seller.grammar(cell.client) {
        Client::Chat => is_set_to("/reasoning_effort", EFFORT),
        Client::Responses => is_set_to("/reasoning/effort", EFFORT),
        Client::Messages => {
            (is_set_to("/thinking/type", "adaptive") && is_set_to("/output_config/effort", EFFORT))
                || (is_set_to("/thinking/type", "enabled") && budget("/thinking/budget_tokens"))
        }
        Client::Gemini => {
            let config = "/generationConfig/thinkingConfig";
            // Python's client spells the fields with underscores, and a passed-on body keeps them.
            let has_level = |field: &str| is_set_to(&format!("{config}/{field}"), EFFORT);
            let has_budget = |field: &str| budget(&format!("{config}/{field}"));
            ["thinkingLevel", "thinking_level"].into_iter().any(has_level)
                || ["thinkingBudget", "thinking_budget"].into_iter().any(has_budget)
        }
        Client::Converse => {
            let thinking = "/additionalModelRequestFields/thinking";
            is_set_to(&format!("{thinking}/type"), "enabled") && budget(&format!("{thinking}/budget_tokens"))
        }
    }
}

/// Nothing that the model must see was lost on the way.
fn check_upstream(cell: &Cell, entries: &[Entry], wrong: &mut Vec<String>) {
    let Some(last) = entries.last() else { return };
    let mut words = Vec::new();
    words_of(&last.json(), &mut words);
    let is_lost = |needle: &&str| !words.iter().any(|word| word.contains(needle));
    let lost: Vec<_> = cell.case.needles().into_iter().filter(is_lost).collect();
    if !lost.is_empty() {
        wrong.push(format!("{lost:?} did not arrive: {}", last.json()));
    }
}

fn words_of(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            words.push(text.clone());
            // Results and arguments are JSON within JSON in some wire formats, as their SDK escaped it.
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                words_of(&inner, words);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| words_of(item, words)),
        Value::Object(fields) => {
            words.extend(fields.keys().cloned());
            fields.values().for_each(|item| words_of(item, words));
        }
        _ => {}
    }
}
