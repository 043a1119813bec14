//! Made-up content of a stored request's shape, for where its content is not kept: as long, and with the prefix that its family
//! shares. It follows from a seed, so that a run sends the same again.

use serde_json::{Value, json};

use crate::limits::SYNTHETIC_WORDS_MAX;
use crate::random::Random;
use crate::trace::Trace;

/// Each is one token for the tokenizers of most models, with the space before it.
const WORDS: [&str; 32] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
];
/// What chat templates add around two messages.
const TEMPLATE_TOKENS: u64 = 8;

/// A chat completion of the trace's shape for a model.
#[must_use]
pub fn synthetic_body(seed: u64, trace: &Trace, model: &str) -> Value {
    let words = trace.prompt_tokens.saturating_sub(TEMPLATE_TOKENS).clamp(1, SYNTHETIC_WORDS_MAX);
    let shared = trace.prefix_tokens.min(words.saturating_sub(1));
    let mut messages = Vec::new();
    if shared > 0 {
        let text = text_of(&mut Random::of(seed, &trace.family), shared);
        messages.push(json!({"role": "system", "content": text}));
    }
    let own = text_of(&mut Random::of(seed, &trace.request), words - shared);
    messages.push(json!({"role": "user", "content": own}));
    let mut body = json!({"model": model, "messages": messages});
    if let Some(fields) = body.as_object_mut() {
        if trace.output_tokens > 0 {
            fields.insert("max_tokens".to_owned(), trace.output_tokens.into());
        }
        if trace.stream {
            fields.insert("stream".to_owned(), true.into());
        }
    }
    body
}

fn text_of(random: &mut Random, words: u64) -> String {
    let mut text = String::new();
    for _ in 0..words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Measured;

    fn trace(request: &str, family: &str, (prompt, prefix): (u64, u64)) -> Trace {
        Trace {
            request: request.to_owned(),
            arrival_ms: 0,
            session: None,
            project: String::new(),
            family: family.to_owned(),
            model: String::new(),
            served_model: String::new(),
            prompt_tokens: prompt,
            prefix_tokens: prefix,
            output_tokens: 7,
            stream: true,
            baseline: Measured::default(),
        }
    }

    fn message(body: &Value, at: usize) -> &str {
        body["messages"][at]["content"].as_str().unwrap()
    }

    #[test]
    fn content_has_the_shape_and_follows_from_the_seed() {
        let first = synthetic_body(1, &trace("a", "f", (108, 60)), "publisher/model");
        assert_eq!(first, synthetic_body(1, &trace("a", "f", (108, 60)), "publisher/model"));
        let (shared, own) = (message(&first, 0), message(&first, 1));
        assert_eq!((shared.split(' ').count(), own.split(' ').count()), (60, 40));
        assert_eq!(
            (&first["max_tokens"], &first["stream"], &first["model"]),
            (&7.into(), &true.into(), &"publisher/model".into())
        );
        let sister = synthetic_body(1, &trace("b", "f", (1_008, 90)), "m");
        assert!(message(&sister, 0).starts_with(shared), "a family shares its prefix, however long");
        assert_ne!(message(&sister, 1), own);
        let stranger = synthetic_body(1, &trace("b", "g", (108, 60)), "m");
        assert_ne!(message(&stranger, 0), shared);
        assert_ne!(message(&synthetic_body(2, &trace("a", "f", (108, 60)), "m"), 1), own);
        let short = synthetic_body(1, &trace("c", "f", (0, 5)), "m");
        assert_eq!(short["messages"].as_array().unwrap().len(), 1, "there is always a question");
    }
}
