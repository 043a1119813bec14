//! Results that are longer than what a model is given at once. They are kept for the request alone, and a tool of the gateway reads
//! on in them by a handle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use domain::CallOutcome;
use serde_json::{Map, Value, json};
use tools::{CallFailure, RESULT_BYTES_MAX, ToolAnswer, cut};

use crate::limits::KEPT_BYTES_MAX;

/// The tool that reads on.
pub(crate) const READ_RESULT: &str = "read_tool_result";
pub(crate) const DESCRIPTION: &str = "Reads further in a tool's result that was too long to show in full. The note at its end names the handle and the offset.";

pub(crate) fn parameters() -> Value {
    json!({"type": "object", "required": ["handle", "offset"], "properties": {
        "handle": {"type": "string"},
        "offset": {"type": "integer", "minimum": 0, "description": "The byte to begin at."},
    }})
}

/// Long results of one request.
#[derive(Default)]
pub(crate) struct KeptResults {
    texts: RefCell<Vec<Rc<str>>>,
    bytes: Cell<usize>,
    /// The model can call the tool that reads on.
    pub is_read: Cell<bool>,
}

impl KeptResults {
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.borrow().is_empty()
    }

    /// The part of a result that is given at once, with a note of the rest; `None` for one that is not too long.
    pub(crate) fn shortened(&self, text: &str, bytes_max: usize) -> Option<String> {
        if text.len() <= bytes_max {
            return None;
        }
        let given = cut(text, bytes_max);
        Some(match self.keep(text) {
            Some(handle) => format!("{given}\n{}", reads_on(&handle, given.len(), text.len())),
            None => format!(
                "{given}\n[The result has {} bytes; the rest was left out after {}.]",
                text.len(),
                given.len()
            ),
        })
    }

    fn keep(&self, text: &str) -> Option<String> {
        let bytes = self.bytes.get().checked_add(text.len()).filter(|bytes| *bytes <= KEPT_BYTES_MAX)?;
        if !self.is_read.get() {
            return None;
        }
        self.bytes.set(bytes);
        let mut texts = self.texts.borrow_mut();
        texts.push(Rc::from(text));
        Some(format!("result_{}", texts.len()))
    }

    /// Answers a call of the tool that reads on.
    pub(crate) fn read(&self, arguments: &Map<String, Value>) -> Result<ToolAnswer, CallFailure> {
        let wrong = |text: &str| CallFailure::new(CallOutcome::BadArguments, text);
        let handle = arguments.get("handle").and_then(Value::as_str).unwrap_or_default();
        let number = handle.strip_prefix("result_").and_then(|number| number.parse::<usize>().ok());
        let texts = self.texts.borrow();
        let text = number.and_then(|number| texts.get(number.checked_sub(1)?));
        let text = text.ok_or_else(|| wrong("No result of this request has this handle."))?;
        let offset = arguments.get("offset").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
        let rest = offset.and_then(|offset| text.get(offset..));
        let (Some(offset), Some(rest)) = (offset, rest) else {
            return Err(wrong("The offset is beyond the result's end, or in the middle of a character."));
        };
        let given = cut(rest, RESULT_BYTES_MAX.saturating_sub(NOTE_BYTES));
        let end = offset + given.len();
        let mut answer = given.to_owned();
        if end < text.len() {
            answer.push('\n');
            answer.push_str(&reads_on(handle, end, text.len()));
        }
        Ok(ToolAnswer { text: answer, is_error: false })
    }
}

/// More than the longest note, so that what is read on is not shortened again.
const NOTE_BYTES: usize = 256;

fn reads_on(handle: &str, end: usize, total: usize) -> String {
    format!(
        "[The result has {total} bytes. Call {READ_RESULT} with {{\"handle\": \"{handle}\", \"offset\": {end}}} for what follows.]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(handle: &str, offset: u64) -> Map<String, Value> {
        let read = json!({"handle": handle, "offset": offset});
        read.as_object().cloned().unwrap()
    }

    #[test]
    fn a_long_result_is_read_to_its_end() {
        let kept = KeptResults::default();
        kept.is_read.set(true);
        let long = "é".repeat(RESULT_BYTES_MAX);
        let given = kept.shortened(&long, RESULT_BYTES_MAX).unwrap();
        let mut read = given.split_once('\n').unwrap().0.to_owned();
        while read.len() < long.len() {
            let answer = kept.read(&arguments("result_1", read.len() as u64)).unwrap().text;
            assert!(answer.len() <= RESULT_BYTES_MAX, "{}", answer.len());
            let part = answer.split_once('\n').map_or(answer.as_str(), |(part, note)| {
                assert!(note.starts_with("[The result has"), "{note}");
                part
            });
            assert!(!part.is_empty());
            read.push_str(part);
        }
        assert!(read == long, "{} of {}", read.len(), long.len());
    }

    #[test]
    fn what_is_not_kept_is_not_read() {
        let kept = KeptResults::default();
        assert_eq!(kept.shortened("short", 5), None);
        let given = kept.shortened("aéé", 4).unwrap();
        assert!(given.starts_with("aé\n[The result has 5 bytes; the rest was left out after 3"), "{given}");
        assert!(kept.is_empty());
        kept.is_read.set(true);
        assert!(kept.shortened("aéé", 4).unwrap().contains("\"offset\": 3"));
        for (handle, offset) in [("result_0", 0), ("result_2", 0), ("x", 0), ("result_1", 2), ("result_1", 9)]
        {
            let failure = kept.read(&arguments(handle, offset)).unwrap_err();
            assert_eq!(failure.outcome, CallOutcome::BadArguments, "{handle} {offset}");
        }
        assert!(kept.shortened(&"x".repeat(KEPT_BYTES_MAX), 4).unwrap().contains("left out"));
    }
}
