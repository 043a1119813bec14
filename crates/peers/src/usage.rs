//! Whether the usage that a peer claims can be true of what it sent.

use bytes::Bytes;
use serde_json::Value;

use crate::limits::{ANSWER_BYTES_MAX, EVENT_BYTES_MAX, HIDDEN_TOKENS_MAX, TEMPLATE_TOKENS_MAX};

/// The fields of an answer that hold its text, in each dialect.
const TEXTS: [&str; 10] = [
    "content",
    "text",
    "delta",
    "reasoning_content",
    "reasoning",
    "thinking",
    "arguments",
    "partial_json",
    "refusal",
    "name",
];

/// What is known of the request, to compare a claim with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestSize {
    pub body_bytes: u64,
    /// The most tokens that the request allowed.
    pub output_max: Option<u64>,
    /// The prompt's tokens by this node's own count, if it has the model.
    pub prompt_tokens: Option<u64>,
}

/// Reads a relayed answer for its text and its claimed usage.
#[derive(Debug)]
pub struct UsageReader {
    is_stream: bool,
    buffer: Vec<u8>,
    is_too_long: bool,
    text_bytes: u64,
    claim: Option<Claim>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Claim {
    prompt: u64,
    output: u64,
    reasoning: u64,
}

impl UsageReader {
    pub fn new(is_stream: bool) -> Self {
        Self { is_stream, buffer: Vec::new(), is_too_long: false, text_bytes: 0, claim: None }
    }

    pub fn read(&mut self, bytes: &Bytes) {
        let bytes_max = if self.is_stream { EVENT_BYTES_MAX } else { ANSWER_BYTES_MAX };
        if self.is_too_long || self.buffer.len() + bytes.len() > bytes_max {
            // What can't be read isn't judged.
            self.is_too_long = true;
            return;
        }
        self.buffer.extend_from_slice(bytes);
        if !self.is_stream {
            return;
        }
        let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.buffer.split_off(end + 1);
        let lines = std::mem::replace(&mut self.buffer, rest);
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(json) = line.strip_prefix(b"data:") {
                self.event(json);
            }
        }
    }

    /// Ends a whole answer, and says what can't be true.
    pub fn judge(mut self, request: RequestSize) -> Option<String> {
        if !self.is_stream {
            let whole = std::mem::take(&mut self.buffer);
            self.event(&whole);
        }
        if self.is_too_long {
            return None;
        }
        judge(self.claim?, self.text_bytes, request)
    }

    fn event(&mut self, json: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(json) else { return };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        // The events of one dialect repeat the whole text when a part is done.
        let repeats = self.is_stream && kind.starts_with("response.") && !kind.ends_with(".delta");
        if !repeats {
            self.text_bytes += text_bytes(&event);
        }
        let usage = [Some(&event), event.get("response"), event.get("message")]
            .into_iter()
            .flatten()
            .find_map(|of| of.get("usage").filter(|usage| usage.is_object()));
        if let Some(usage) = usage {
            let claim = self.claim.get_or_insert_default();
            let number = |names: [&str; 2]| names.iter().find_map(|name| usage.get(name)?.as_u64());
            let details = ["completion_tokens_details", "output_tokens_details"];
            let reasoning =
                details.iter().find_map(|name| usage.get(name)?.get("reasoning_tokens")?.as_u64());
            claim.prompt =
                number(["prompt_tokens", "input_tokens"]).unwrap_or(claim.prompt).max(claim.prompt);
            claim.output =
                number(["completion_tokens", "output_tokens"]).unwrap_or(claim.output).max(claim.output);
            claim.reasoning = reasoning.unwrap_or(claim.reasoning);
        }
    }
}

/// The length of all texts of an event.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) if TEXTS.contains(&name.as_str()) => text.len() as u64,
                other => text_bytes(other),
            })
            .sum(),
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        _ => 0,
    }
}

/// A token has at least one byte of text, but for a few that are hidden, and for reasoning that the dialect doesn't show.
fn judge(claim: Claim, text_bytes: u64, request: RequestSize) -> Option<String> {
    let Claim { prompt, output, reasoning } = claim;
    let visible = output.saturating_sub(reasoning);
    if visible > text_bytes.saturating_add(HIDDEN_TOKENS_MAX) {
        return Some(format!(
            "it claimed {output} output tokens for an answer with {text_bytes} bytes of text"
        ));
    }
    if let Some(most) = request.output_max.filter(|most| output > most.saturating_add(HIDDEN_TOKENS_MAX)) {
        return Some(format!("it claimed {output} output tokens, and the request allowed {most}"));
    }
    if prompt > request.body_bytes.saturating_add(TEMPLATE_TOKENS_MAX) {
        return Some(format!(
            "it claimed {prompt} prompt tokens for a request of {} bytes",
            request.body_bytes
        ));
    }
    // Rendering the same template elsewhere may differ in a date, not in a tenth of the prompt.
    let counted = request.prompt_tokens?;
    let tolerance = counted / 10 + HIDDEN_TOKENS_MAX;
    (prompt.abs_diff(counted) > tolerance)
        .then(|| format!("it claimed {prompt} prompt tokens, and the same model counts {counted} here"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(output: u64, text: &str) -> Value {
        json!({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 20, "completion_tokens": output}})
    }

    fn whole(answer: &Value, request: RequestSize) -> Option<String> {
        let mut reader = UsageReader::new(false);
        reader.read(&Bytes::from(answer.to_string()));
        reader.judge(request)
    }

    #[test]
    fn more_tokens_than_text_is_a_lie() {
        let request = RequestSize { body_bytes: 400, output_max: Some(500), prompt_tokens: None };
        assert_eq!(whole(&chat(8, "the answer is a sentence"), request), None);
        let lie = whole(&chat(400, "the answer is a sentence"), request).unwrap();
        assert_eq!(lie, "it claimed 400 output tokens for an answer with 24 bytes of text");
        let long = "word ".repeat(1_000);
        assert!(whole(&chat(900, &long), request).unwrap().contains("allowed 500"));
        assert_eq!(whole(&json!({"choices": []}), request), None, "nothing is claimed");
        let prompt =
            json!({"content": [{"text": "yes"}], "usage": {"input_tokens": 5_000, "output_tokens": 1}});
        assert!(whole(&prompt, request).unwrap().contains("a request of 400 bytes"));
        let hidden = json!({"output": [{"content": [{"text": "yes"}]}], "usage": {"input_tokens": 5, "output_tokens": 400, "output_tokens_details": {"reasoning_tokens": 399}}});
        assert_eq!(whole(&hidden, request), None, "reasoning that isn't shown can't be checked");
    }

    #[test]
    fn the_own_count_of_the_prompt_decides() {
        let request = RequestSize { body_bytes: 4_000, output_max: None, prompt_tokens: Some(20) };
        assert_eq!(whole(&chat(2, "yes it is"), request), None);
        let counted = RequestSize { prompt_tokens: Some(900), ..request };
        assert!(whole(&chat(2, "yes it is"), counted).unwrap().contains("counts 900 here"));
    }

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let delta = |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}));
        let usage = |output: u64| {
            format!(
                "data: {}\n\ndata: [DONE]\n\n",
                json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": output}})
            )
        };
        for (output, is_lie) in [(4, false), (90, true)] {
            let stream = [delta("four "), delta("tokens "), usage(output)].concat();
            for cut in [1, 7, stream.len()] {
                let mut reader = UsageReader::new(true);
                for piece in stream.as_bytes().chunks(cut) {
                    reader.read(&Bytes::copy_from_slice(piece));
                }
                assert_eq!(
                    reader.judge(RequestSize { body_bytes: 100, ..RequestSize::default() }).is_some(),
                    is_lie
                );
            }
        }
    }
}
