//! What of a request's body decides where it goes: the model, and fingerprints of the beginnings of its prompt.
//!
//! A server's prefix cache has the prompt in blocks, each under a hash of all that comes before its end. The fingerprints here
//! are of the same kind, over the bytes of the body: at steps that grow with the length, and at the ends of the last elements of
//! a conversation, where its next request goes on.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use json::{Cursor, JsonError, Kind, Span};

use crate::limits::{LAST_ENDS_MAX, PREFIX_BYTES_MIN};

/// What the body of a request says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Question {
    pub model: Option<String>,
    /// The length of its prompt.
    pub prompt_bytes: u64,
    /// Fingerprints of the prompt's beginnings with their lengths, the shortest first; none of a short prompt.
    pub ends: Vec<(u64, u64)>,
}

/// The fields with a prompt, in the formats of the servers that are known.
const PROMPTS: [&str; 4] = ["messages", "prompt", "input", "contents"];
/// What chat templates write before the conversation.
const BEFORE: [&str; 5] = ["tools", "system", "instructions", "system_instruction", "systemInstruction"];

#[derive(Default)]
struct Fields {
    model: Option<String>,
    before: [Span; BEFORE.len()],
    prompt: Span,
    /// Where the elements of the prompt end, if it is a list: the last ones.
    ends: Vec<usize>,
}

/// Reads a body. What is no JSON object says nothing: the server refuses it, wherever it goes.
pub(crate) fn read(body: &[u8]) -> Question {
    let Ok(fields) = fields(body) else { return Question::default() };
    let prompt_bytes = fields.prompt.len() as u64;
    let ends = if fields.prompt.len() < PREFIX_BYTES_MIN { Vec::new() } else { ends_of(body, &fields) };
    Question { model: fields.model, prompt_bytes, ends }
}

fn fields(body: &[u8]) -> Result<Fields, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut fields = Fields::default();
    cursor.object(|cursor, member| {
        if member.key.is("model") {
            if let json::Value::String(text) = cursor.value()? {
                fields.model = Some(text.decode().into_owned());
            }
        } else if PROMPTS.iter().any(|name| member.key.is(name)) {
            fields.ends.clear();
            fields.prompt = read_prompt(cursor, &mut fields.ends)?;
        } else if let Some(at) = BEFORE.iter().position(|name| member.key.is(name)) {
            let span = cursor.skip()?;
            if let Some(slot) = fields.before.get_mut(at) {
                *slot = span;
            }
        } else {
            cursor.ignore()?;
        }
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    Ok(fields)
}

fn read_prompt(cursor: &mut Cursor<'_>, ends: &mut Vec<usize>) -> Result<Span, JsonError> {
    if cursor.kind()? != Kind::Array {
        return cursor.skip();
    }
    cursor.array(|cursor, _| {
        let element = cursor.skip()?;
        if ends.len() == LAST_ENDS_MAX {
            ends.remove(0);
        }
        ends.push(element.end);
        Ok::<(), JsonError>(())
    })
}

fn ends_of(body: &[u8], fields: &Fields) -> Vec<(u64, u64)> {
    let mut hasher = DefaultHasher::new();
    hasher.write(fields.model.as_deref().unwrap_or_default().as_bytes());
    for span in fields.before {
        hasher.write_usize(span.len());
        hasher.write(span.of(body));
    }
    let prompt = fields.prompt;
    let mut at = prompt.start;
    cuts(prompt.start..prompt.end, &fields.ends)
        .into_iter()
        .map(|end| {
            hasher.write(Span::new(at, end).of(body));
            at = end;
            (hasher.finish(), (end - prompt.start) as u64)
        })
        .collect()
}

/// Where the prompt is cut, in order: each step is an eighth to a quarter of what is before it.
fn cuts(prompt: Range<usize>, elements: &[usize]) -> Vec<usize> {
    let mut cuts: Vec<usize> = elements.to_vec();
    let (mut length, mut step) = (PREFIX_BYTES_MIN, PREFIX_BYTES_MIN / 4);
    while prompt.start + length <= prompt.end {
        cuts.push(prompt.start + length);
        length += step;
        if length >= 8 * step {
            step *= 2;
        }
    }
    cuts.retain(|cut| *cut >= prompt.start + PREFIX_BYTES_MIN);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn conversation(subject: &str, turns: usize) -> Vec<u8> {
        let system = format!("You know about {subject}. ").repeat(200);
        let mut messages = format!("{{\"role\":\"system\",\"content\":\"{system}\"}}");
        for turn in 0..turns {
            messages.push_str(&format!(",{{\"role\":\"user\",\"content\":\"Question {turn}?\"}}"));
        }
        format!("{{\"model\":\"m\",\"messages\":[{messages}],\"stream\":true}}").into_bytes()
    }

    /// The length of the longest beginning that both have.
    fn shared(one: &[u8], other: &[u8]) -> u64 {
        let (one, other) = (read(one), read(other));
        let both = other.ends.iter().filter(|end| one.ends.contains(end));
        both.map(|(_, length)| *length).max().unwrap_or(0)
    }

    #[test]
    fn the_next_request_of_a_conversation_shares_the_whole_of_the_last() {
        let (first, second) = (conversation("tides", 3), conversation("tides", 4));
        // All but the bracket that ends the list.
        assert_eq!(shared(&first, &second), read(&first).prompt_bytes - 1);
        assert!(shared(&first, &conversation("tides", 40)) > 4_000, "the system prompt at least");
        assert_eq!(shared(&first, &conversation("boats", 3)), 0);
    }

    #[test]
    fn what_comes_before_the_conversation_belongs_to_the_prefix() {
        let plain = conversation("tides", 1);
        let with = |field: &str| {
            let text = String::from_utf8(plain.clone()).unwrap();
            text.replacen('{', &format!("{{{field},"), 1).into_bytes()
        };
        for field in ["\"tools\":[{\"type\":\"function\"}]", "\"system\":\"short\"", "\"model\":\"other\""] {
            assert_eq!(shared(&plain, &with(field)) == 0, !field.contains("model"), "{field}");
        }
        assert_eq!(shared(&with("\"temperature\":1"), &plain), read(&plain).prompt_bytes - 1);
    }

    #[test]
    fn prompts_of_each_kind_are_read() {
        let long = "x".repeat(8_000);
        for body in [
            format!("{{\"model\":\"a\\u0062\",\"prompt\":\"{long}\"}}"),
            format!("{{\"model\":\"ab\",\"input\":[\"{long}\"]}}"),
            format!("{{\"contents\":[{{\"parts\":[{{\"text\":\"{long}\"}}]}}],\"model\":\"ab\"}}"),
        ] {
            let question = read(body.as_bytes());
            assert_eq!(question.model.as_deref(), Some("ab"), "{body}");
            assert!(question.prompt_bytes >= 8_000 && question.ends.len() > 5, "{question:?}");
        }
        let short = read(b"{\"model\":\"m\",\"prompt\":\"hello\"}");
        assert_eq!((short.ends, short.prompt_bytes), (Vec::new(), 7));
        for broken in [&b""[..], b"[]", b"{", b"{\"model\":1}", b"\xff", b"{\"messages\":[1,]}"] {
            let question = read(broken);
            assert_eq!((question.model, question.prompt_bytes), (None, 0));
        }
    }

    #[test]
    fn cuts_are_few_however_long_the_prompt() {
        assert!(cuts(0..64 * 1024, &[]).len() < 32, "{:?}", cuts(0..64 * 1024, &[]));
        assert!(cuts(0..10 * 1024 * 1024, &[]).len() < 64);
        for pair in cuts(100..1024 * 1024, &[]).windows(2) {
            let (before, after) = (pair[0] - 100, pair[1] - 100);
            assert!((after - before) * 3 <= before, "{before} to {after}");
        }
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&body);
        }

        #[test]
        fn equal_beginnings_have_equal_fingerprints(length in 3_000_usize..20_000, more in 1_usize..9_000) {
            let body = |length: usize| format!("{{\"prompt\":\"{}\"}}", "y".repeat(length)).into_bytes();
            let (short, long) = (read(&body(length)), read(&body(length + more)));
            let inside = |end: &&(u64, u64)| end.1 < length as u64;
            for end in short.ends.iter().filter(inside) {
                prop_assert!(long.ends.contains(end));
            }
        }
    }
}
