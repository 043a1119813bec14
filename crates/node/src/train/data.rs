//! Training data in a request: JSON lines, or a list of conversations.

use domain::training::{TrainingError, UnusableLine};
use domain::{Fault, FaultClass};
use serde_json::Value;

use super::fields::wrong;

/// Training data: in the request itself, or a file that was uploaded before.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Lines(Vec<u8>),
    File(String),
}

/// Unusable lines that an error message lists.
const LINES_NAMED: usize = 20;

impl Data {
    /// Reads a text of lines, or a list in which each item becomes a line.
    pub(super) fn read(name: &'static str, value: Value) -> Result<Self, Box<Fault>> {
        match value {
            Value::String(lines) => Ok(Self::Lines(lines.into_bytes())),
            Value::Array(conversations) => {
                let mut lines = Vec::new();
                for conversation in conversations {
                    lines.extend(conversation.to_string().into_bytes());
                    lines.push(b'\n');
                }
                Ok(Self::Lines(lines))
            }
            _ => Err(wrong(
                name,
                "is neither a text nor a list",
                "Send lines of JSON as one string, or a list of conversations, each {\"messages\": [...]}.",
            )),
        }
    }
}

/// The first `count` lines that are not empty.
pub(super) fn first(lines: Vec<u8>, count: usize) -> Vec<u8> {
    let filled = lines.split_inclusive(|byte| *byte == b'\n').scan(0, |seen, line| {
        *seen += usize::from(!line.trim_ascii().is_empty());
        (*seen <= count).then_some(line.len())
    });
    let length = filled.sum();
    let mut lines = lines;
    lines.truncate(length);
    lines
}

/// The error for unusable lines: each with its position and the reason.
pub(super) fn unusable(unfit: TrainingError) -> Box<Fault> {
    let (of_held_out, lines, more) = match unfit {
        TrainingError::Fault(fault) => return fault,
        TrainingError::Cancelled => {
            let message = "The node ends, and reads no more of it.";
            let fault = Fault::new(FaultClass::Unavailable, "node_ends", message);
            return Box::new(fault.fix("Send it again once the node runs again."));
        }
        TrainingError::Lines { of_held_out, lines, more } => (of_held_out, lines, more),
    };
    let describe = |line: &UnusableLine| match line.field.as_str() {
        "" => format!("line {}: {}", line.line, line.why),
        field => format!("line {}: {field} {}", line.line, line.why),
    };
    let named: Vec<String> = lines.iter().take(LINES_NAMED).map(describe).collect();
    let rest = lines.len() - named.len() + more;
    let more = if rest == 0 { String::new() } else { format!("; and {rest} more") };
    let whose = if of_held_out { "What is to be held out" } else { "What is to be learned" };
    let message = format!("{whose} can't be used: {}{more}.", named.join("; "));
    let param = if of_held_out { "validation_file" } else { "training_file" };
    let fault = Fault::new(FaultClass::BadRequest, "invalid_training_data", message);
    Box::new(fault.param(param).fix("Correct these lines; docs/training.md says what a line contains."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_and_lines_are_the_same() {
        let list = Data::read("data", json!([{"messages": []}, {"messages": [1]}])).unwrap();
        assert_eq!(list, Data::Lines(b"{\"messages\":[]}\n{\"messages\":[1]}\n".to_vec()));
        assert_eq!(Data::read("data", json!("{}")).unwrap(), Data::Lines(b"{}".to_vec()));
        assert_eq!(Data::read("data", json!(7)).unwrap_err().param.as_deref(), Some("data"));
        let lines = b"a\n\nb\nc".to_vec();
        assert_eq!(first(lines.clone(), 2), b"a\n\nb\n");
        assert_eq!(first(lines.clone(), 9), lines);
        assert!(first(lines, 0).is_empty());
    }

    #[test]
    fn lines_are_named_up_to_a_bound() {
        let line = |line| UnusableLine { line, field: "messages[0].role".into(), why: "is none".into() };
        let lines = (1..=100).map(line).collect();
        let fault = unusable(TrainingError::Lines { of_held_out: false, lines, more: 7 });
        assert!(fault.message.contains("line 20: messages[0].role is none; and 87 more."), "{fault}");
        assert_eq!(fault.param.as_deref(), Some("training_file"));
    }
}
