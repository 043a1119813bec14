//! Requests in two: `cachedContents` for the beginning, and `generateContent` with its name for the rest, which may then
//! have no instructions and tools of its own.

use std::fmt::Write as _;

use conversation::divide::{DividesPrompts, DivisiblePrompt, NewCache, TurnSpan};
use conversation::request::resource_text;
use json::{Cursor, JsonError, Kind, Span, Value};

use crate::cache::RESOURCE;
use crate::names::camel;

/// What a cache has before the turns: no request that names one may have any of it.
const HEAD: [&str; 3] = ["tools", "toolConfig", "systemInstruction"];

#[derive(Debug)]
pub(crate) struct Divides;

impl DividesPrompts for Divides {
    fn read(&self, body: &[u8]) -> Option<DivisiblePrompt> {
        let mut cursor = Cursor::new(body).ok()?;
        let (mut prompt, mut names_cache) = (DivisiblePrompt::default(), false);
        let read = cursor.object(|cursor, member| {
            let name = camel(&member.key.decode()).into_owned();
            let start = member.key.span.start;
            if name == "contents" {
                return read_turns(cursor, &mut prompt.turns);
            }
            let value = cursor.value()?;
            let is_something = value.is_something(body);
            names_cache |= name == "cachedContent" && is_something;
            let span = Span::new(start, cursor.position());
            let place = if HEAD.contains(&&*name) { &mut prompt.head } else { &mut prompt.others };
            place.extend(is_something.then_some(span));
            Ok::<(), JsonError>(())
        });
        read.ok()?;
        cursor.end().ok()?;
        (!names_cache && !prompt.turns.is_empty()).then_some(prompt)
    }

    fn write_cache(&self, prompt: &DivisiblePrompt, body: &[u8], turns: usize, new: NewCache<'_>) -> Vec<u8> {
        let mut out =
            format!("{{\"model\":{},\"ttl\":\"{}s\"", resource_text(new.model), new.ttl_s).into_bytes();
        write_members(&prompt.head, body, &mut out);
        if turns > 0 {
            write_turns(prompt.turns.get(..turns).unwrap_or_default(), body, &mut out);
        }
        out.push(b'}');
        out
    }

    fn write_rest(&self, prompt: &DivisiblePrompt, body: &[u8], turns: usize, id: &str) -> Vec<u8> {
        let mut name = String::from("{\"cachedContent\":\"");
        // The provider's own id, which has letters, digits and hyphens.
        let plain = id.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter));
        let plain: String = plain.collect();
        let _infallible = write!(name, "{RESOURCE}{plain}\"");
        let mut out = name.into_bytes();
        write_members(&prompt.others, body, &mut out);
        write_turns(prompt.turns.get(turns..).unwrap_or_default(), body, &mut out);
        out.push(b'}');
        out
    }
}

fn read_turns(cursor: &mut Cursor<'_>, turns: &mut Vec<TurnSpan>) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Array {
        // One turn in place of a list: nothing follows a cut.
        return cursor.skip().map(drop);
    }
    cursor.array(|cursor, _| {
        turns.push(read_turn(cursor)?);
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

/// A turn of the model, and one with results, belong to the turn before.
fn read_turn(cursor: &mut Cursor<'_>) -> Result<TurnSpan, JsonError> {
    if cursor.kind()? != Kind::Object {
        return Ok(TurnSpan { span: cursor.skip()?, may_begin: false });
    }
    let mut may_begin = true;
    let span = cursor.object(|cursor, member| {
        match &*camel(&member.key.decode()) {
            "role" => may_begin &= !matches!(cursor.value()?, Value::String(role) if role.is("model")),
            "parts" if cursor.kind()? == Kind::Array => {
                cursor.array(|cursor, _| {
                    may_begin &= !is_result(cursor)?;
                    Ok::<(), JsonError>(())
                })?;
            }
            "parts" => may_begin &= !is_result(cursor)?,
            _ => drop(cursor.skip()?),
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(TurnSpan { span, may_begin })
}

fn is_result(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(false);
    }
    let mut is_result = false;
    cursor.object(|cursor, member| {
        is_result |= matches!(&*camel(&member.key.decode()), "functionResponse" | "toolResponse");
        cursor.ignore()
    })?;
    Ok(is_result)
}

fn write_members(members: &[Span], body: &[u8], out: &mut Vec<u8>) {
    for member in members {
        out.push(b',');
        out.extend_from_slice(member.of(body));
    }
}

fn write_turns(turns: &[TurnSpan], body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"contents\":[");
    for (number, turn) in turns.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(turn.span.of(body));
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &str = r#"{"system_instruction": {"parts":[{"text":"S"}]}, "contents" : [ {"role":"user","parts":[{"text":"1"}]},
        {"role":"model","parts":[{"functionCall":{"name":"f"}}]} , {"role":"user","parts":[{"function_response":{"name":"f"}}]},
        {"parts":{"text":"2"}}], "tools":[{"functionDeclarations":[{"name":"f"}]}],"generationConfig":{"seed":7},
        "toolConfig":null}"#;

    fn read(body: &str) -> Option<DivisiblePrompt> {
        Divides.read(body.as_bytes())
    }

    #[test]
    fn a_prompt_is_cut_before_what_a_user_says() {
        let talk = read(TALK).unwrap();
        assert_eq!(talk.cuts().collect::<Vec<_>>(), [0, 3]);
        let new = NewCache { model: "google/flash", ttl_s: 300 };
        let cache = String::from_utf8(Divides.write_cache(&talk, TALK.as_bytes(), 3, new)).unwrap();
        let head = r#""system_instruction": {"parts":[{"text":"S"}]},"tools":[{"functionDeclarations":[{"name":"f"}]}]"#;
        let turns = r#"{"role":"user","parts":[{"text":"1"}]},{"role":"model","parts":[{"functionCall":{"name":"f"}}]},{"role":"user","parts":[{"function_response":{"name":"f"}}]}"#;
        assert_eq!(
            cache,
            format!(r#"{{"model":"models/google/flash","ttl":"300s",{head},"contents":[{turns}]}}"#)
        );
        let rest = String::from_utf8(Divides.write_rest(&talk, TALK.as_bytes(), 3, "a-1")).unwrap();
        assert_eq!(
            rest,
            r#"{"cachedContent":"cachedContents/a-1","generationConfig":{"seed":7},"contents":[{"parts":{"text":"2"}}]}"#
        );
        let head_alone = String::from_utf8(Divides.write_cache(&talk, TALK.as_bytes(), 0, new)).unwrap();
        assert_eq!(head_alone, format!(r#"{{"model":"models/google/flash","ttl":"300s",{head}}}"#));
        assert_eq!(
            talk.prefix(1).map(|piece| piece.of(TALK.as_bytes()).len()).sum::<usize>(),
            head.len() - 1 + r#"{"role":"user","parts":[{"text":"1"}]}"#.len()
        );
    }

    #[test]
    fn what_names_a_cache_or_has_no_turns_is_left_alone() {
        for body in [
            r#"{"contents":[],"tools":[]}"#,
            r#"{"contents":{"parts":{"text":"1"}}}"#,
            r#"{"cachedContent":"cachedContents/x","contents":[{"parts":[{"text":"1"}]}]}"#,
            r#"{"contents":[{"parts":[{"text":"1"}]}],"cached_content":"cachedContents/x"}"#,
            "[]",
            "{",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        let bare = read(r#"{"cachedContent":null,"contents":[{"parts":[{"text":"1"}]}]}"#).unwrap();
        assert_eq!(bare.cuts().count(), 0, "nothing comes before the only turn");
    }
}
