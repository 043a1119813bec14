//! Token counting endpoints: how many tokens a prompt has, before it is sent.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::request::resource_text;
use conversation::target::{TargetModel, TranslatedRequest};
use domain::prompt::{Caching, Output, Sampling};
use domain::{Fault, Grammar, Prompt, Usage};
use json::{Cursor, JsonError, Kind};

use crate::answer_path::AnswerPath;
use crate::translate::translate_request;
use crate::whole::BufferedAnswer;

/// The response that reports this count, in a client's dialect.
#[must_use]
pub fn count_answer(grammar: Grammar, tokens: u64) -> Bytes {
    Bytes::from(match grammar {
        Grammar::Anthropic => format!("{{\"input_tokens\":{tokens}}}"),
        Grammar::Gemini => format!("{{\"totalTokens\":{tokens}}}"),
        Grammar::Converse => format!("{{\"inputTokens\":{tokens}}}"),
        Grammar::Chat | Grammar::Responses | Grammar::Hosted => {
            format!("{{\"object\":\"response.input_tokens\",\"input_tokens\":{tokens}}}")
        }
    })
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
    let body = match upstream {
        Grammar::Gemini => {
            let model = resource_text(target.model);
            let inside = with_first(&body, "model", &model)?;
            format!("{{\"generateContentRequest\":{inside}}}")
        }
        Grammar::Converse => {
            let inside = keep_members(&body, CONVERSE_MEMBERS)?;
            format!("{{\"input\":{{\"converse\":{inside}}}}}")
        }
        Grammar::Anthropic => keep_members(&body, ANTHROPIC_MEMBERS)?,
        Grammar::Chat | Grammar::Responses | Grammar::Hosted => keep_members(&body, RESPONSES_MEMBERS)?,
    };
    Ok(TranslatedRequest { body: Bytes::from(body), dropped })
}

/// The members that token counters accept; they refuse all others.
const ANTHROPIC_MEMBERS: &[&str] =
    &["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"];
const CONVERSE_MEMBERS: &[&str] = &["messages", "system", "toolConfig", "additionalModelRequestFields"];
const RESPONSES_MEMBERS: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
];

/// The object with only the members of these names, each as written.
pub(crate) fn keep_members(object: &[u8], names: &[&str]) -> Result<String, Box<Fault>> {
    let mut out = String::from("{");
    let mut cursor = Cursor::new(object)?;
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        let value = cursor.skip()?;
        if names.contains(&&*name) {
            let comma = if out.len() == 1 { "" } else { "," };
            out.push_str(&format!("{comma}\"{name}\":"));
            out.push_str(&String::from_utf8_lossy(value.of(object)));
        }
        Ok::<(), JsonError>(())
    })?;
    out.push('}');
    Ok(out)
}

/// The object with one more member, put first.
fn with_first(object: &[u8], name: &str, value: &str) -> Result<String, Box<Fault>> {
    let text = std::str::from_utf8(object).ok().and_then(|text| text.strip_prefix('{'));
    let inside = text.ok_or_else(|| Box::new(Fault::internal()))?;
    let comma = if inside.starts_with('}') { "" } else { "," };
    Ok(format!("{{\"{name}\":{value}{comma}{inside}"))
}

/// Reads an upstream's count, and writes it in the client's dialect. Counting uses no tokens.
pub(crate) fn buffered_answer(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
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
    let text = chat::side::document(body)?;
    let mut cursor = Cursor::new(text)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let name = match upstream {
        Grammar::Gemini => "totalTokens",
        Grammar::Converse => "inputTokens",
        Grammar::Chat | Grammar::Responses | Grammar::Anthropic | Grammar::Hosted => "input_tokens",
    };
    let mut tokens = None;
    let mut is_error = false;
    cursor.object(|cursor, member| {
        let value = cursor.value()?;
        if member.key.is(name) {
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
        // Gemini omits zeros.
        None if upstream == Grammar::Gemini => Ok(0),
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
