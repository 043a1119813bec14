//! Made-up content of a stored request's shape, for where its content is not kept: as long, and with the prefix that its family
//! shares. It follows from a seed, so that a run sends the same again.

use serde_json::{Value, json};

use crate::limits::{EMBEDDED_WORDS_MAX, SYNTHETIC_WORDS_MAX};
use crate::random::Random;
use crate::trace::{ReplayKind, Trace};

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

/// A request of the trace's shape for a model.
pub fn synthetic_body(kind: ReplayKind, seed: u64, trace: &Trace, model: &str) -> Value {
    let around = if kind == ReplayKind::Chat { TEMPLATE_TOKENS } else { 0 };
    let words = trace.prompt_tokens.saturating_sub(around).clamp(1, SYNTHETIC_WORDS_MAX);
    if kind == ReplayKind::Embed {
        return json!({"model": model, "input": texts(seed, trace, words)});
    }
    let shared = trace.prefix_tokens.min(words.saturating_sub(1));
    let prefix = (shared > 0).then(|| text_of(&mut Random::of(seed, &trace.family), shared));
    let own = text_of(&mut Random::of(seed, &trace.request), words - shared);
    let mut body = match kind {
        ReplayKind::Complete => {
            let prompt: Vec<String> = prefix.into_iter().chain([own]).collect();
            json!({"model": model, "prompt": prompt.join(" ")})
        }
        _ => {
            let system = prefix.map(|text| json!({"role": "system", "content": text}));
            let messages: Vec<Value> =
                system.into_iter().chain([json!({"role": "user", "content": own})]).collect();
            json!({"model": model, "messages": messages})
        }
    };
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

/// Texts to embed that have so many words together: how many the request had is not recorded.
fn texts(seed: u64, trace: &Trace, words: u64) -> Vec<String> {
    let mut random = Random::of(seed, &trace.request);
    let (whole, rest) = (words / EMBEDDED_WORDS_MAX, words % EMBEDDED_WORDS_MAX);
    let lengths = (0..whole).map(|_| EMBEDDED_WORDS_MAX).chain((rest > 0).then_some(rest));
    lengths.map(|length| text_of(&mut random, length)).collect()
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
        let first = synthetic_body(ReplayKind::Chat, 1, &trace("a", "f", (108, 60)), "publisher/model");
        assert_eq!(
            first,
            synthetic_body(ReplayKind::Chat, 1, &trace("a", "f", (108, 60)), "publisher/model")
        );
        let (shared, own) = (message(&first, 0), message(&first, 1));
        assert_eq!((shared.split(' ').count(), own.split(' ').count()), (60, 40));
        assert_eq!(
            (&first["max_tokens"], &first["stream"], &first["model"]),
            (&7.into(), &true.into(), &"publisher/model".into())
        );
        let sister = synthetic_body(ReplayKind::Chat, 1, &trace("b", "f", (1_008, 90)), "m");
        assert!(message(&sister, 0).starts_with(shared), "a family shares its prefix, however long");
        assert_ne!(message(&sister, 1), own);
        let stranger = synthetic_body(ReplayKind::Chat, 1, &trace("b", "g", (108, 60)), "m");
        assert_ne!(message(&stranger, 0), shared);
        assert_ne!(message(&synthetic_body(ReplayKind::Chat, 2, &trace("a", "f", (108, 60)), "m"), 1), own);
        let short = synthetic_body(ReplayKind::Chat, 1, &trace("c", "f", (0, 5)), "m");
        assert_eq!(short["messages"].as_array().unwrap().len(), 1, "there is always a question");
    }

    #[test]
    fn texts_and_embeddings_have_the_shape_of_their_requests() {
        let body = synthetic_body(ReplayKind::Complete, 1, &trace("a", "f", (100, 60)), "m");
        let prompt = body["prompt"].as_str().unwrap();
        assert_eq!((prompt.split(' ').count(), &body["stream"]), (100, &true.into()));
        let sister = synthetic_body(ReplayKind::Complete, 1, &trace("b", "f", (100, 60)), "m");
        let shared = |text: &str| text.split(' ').take(60).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(shared(prompt), shared(sister["prompt"].as_str().unwrap()));
        assert_ne!(prompt, sister["prompt"].as_str().unwrap());

        let body = synthetic_body(ReplayKind::Embed, 1, &trace("a", "f", (600, 60)), "m");
        let texts = body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
        assert_eq!(texts.map(|text| text.split(' ').count()).collect::<Vec<_>>(), [256, 256, 88]);
        assert!(body["max_tokens"].is_null() && body["stream"].is_null());
        let short = synthetic_body(ReplayKind::Embed, 1, &trace("a", "f", (0, 0)), "m");
        assert_eq!(short["input"].as_array().unwrap().len(), 1);
    }
}
