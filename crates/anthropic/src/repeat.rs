//! A marked prefix, sent once more: with one token of output, since reading it is all that is wanted.

use conversation::repeat::{Repeat, RepeatedPrefix, RepeatsPrefixes};
use json::members::Members;
use json::written::json_string;
use json::{Cursor, JsonError, Kind, Span, Value};

/// What a repeat says itself, or has no use for.
const REPLACED: [&str; 5] = ["model", "max_tokens", "stream", "stop_sequences", "anthropic_version"];
/// What makes a request do more than answer.
const ACTING: [&str; 2] = ["mcp_servers", "container"];
/// A conversation must have a turn of the user's.
const SHORTEST_TURN: &str = r#"{"role":"user","content":"."}"#;

#[derive(Debug)]
pub(crate) struct Repeats;

/// The parts of a request.
#[derive(Debug, Default)]
struct Parts {
    /// Each from its name to the end of its value.
    others: Vec<Span>,
    turns: Vec<Turn>,
    is_acting: bool,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    span: Span,
    is_assistants: bool,
}

impl RepeatsPrefixes for Repeats {
    fn write(&self, prefix: RepeatedPrefix<'_>) -> Option<Repeat> {
        let RepeatedPrefix { body, turns, model } = prefix;
        let parts = Parts::read(body).filter(|parts| !parts.is_acting)?;
        let mut out = format!("{{\"model\":{},\"max_tokens\":1", json_string(model)).into_bytes();
        for member in &parts.others {
            out.push(b',');
            out.extend_from_slice(member.of(body));
        }
        out.extend_from_slice(b",\"messages\":[");
        let rest_bytes = parts.write_turns(turns, body, &mut out)?;
        out.extend_from_slice(b"]}");
        Some(Repeat { body: out, rest_bytes })
    }

    fn cached_tokens(&self, answer: &[u8]) -> Option<u64> {
        let mut usage = Members::read(answer, String::new()).ok()?.members("usage").ok()??;
        usage.count("cache_read_input_tokens").ok()?
    }
}

impl Parts {
    fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body).ok()?;
        let mut parts = Self::default();
        cursor
            .object(|cursor, member| parts.read_member(cursor, &member.key.decode(), member.key.span.start))
            .ok()?;
        cursor.end().ok()?;
        Some(parts)
    }

    fn read_member(&mut self, cursor: &mut Cursor<'_>, name: &str, start: usize) -> Result<(), JsonError> {
        match name {
            "messages" => return self.read_turns(cursor),
            "thinking" => self.is_acting |= thinks(cursor)?,
            name if REPLACED.contains(&name) => return cursor.ignore(),
            name => {
                let is_something = cursor.value()?.is_something(cursor.bytes());
                self.is_acting |= is_something && ACTING.contains(&name);
            }
        }
        self.others.push(Span::new(start, cursor.position()));
        Ok(())
    }

    fn read_turns(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.array(|cursor, _| {
            let mut is_assistants = false;
            let span = cursor.object(|cursor, member| {
                if !member.key.is("role") {
                    return cursor.ignore();
                }
                is_assistants = matches!(cursor.value()?, Value::String(role) if role.is("assistant"));
                Ok(())
            })?;
            self.turns.push(Turn { span, is_assistants });
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    /// Writes the turns of the prefix, and whatever makes a conversation of them; returns the length of that. Each call of
    /// a tool must have its result, so that a prefix that ends with the assistant takes the next turn along.
    fn write_turns(&self, turns: usize, body: &[u8], out: &mut Vec<u8>) -> Option<u64> {
        let Some(last) = turns.checked_sub(1) else {
            out.extend_from_slice(SHORTEST_TURN.as_bytes());
            return Some(SHORTEST_TURN.len() as u64);
        };
        let rest = if self.turns.get(last)?.is_assistants { Some(self.turns.get(turns)?) } else { None };
        for (number, turn) in self.turns.get(..turns)?.iter().chain(rest).enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(turn.span.of(body));
        }
        Some(rest.map_or(0, |turn| turn.span.len() as u64))
    }
}

/// A request that thinks may not have so few tokens, and one that doesn't is cached apart.
fn thinks(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    if cursor.kind()? != Kind::Object {
        return Ok(cursor.value()?.is_something(cursor.bytes()));
    }
    let mut thinks = true;
    cursor.object(|cursor, member| {
        if member.key.is("type") {
            thinks = !matches!(cursor.value()?, Value::String(kind) if kind.is("disabled"));
            return Ok(());
        }
        cursor.ignore()
    })?;
    Ok(thinks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &str = r#"{"stream":true, "tools" : [{"name":"f","cache_control":{"type":"ephemeral"}}], "model":"claude","system":"S",
        "max_tokens": 900,"messages":[ {"role":"user","content":"1"} ,{"role":"assistant","content":[{"type":"tool_use","id":"a"}]},
        {"content":[{"type":"tool_result","tool_use_id":"a"}],"role":"user"}],"metadata":{"user_id":"u"}}"#;
    const HEAD: &str = r#"{"model":"a/\"b","max_tokens":1,"tools" : [{"name":"f","cache_control":{"type":"ephemeral"}}],"system":"S","metadata":{"user_id":"u"},"messages":"#;

    fn repeat(body: &str, turns: usize) -> Option<(String, u64)> {
        let written = Repeats.write(RepeatedPrefix { body: body.as_bytes(), turns, model: "a/\"b" })?;
        Some((String::from_utf8(written.body).unwrap(), written.rest_bytes))
    }

    #[test]
    fn a_repeat_has_the_prefix_and_as_little_else_as_may_be() {
        let one = r#"{"role":"user","content":"1"}"#;
        let two = r#"{"role":"assistant","content":[{"type":"tool_use","id":"a"}]}"#;
        let three = r#"{"content":[{"type":"tool_result","tool_use_id":"a"}],"role":"user"}"#;
        let own = SHORTEST_TURN.len() as u64;
        assert_eq!(repeat(TALK, 0), Some((format!("{HEAD}[{SHORTEST_TURN}]}}"), own)));
        assert_eq!(repeat(TALK, 1), Some((format!("{HEAD}[{one}]}}"), 0)));
        let all = format!("{HEAD}[{one},{two},{three}]}}");
        assert_eq!(repeat(TALK, 2), Some((all.clone(), three.len() as u64)), "a call and its result");
        assert_eq!(repeat(TALK, 3), Some((all, 0)));
        assert_eq!(repeat(TALK, 4), None);
    }

    #[test]
    fn what_thinks_or_acts_is_not_repeated() {
        let with = |more: &str| {
            repeat(&format!(r#"{{"messages":[{{"role":"user","content":"1"}}],{more}}}"#), 1).is_some()
        };
        for more in [
            r#""thinking":{"type":"disabled"}"#,
            r#""thinking":null"#,
            r#""mcp_servers":[],"container":null"#,
            r#""speed":"fast""#,
        ] {
            assert!(with(more), "{more}");
        }
        for more in [
            r#""thinking":{"type":"adaptive"}"#,
            r#""thinking":{"budget_tokens":2000,"type":"enabled"}"#,
            r#""thinking":{}"#,
            r#""mcp_servers":[{"url":"https://a"}]"#,
            r#""container":"c""#,
        ] {
            assert!(!with(more), "{more}");
        }
        let cut = r#"{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"2"}]}"#;
        assert_eq!(repeat(cut, 2), None, "nothing follows the assistant");
        for body in ["[]", "{", r#"{"messages":7}"#, r#"{"messages":[7]}"#, r#"{"messages":[]} x"#] {
            assert_eq!(repeat(body, 0), None, "{body}");
        }
    }

    #[test]
    fn an_answer_tells_what_came_from_the_cache() {
        let cached = |answer: &str| Repeats.cached_tokens(answer.as_bytes());
        assert_eq!(cached(r#"{"usage":{"input_tokens":3,"cache_read_input_tokens":2048}}"#), Some(2_048));
        assert_eq!(cached(r#"{"usage":{"input_tokens":3}}"#), None);
        assert_eq!(cached("x"), None);
    }
}
