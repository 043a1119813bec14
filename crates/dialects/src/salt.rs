//! Keeps prompts apart in a provider's cache that several share: a line of each one's own comes first in the instructions, so
//! that no prefix is another's.

use domain::Grammar;

use crate::json::{Cursor, JsonError, Kind, Span, Value};
use crate::prefix::{self, CACHE_KEY, Insert};

/// What a prompt is told apart by.
pub struct CacheSalt<'a> {
    /// A word that needs no escapes.
    pub word: &'a str,
    /// A key of the client's own under which a cache is asked, as it is told to the provider; no escapes either.
    pub key: &'a dyn Fn(&str) -> String,
}

/// Salts a request that was found to be one.
///
/// Responses repeats its instructions to its client, so there the salt goes into the key under which its cache is asked, which
/// `has_key` says it has already.
#[must_use]
pub fn salt_cache(grammar: Grammar, body: &[u8], salt: &CacheSalt<'_>, has_key: bool) -> Vec<Insert> {
    let read = match grammar {
        Grammar::Chat => chat(body, salt.word),
        Grammar::Anthropic => instructions(body, &SYSTEM, salt.word),
        Grammar::Converse => instructions(body, &BLOCKS, salt.word),
        Grammar::Gemini => instructions(body, &PARTS, salt.word),
        Grammar::Responses => key(body, salt, has_key),
        Grammar::Hosted => Ok(None),
    };
    // Whoever reads it next says what is wrong with it.
    read.ok().flatten().into_iter().collect()
}

fn line(word: &str) -> String {
    format!("[cache {word}]")
}

/// The line before a text: behind its quote.
fn before_text(text: Span, word: &str) -> Insert {
    Insert::at(text.start + 1, format!("{}\\n", line(word)))
}

/// A first element of an array.
fn first(array: Span, is_empty: bool, element: &str) -> Insert {
    let comma = if is_empty { "" } else { "," };
    Insert::at(array.start + 1, format!("{element}{comma}"))
}

fn text_block(word: &str) -> String {
    format!(r#"{{"type":"text","text":"{}"}}"#, line(word))
}

/// Where a grammar has its instructions.
struct Instructions {
    name: &'static str,
    alias: &'static str,
    /// They are in this member of the object that stands there.
    inner: Option<&'static str>,
    /// The line as one more block of what is said already.
    block: fn(&str) -> String,
    /// The line alone.
    value: fn(&str) -> String,
}

const SYSTEM: Instructions = Instructions {
    name: "system",
    alias: "system",
    inner: None,
    block: text_block,
    value: |word| format!(r#""{}""#, line(word)),
};
const BLOCKS: Instructions = Instructions {
    name: "system",
    alias: "system",
    inner: None,
    block: bare_block,
    value: |word| format!("[{}]", bare_block(word)),
};
const PARTS: Instructions = Instructions {
    name: "systemInstruction",
    alias: "system_instruction",
    inner: Some("parts"),
    block: bare_block,
    value: |word| format!(r#"{{"parts":[{}]}}"#, bare_block(word)),
};

fn bare_block(word: &str) -> String {
    format!(r#"{{"text":"{}"}}"#, line(word))
}

/// What stands where instructions may.
#[derive(Clone, Copy)]
enum Said {
    Nothing,
    Null(Span),
    Text(Span),
    List {
        span: Span,
        is_empty: bool,
    },
    /// It has no place for a line.
    Other,
}

fn said(cursor: &mut Cursor<'_>) -> Result<Said, JsonError> {
    Ok(match cursor.kind()? {
        Kind::Null => Said::Null(cursor.skip()?),
        Kind::String => Said::Text(cursor.skip()?),
        Kind::Array => {
            let mut is_empty = true;
            let span = cursor.array(|cursor, _| {
                is_empty = false;
                cursor.skip().map(drop)
            })?;
            Said::List { span, is_empty }
        }
        _ => {
            cursor.skip()?;
            Said::Other
        }
    })
}

/// What a member of an object says.
fn said_in(cursor: &mut Cursor<'_>, name: &str) -> Result<Said, JsonError> {
    let mut inside = Said::Other;
    cursor.object(|cursor, member| {
        if !member.key.is(name) {
            return cursor.skip().map(drop);
        }
        inside = said(cursor)?;
        Ok(())
    })?;
    Ok(inside)
}

fn instructions(body: &[u8], place: &Instructions, word: &str) -> Result<Option<Insert>, JsonError> {
    let mut found = Said::Nothing;
    let whole = Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is(place.name) && !member.key.is(place.alias) {
            return cursor.skip().map(drop);
        }
        found = match place.inner {
            Some(inner) if cursor.kind()? == Kind::Object => said_in(cursor, inner)?,
            _ => said(cursor)?,
        };
        Ok(())
    })?;
    Ok(match found {
        Said::Text(text) => Some(before_text(text, word)),
        Said::List { span, is_empty } => Some(first(span, is_empty, &(place.block)(word))),
        Said::Nothing => {
            Some(Insert::at(whole.start + 1, format!("\"{}\":{},", place.name, (place.value)(word))))
        }
        Said::Null(span) => Some(Insert::instead(span, (place.value)(word))),
        Said::Other => None,
    })
}

/// A chat's instructions are its first message, if that is of such a role.
fn chat(body: &[u8], word: &str) -> Result<Option<Insert>, JsonError> {
    let (mut messages, mut instructions) = (None, None);
    Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is("messages") || cursor.kind()? != Kind::Array {
            return cursor.skip().map(drop);
        }
        messages = Some(cursor.array(|cursor, number| {
            if number == 0 && cursor.kind()? == Kind::Object {
                instructions = leading(cursor)?;
                return Ok(());
            }
            cursor.skip().map(drop)
        })?);
        Ok(())
    })?;
    Ok(match (instructions, messages) {
        (Some(Said::Text(text)), _) => Some(before_text(text, word)),
        (Some(Said::List { span, is_empty }), _) => Some(first(span, is_empty, &text_block(word))),
        (_, Some(messages)) => {
            let message = format!(r#"{{"role":"system","content":"{}"}}"#, line(word));
            Some(first(messages, false, &message))
        }
        (_, None) => None,
    })
}

/// What a message says, if it is an instruction.
fn leading(cursor: &mut Cursor<'_>) -> Result<Option<Said>, JsonError> {
    let (mut is_instruction, mut content) = (false, None);
    cursor.object(|cursor, member| {
        if member.key.is("role") {
            is_instruction = prefix::is_instruction(cursor)?;
        } else if member.key.is("content") {
            content = Some(said(cursor)?);
        } else {
            cursor.skip()?;
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(content.filter(|_| is_instruction))
}

fn key(body: &[u8], salt: &CacheSalt<'_>, has_key: bool) -> Result<Option<Insert>, JsonError> {
    let (mut found, mut own) = (Said::Nothing, None);
    let whole = Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is(CACHE_KEY) {
            return cursor.skip().map(drop);
        }
        if cursor.kind()? == Kind::String {
            let start = cursor.position();
            if let Value::String(text) = cursor.value()? {
                own = Some((Span::new(start, cursor.position()), text.decode().into_owned()));
            }
            return Ok(());
        }
        found = said(cursor)?;
        Ok(())
    })?;
    Ok(match (own, found) {
        (Some((span, text)), _) => Some(Insert::instead(span, format!("\"{}\"", (salt.key)(&text)))),
        (None, Said::Null(span)) => Some(Insert::instead(span, format!("\"{}\"", (salt.key)("")))),
        (None, Said::Nothing) if !has_key => {
            Some(Insert::at(whole.start + 1, format!("\"{CACHE_KEY}\":\"{}\",", (salt.key)(""))))
        }
        (None, _) => None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::prefix::insert;

    fn salted(grammar: Grammar, body: &Json) -> Json {
        let text = body.to_string();
        let salt = CacheSalt { word: "5a17", key: &|own| format!("k5a17-{own}") };
        let inserts = salt_cache(grammar, text.as_bytes(), &salt, false);
        serde_json::from_slice(&insert(&Bytes::from(text), &inserts).concat()).unwrap()
    }

    /// The instructions of a request of this grammar, before and after.
    fn check(grammar: Grammar, name: &str, before: Option<Json>, after: &Json) {
        let mut body = json!({"model": "m", "max_tokens": 7});
        if let Some(before) = before {
            body[name] = before;
        }
        let mut expected = body.clone();
        expected[name] = after.clone();
        assert_eq!(salted(grammar, &body), expected, "{grammar:?} {body}");
    }

    #[test]
    fn a_line_stands_before_the_instructions_of_each_grammar() {
        let text = json!({"type": "text", "text": "Be brief."});
        let line = json!({"type": "text", "text": "[cache 5a17]"});
        let chat = |first: Json| json!([first, {"role": "user", "content": "x"}]);
        for role in ["system", "developer"] {
            let told = |content: Json| chat(json!({"role": role, "content": content}));
            check(
                Grammar::Chat,
                "messages",
                Some(told(json!("Be brief."))),
                &told(json!("[cache 5a17]\nBe brief.")),
            );
            check(Grammar::Chat, "messages", Some(told(json!([text]))), &told(json!([line, text])));
        }
        check(
            Grammar::Chat,
            "messages",
            Some(json!([{"role": "user", "content": "x"}])),
            &chat(json!({"role": "system", "content": "[cache 5a17]"})),
        );
        for (before, after) in [
            (Some(json!("Be \"brief\".")), json!("[cache 5a17]\nBe \"brief\".")),
            (Some(json!([text])), json!([line, text])),
            (Some(json!([])), json!([line])),
            (Some(json!(null)), json!("[cache 5a17]")),
            (None, json!("[cache 5a17]")),
        ] {
            check(Grammar::Anthropic, "system", before, &after);
        }
        let (text, line) = (json!({"text": "Be brief."}), json!({"text": "[cache 5a17]"}));
        check(Grammar::Converse, "system", Some(json!([text])), &json!([line, text]));
        check(Grammar::Converse, "system", None, &json!([line]));
        for name in ["systemInstruction", "system_instruction"] {
            check(Grammar::Gemini, name, Some(json!({"parts": [text]})), &json!({"parts": [line, text]}));
        }
        check(Grammar::Gemini, "systemInstruction", None, &json!({"parts": [line]}));
    }

    #[test]
    fn a_key_is_its_owners() {
        for (before, after) in
            [(Some(json!("mine")), "k5a17-mine"), (Some(json!(null)), "k5a17-"), (None, "k5a17-")]
        {
            check(Grammar::Responses, "prompt_cache_key", before, &json!(after));
        }
        let salt = CacheSalt { word: "5a17", key: &|_| String::new() };
        let body = br#"{"model":"m","input":"x"}"#;
        assert_eq!(salt_cache(Grammar::Responses, body, &salt, true), [], "it has one of ours");
    }

    #[test]
    fn what_can_not_be_read_is_left_to_who_says_so() {
        let salt = CacheSalt { word: "5a17", key: &|_| String::new() };
        for body in ["", "[]", "{", r#"{"system":7}"#, r#"{"messages":7}"#, r#"{"system":"#] {
            for grammar in [Grammar::Chat, Grammar::Anthropic, Grammar::Converse] {
                let inserts = salt_cache(grammar, body.as_bytes(), &salt, false);
                assert!(inserts.len() <= 1, "{body}");
            }
        }
    }
}
