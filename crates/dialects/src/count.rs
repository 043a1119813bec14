//! Token counting endpoints: how many tokens a prompt has, before it is sent.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::target::{TargetModel, TranslatedRequest};
use domain::prompt::{Caching, Output, Sampling};
use domain::{Fault, Grammar, Prompt, Usage};
use json::{Cursor, JsonError, Kind};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::registry::face;
use crate::translate::translate_request;

/// The response that reports this count, in a client's dialect.
#[must_use]
pub fn count_answer(grammar: Grammar, tokens: u64) -> Bytes {
    Bytes::from(format!("{}{tokens}}}", face(grammar).facts().count.open))
}

/// Removes the settings that only concern the answer: they do not affect the count, and other dialects may
/// not be able to express them.
pub fn forget_answer(prompt: &mut Prompt) {
    let format = prompt.output.format.take();
    prompt.output = Output { format, ..Output::default() };
    prompt.sampling = Sampling::default();
    prompt.stream = false;
    prompt.store = None;
    prompt.service_tier = None;
    prompt.end_user = None;
    prompt.metadata.clear();
    prompt.caching = Caching { content: prompt.caching.content.take(), ..Caching::default() };
}

/// Writes the body of a count request for an upstream's token counter.
///
/// # Errors
/// As `speak`.
pub fn write_count_request(
    client: Grammar,
    prompt: &Prompt,
    upstream: Grammar,
    target: &TargetModel<'_>,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let TranslatedRequest { body, dropped } =
        translate_request(client, prompt, upstream, target, is_lenient)?;
    let body = face(upstream).count_request(&body, target.model)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped })
}

/// Reads an upstream's count, and writes it in the client's dialect. Counting uses no tokens.
///
/// # Errors
/// The body is not a count, or it is an error in a 200.
pub fn buffered_count(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let tokens = read_count(answer_path.upstream, &body)?;
    let facts = AnswerFacts { usage: Some(Usage::default()), content_bytes: 0 };
    let body = if answer_path.client == answer_path.upstream {
        body
    } else {
        count_answer(answer_path.client, tokens)
    };
    Ok(BufferedAnswer::plain(body, facts))
}

/// The count in a response that is an object and not an error.
fn read_count(upstream: Grammar, body: &Bytes) -> Result<u64, StreamFault> {
    let text = chat::operations::document(body)?;
    let mut cursor = Cursor::new(text)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let count = face(upstream).facts().count;
    let mut tokens = None;
    let mut is_error = false;
    cursor.object(|cursor, member| {
        let value = cursor.value()?;
        if member.key.is(count.member) {
            tokens = value.as_count();
        }
        is_error |= value.is_something(text) && member.key.is("error");
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    if is_error {
        return Err(chat::upstream_error(text));
    }
    match tokens {
        Some(tokens) => Ok(tokens),
        None if count.omits_zero => Ok(0),
        None => Err(StreamFault::Broken("no_count")),
    }
}

#[cfg(test)]
mod tests {
    use domain::Abilities;

    use super::*;

    #[test]
    fn a_count_is_read_and_an_error_is_one() {
        let read = |grammar, text: &'static str| read_count(grammar, &Bytes::from_static(text.as_bytes()));
        assert_eq!(read(Grammar::Anthropic, "{\"input_tokens\":5}"), Ok(5));
        assert_eq!(read(Grammar::Responses, "{\"object\":\"x\",\"input_tokens\":6}"), Ok(6));
        assert_eq!(read(Grammar::Gemini, "{\"totalTokens\":7,\"promptTokensDetails\":[{}]}"), Ok(7));
        assert_eq!(read(Grammar::Gemini, "{}"), Ok(0));
        assert_eq!(read(Grammar::Converse, "{\"inputTokens\":8}"), Ok(8));
        assert!(matches!(
            read(Grammar::Gemini, "{\"error\":{\"message\":\"x\"}}"),
            Err(StreamFault::Upstream(..))
        ));
        for broken in ["", "<html>", "[]", "{\"a\":", "{}", "{\"input_tokens\":\"x\"}"] {
            assert!(matches!(read(Grammar::Anthropic, broken), Err(StreamFault::Broken(_))), "{broken}");
        }
    }

    #[test]
    fn each_grammar_has_its_count() {
        assert_eq!(count_answer(Grammar::Anthropic, 7), "{\"input_tokens\":7}");
        assert_eq!(count_answer(Grammar::Gemini, 7), "{\"totalTokens\":7}");
        assert_eq!(count_answer(Grammar::Converse, 7), "{\"inputTokens\":7}");
        assert!(count_answer(Grammar::Responses, 7).starts_with(b"{\"object\":\"response.input_tokens\""));
    }

    /// What a counter of another dialect is sent for a request that also asks for a certain kind of answer.
    fn count_body(upstream: Grammar, body: &'static str) -> String {
        let mut prompt = anthropic::read_prompt(body.as_bytes()).unwrap();
        forget_answer(&mut prompt);
        let target = TargetModel { model: "m", abilities: Abilities::default() };
        let translated = write_count_request(Grammar::Anthropic, &prompt, upstream, &target, false).unwrap();
        String::from_utf8(translated.body.to_vec()).unwrap()
    }

    #[test]
    fn counters_are_sent_the_prompt_and_no_wishes() {
        let body = r#"{"model":"a","max_tokens":9,"stream":true,"temperature":0.5,"stop_sequences":["x"],
            "metadata":{"user_id":"u"},"system":"Be brief.","messages":[{"role":"user","content":"Hello"}]}"#;
        assert_eq!(
            count_body(Grammar::Gemini, body),
            r#"{"generateContentRequest":{"model":"models/m","systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}}"#
        );
        assert_eq!(
            count_body(Grammar::Converse, body),
            r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello"}]}],"system":[{"text":"Be brief."}]}}}"#
        );
        for (upstream, members) in [
            (Grammar::Responses, &["instructions", "input"][..]),
            (Grammar::Anthropic, &["system", "messages"]),
        ] {
            let written: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&count_body(upstream, body)).unwrap();
            let mut names: Vec<&str> = written.keys().map(String::as_str).collect();
            names.retain(|name| !members.contains(name));
            assert_eq!(names, ["model"], "{upstream:?}");
        }
    }
}
