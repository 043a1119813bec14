//! From an answer of the pipeline to an app's output, and how its use is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::Usage;
use egress::Client;
use serde_json::{Map, Value, json};

use super::Kind;
use super::pictures;
use crate::document;
use crate::input::DocumentInput;
use crate::limits::PICTURE_HEAD_BYTES_MAX;
use crate::task::Message;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub kind: Kind,
    pub body: &'a Bytes,
    pub content_type: &'a str,
    /// As booked.
    pub usage: &'a Usage,
    pub input: &'a Value,
}

/// What an app answers.
#[derive(Debug)]
pub(crate) struct Output {
    pub value: Value,
    pub usage_kind: UsageKind,
    pub messages: Vec<Message>,
}

/// How the use of an app is told: of what, how much, and in which unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UsageKind {
    pub r#type: &'static str,
    pub quantity: Value,
    pub unit: &'static str,
}

impl UsageKind {
    /// What was booked: the unit that a model is sold by where it is counted, else tokens.
    pub(crate) fn of(kind: Kind, usage: &Usage) -> Self {
        let units = &usage.units;
        let (r#type, counted) = match kind {
            Kind::Text => ("text", None),
            Kind::Embedding => ("embedding", None),
            Kind::Image => ("image", (units.images > 0).then(|| (json!(units.images), "images"))),
            Kind::Speech => {
                ("audio", (units.characters > 0).then(|| (json!(units.characters), "characters")))
            }
            Kind::Transcription => {
                ("audio", (units.audio_ms > 0).then(|| (seconds(units.audio_ms), "seconds")))
            }
            Kind::Rerank => ("rerank", (units.searches > 0).then(|| (json!(units.searches), "searches"))),
            Kind::Moderation => ("moderation", None),
            Kind::Video => ("video", Some((seconds(units.video_ms), "seconds"))),
        };
        let tokens = || {
            let all = usage.prompt_total().saturating_add(usage.completion_total());
            (json!(all), "tokens")
        };
        let (quantity, unit) = counted.unwrap_or_else(tokens);
        Self { r#type, quantity, unit }
    }
}

/// A whole number where it is one.
fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1_000) {
        return json!(ms / 1_000);
    }
    serde_json::from_str(&format!("{}.{:03}", ms / 1_000, ms % 1_000)).unwrap_or_default()
}

/// Reads an answer; `None` where it is none of its kind.
pub(crate) async fn read(answered: Answered<'_>, client: &Client) -> Option<Output> {
    let usage_kind = UsageKind::of(answered.kind, answered.usage);
    let done = |value| Some(Output { value, usage_kind: usage_kind.clone(), messages: Vec::new() });
    if answered.kind == Kind::Speech {
        let uri = data_uri(answered.content_type, answered.body);
        return done(json!({"audio": {"uri": uri, "content_type": answered.content_type}}));
    }
    let answer: Value = serde_json::from_slice(answered.body).ok()?;
    match answered.kind {
        Kind::Text => {
            let (value, messages) = text(&answered, &answer);
            Some(Output { value, usage_kind, messages })
        }
        Kind::Embedding => done(json!({"embeddings": embeddings(&answer)?})),
        Kind::Image => {
            let (images, messages) = images(&answer, client).await?;
            Some(Output { value: json!({"images": images}), usage_kind, messages })
        }
        Kind::Transcription => done(transcript(&answer)?),
        Kind::Rerank => done(json!({"results": ranking(&answer, answered.input)?})),
        Kind::Moderation => done(json!({"results": answer.get("results")?})),
        // Those are made after their request is answered.
        Kind::Speech | Kind::Video => None,
    }
}

fn data_uri(content_type: &str, bytes: &[u8]) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    format!("data:{essence};base64,{}", STANDARD.encode(bytes))
}

fn text(answered: &Answered<'_>, answer: &Value) -> (Value, Vec<Message>) {
    let choice = answer.pointer("/choices/0");
    let message = choice.and_then(|choice| choice.get("message"));
    let of = |name: &str| message?.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let answered_text = chat::answer_text(answered.body).filter(|text| !text.is_empty());
    let mut output = Map::new();
    output.insert("response".to_owned(), json!(answered_text.or_else(|| of("refusal")).unwrap_or_default()));
    if let Some(reasoning) = of("reasoning_content").or_else(|| of("reasoning")) {
        output.insert("reasoning".to_owned(), json!(reasoning));
    }
    let calls = message.and_then(|message| message.get("tool_calls")).and_then(Value::as_array);
    if let Some(calls) = calls.filter(|calls| !calls.is_empty()) {
        output.insert("tool_calls".to_owned(), json!(calls));
    }
    let reason = choice.and_then(|choice| choice.get("finish_reason")).and_then(Value::as_str);
    output.insert("usage".to_owned(), usage_of(answered.usage, reason));
    let cut = (reason == Some("length"))
        .then(|| Message::warning("output_truncated", "The answer reached its token limit and was cut off."));
    (Value::Object(output), cut.into_iter().collect())
}

fn usage_of(usage: &Usage, reason: Option<&str>) -> Value {
    let (prompt, completion) = (usage.prompt_total(), usage.completion_total());
    json!({
        "stop_reason": reason.unwrap_or_default(),
        "prompt_tokens": prompt,
        "cached_tokens": usage.cached_read,
        "cache_write_tokens": usage.cache_write.saturating_add(usage.cache_write_long),
        "completion_tokens": completion,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": prompt.saturating_add(completion),
    })
}

/// In the order of the texts.
fn embeddings(answer: &Value) -> Option<Vec<Value>> {
    let mut rows: Vec<(u64, Value)> = Vec::new();
    for (place, row) in answer.get("data")?.as_array()?.iter().enumerate() {
        let index = row.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
        rows.push((index, row.get("embedding")?.clone()));
    }
    rows.sort_by_key(|(index, _)| *index);
    Some(rows.into_iter().map(|(_, vector)| vector).collect())
}

/// Each as a data URI. What a provider only names is fetched, since its address ends soon; one that can't be had keeps its address.
async fn images(answer: &Value, client: &Client) -> Option<(Vec<Value>, Vec<Message>)> {
    let (mut made, mut messages) = (Vec::new(), Vec::new());
    for picture in answer.get("data")?.as_array()? {
        let text = |name: &str| picture.get(name).and_then(Value::as_str);
        let image = match (text("b64_json"), text("url")) {
            (Some(encoded), _) => in_base64(encoded),
            (None, Some(url)) => match fetched(url, client).await {
                Some(image) => image,
                None => {
                    let message = "A picture could not be fetched from its provider; the output has its address instead.";
                    messages.push(Message::warning("output_not_fetched", message));
                    json!({"uri": url, "content_type": "application/octet-stream"})
                }
            },
            (None, None) => return None,
        };
        made.push(with_prompt(image, text("revised_prompt")));
    }
    Some((made, messages))
}

fn with_prompt(mut image: Value, revised: Option<&str>) -> Value {
    if let (Some(revised), Some(fields)) = (revised, image.as_object_mut()) {
        fields.insert("revised_prompt".to_owned(), json!(revised));
    }
    image
}

async fn fetched(url: &str, client: &Client) -> Option<Value> {
    let input = DocumentInput { uri: url.to_owned(), ..DocumentInput::default() };
    let file = document::load_raw(&input, client).await.ok()?;
    Some(image(&file.bytes, &STANDARD.encode(&file.bytes)))
}

fn in_base64(encoded: &str) -> Value {
    // A multiple of four letters, so that what is cut off decodes.
    let head = encoded.get(..encoded.len().min(PICTURE_HEAD_BYTES_MAX)).unwrap_or(encoded);
    let head = STANDARD.decode(head).unwrap_or_default();
    image(&head, encoded)
}

fn image(head: &[u8], encoded: &str) -> Value {
    let content_type = pictures::type_of(head);
    let mut image =
        json!({"uri": format!("data:{content_type};base64,{encoded}"), "content_type": content_type});
    if let (Some((width, height)), Some(fields)) = (pictures::size_of(head), image.as_object_mut()) {
        fields.insert("width".to_owned(), json!(width));
        fields.insert("height".to_owned(), json!(height));
    }
    image
}

fn transcript(answer: &Value) -> Option<Value> {
    let mut output = json!({"text": answer.get("text")?.as_str()?});
    let fields = output.as_object_mut()?;
    if let Some(language) = answer.get("language").and_then(Value::as_str) {
        fields.insert("language".to_owned(), json!(language));
    }
    let (segments, words) = (answer.get("segments"), answer.get("words"));
    if let Some(timed) = words.or(segments).and_then(Value::as_array) {
        fields.insert("segments".to_owned(), timed.iter().map(segment).collect());
    }
    Some(output)
}

fn segment(timed: &Value) -> Value {
    let text = timed.get("text").or_else(|| timed.get("word"));
    json!({"start": timed.get("start"), "end": timed.get("end"), "text": text})
}

fn ranking(answer: &Value, input: &Value) -> Option<Vec<Value>> {
    let documents = input.get("documents").and_then(Value::as_array);
    let wants_documents = input.get("return_documents") == Some(&Value::Bool(true));
    let mut results = Vec::new();
    for row in answer.get("results")?.as_array()? {
        let index = row.get("index")?.as_u64()?;
        let mut result =
            json!({"index": index, "score": row.get("relevance_score").or_else(|| row.get("score"))?});
        let document = documents.and_then(|all| all.get(usize::try_from(index).ok()?));
        let text = document.and_then(|one| one.as_str().or_else(|| one.get("text")?.as_str()));
        if let (true, Some(text), Some(fields)) = (wants_documents, text, result.as_object_mut()) {
            fields.insert("document".to_owned(), json!(text));
        }
        results.push(result);
    }
    Some(results)
}

#[cfg(test)]
mod tests {
    use domain::{Units, UsageSource};

    use super::*;

    fn check(message: &Value, finish: &str) -> (Value, usize) {
        let answer = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]});
        let usage = Usage { input: 3, output: 2, source: UsageSource::Provider, ..Usage::default() };
        let (kind, content_type, input) = (Kind::Text, "application/json", Value::Null);
        let body = Bytes::from(answer.to_string());
        let answered = Answered { kind, body: &body, content_type, usage: &usage, input: &input };
        let (output, messages) = text(&answered, &answer);
        (output, messages.len())
    }

    #[test]
    fn the_text_is_whole_and_its_cut_is_told() {
        for (message, finish, response, messages) in [
            (json!({"content": "a"}), "stop", "a", 0),
            (json!({"content": "a"}), "length", "a", 1),
            (json!({"content": null, "refusal": "No."}), "stop", "No.", 0),
            (json!({"content": [{"type": "text", "text": "b"}]}), "stop", "b", 0),
            (json!({"content": null}), "stop", "", 0),
        ] {
            let (output, told) = check(&message, finish);
            assert_eq!((&output["response"], told), (&json!(response), messages), "{message}");
            assert_eq!((&output["usage"]["total_tokens"], output.get("tool_calls")), (&json!(5), None));
        }
        let calls = json!([{"id": "c"}]);
        let (output, _) =
            check(&json!({"content": "", "reasoning_content": "hm", "tool_calls": calls}), "tool_calls");
        assert_eq!((&output["reasoning"], &output["tool_calls"]), (&json!("hm"), &calls));
    }

    #[test]
    fn vectors_and_rankings_are_in_one_form() {
        let answer = json!({"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]});
        assert_eq!(embeddings(&answer), Some(vec![json!([1]), json!([2])]));
        assert_eq!(embeddings(&json!({"data": [{}]})), None);
        let answer =
            json!({"results": [{"index": 1, "relevance_score": 0.5}, {"index": 9, "relevance_score": 0}]});
        let input = json!({"documents": ["a", {"text": "b"}], "return_documents": true});
        let expected =
            vec![json!({"index": 1, "score": 0.5, "document": "b"}), json!({"index": 9, "score": 0})];
        assert_eq!(ranking(&answer, &input), Some(expected));
        let timed = json!({"text": "a", "words": [{"word": "a", "start": 0.0, "end": 0.5}]});
        assert_eq!(
            transcript(&timed).unwrap()["segments"][0],
            json!({"start": 0.0, "end": 0.5, "text": "a"})
        );
    }

    #[test]
    fn use_is_told_in_the_unit_that_is_booked() {
        let tokens = Usage { input: 3, output: 2, ..Usage::default() };
        let of = |units| Usage { units, ..Usage::default() };
        for (kind, usage, expected) in [
            (Kind::Text, tokens, ("text", json!(5), "tokens")),
            (Kind::Image, tokens, ("image", json!(5), "tokens")),
            (Kind::Image, of(Units { images: 2, ..Units::default() }), ("image", json!(2), "images")),
            (
                Kind::Speech,
                of(Units { characters: 9, ..Units::default() }),
                ("audio", json!(9), "characters"),
            ),
            (
                Kind::Transcription,
                of(Units { audio_ms: 2_500, ..Units::default() }),
                ("audio", json!(2.5), "seconds"),
            ),
            (
                Kind::Transcription,
                of(Units { audio_ms: 2_000, ..Units::default() }),
                ("audio", json!(2), "seconds"),
            ),
            (Kind::Rerank, of(Units { searches: 1, ..Units::default() }), ("rerank", json!(1), "searches")),
        ] {
            let UsageKind { r#type, quantity, unit } = UsageKind::of(kind, &usage);
            assert_eq!((r#type, quantity, unit), expected, "{kind:?}");
        }
    }
}
