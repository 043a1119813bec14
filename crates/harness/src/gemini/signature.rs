//! Thought signatures: they bind a function call to the model that generated it, and clients must send them
//! back.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::content::{Content, FunctionCall, Part};
use super::error::ApiError;
use super::protojson;

/// Precedes each tag; real signatures begin with a protobuf field tag as well. Only ASCII, since other bytes
/// are not always transmitted intact.
const MARK: &[u8] = &[0x12, 0x20];
/// The placeholder for an unavailable signature, as plain text or as its base64.
const SKIP: &str = "skip_thought_signature_validator";

/// One emulator's HMAC key; signatures of another emulator are rejected.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn new() -> Self {
        // If the system's randomness fails, the key is fixed; signatures of another emulator are then
        // accepted.
        let random = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self(random.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, MARK)))
    }

    pub(crate) fn call(&self, model: &str, call: &FunctionCall) -> String {
        self.sign(&[model, &call.name, &sort_keys(&call.args)])
    }

    /// Newer models also sign the end of their text, but clients need not send that back.
    pub(crate) fn text(&self, model: &str, text: &str) -> String {
        self.sign(&[model, text])
    }

    /// Rejects a history whose current turn lacks a signature, or has one that was not made for its call.
    pub(crate) fn check(&self, model: &str, contents: &[Content]) -> Result<(), ApiError> {
        let is_prompt = |content: &Content| !content.is_model() && content.responses().next().is_none();
        let turn = contents.iter().rposition(is_prompt).map_or(0, |at| at + 1);
        let steps = contents.iter().enumerate().skip(turn).filter(|(_, content)| content.is_model());
        for (at, step) in steps {
            let mut first = true;
            for part in &step.parts {
                let Some(call) = &part.function_call else { continue };
                self.part(model, part, call, first, at)?;
                first = false;
            }
        }
        Ok(())
    }

    fn part(
        &self,
        model: &str,
        part: &Part,
        call: &FunctionCall,
        first: bool,
        at: usize,
    ) -> Result<(), ApiError> {
        let signature = part.thought_signature.as_deref().filter(|signature| !signature.is_empty());
        let Some(signature) = signature else {
            return if first { Err(missing(&call.name, at)) } else { Ok(()) };
        };
        let sent = protojson::bytes(signature).unwrap_or_default();
        let skipped = sent == SKIP.as_bytes() || Some(&sent) == protojson::bytes(SKIP).as_ref();
        let ours = protojson::bytes(&self.call(model, call)).is_some_and(|ours| ours == sent);
        if skipped || ours { Ok(()) } else { Err(ApiError::invalid("Corrupted thought signature.")) }
    }

    fn sign(&self, words: &[&str]) -> String {
        let tag = hmac::sign(&self.0, words.join("\0").as_bytes());
        STANDARD.encode([MARK, tag.as_ref()].concat())
    }
}

fn missing(name: &str, at: usize) -> ApiError {
    ApiError::invalid(format!(
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
         correctly. Additional data, function call `default_api:{name}` , position {}.",
        at + 1
    ))
}

/// The arguments in canonical order: clients may reorder keys, and nothing else.
fn sort_keys(args: &Map<String, Value>) -> String {
    fn sort(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut fields: Vec<_> =
                    fields.iter().map(|(key, value)| (key.clone(), sort(value))).collect();
                fields.sort_by(|left, right| left.0.cmp(&right.0));
                Value::Object(fields.into_iter().collect())
            }
            Value::Array(list) => list.iter().map(sort).collect(),
            other => other.clone(),
        }
    }
    sort(&Value::Object(args.clone())).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODEL: &str = "gemini-3-pro-preview";

    fn call(name: &str, args: &Value) -> FunctionCall {
        FunctionCall { id: None, name: name.to_owned(), args: args.as_object().unwrap().clone() }
    }

    fn step(parts: &[(&FunctionCall, Option<&str>)]) -> Content {
        let part = |(call, signature): &(&FunctionCall, Option<&str>)| Part {
            function_call: Some((*call).clone()),
            thought_signature: signature.map(str::to_owned),
            ..Part::default()
        };
        Content::of_model(parts.iter().map(part).collect())
    }

    fn question() -> Content {
        Content { parts: vec![Part::text("?")], role: Some("user".to_owned()) }
    }

    fn results() -> Content {
        let response = Part { function_response: Some(Default::default()), ..Part::default() };
        Content { parts: vec![response], role: Some("user".to_owned()) }
    }

    #[test]
    fn only_what_was_signed_for_this_call_passes() {
        let signer = Signer::new();
        let (one, two) = (call("f", &json!({"a": 1, "b": [2]})), call("f", &json!({"a": 2})));
        let signed = signer.call(MODEL, &one);
        let urlsafe = signed.replace('+', "-").replace('/', "_");
        let check = |step: Content| signer.check(MODEL, &[question(), step]).map_err(|error| error.message);
        let corrupted = Err("Corrupted thought signature.".to_owned());
        assert_eq!(check(step(&[(&one, Some(&signed)), (&two, None)])), Ok(()));
        assert_eq!(check(step(&[(&call("f", &json!({"b": [2], "a": 1})), Some(&urlsafe))])), Ok(()));
        assert_eq!(check(step(&[(&two, Some(&signed))])), corrupted, "made for another call");
        assert_eq!(check(step(&[(&one, Some("AAAA"))])), corrupted);
        assert_eq!(
            check(step(&[(&one, Some(&signer.call("gemini-3-flash", &one)))])),
            corrupted,
            "another model"
        );
        assert_eq!(
            check(step(&[(&one, Some(&Signer::new().call(MODEL, &one)))])),
            corrupted,
            "another emulator"
        );
        assert!(check(step(&[(&one, None)])).unwrap_err().contains("`default_api:f` , position 2"));
        assert_eq!(check(step(&[(&one, Some(SKIP))])), Ok(()));
        assert_eq!(check(step(&[(&one, Some(&STANDARD.encode(SKIP)))])), Ok(()));
    }

    #[test]
    fn each_step_of_the_current_turn_is_looked_at_and_none_before() {
        let signer = Signer::new();
        let call = call("f", &json!({}));
        let signed = signer.call(MODEL, &call);
        let (good, bare) = (step(&[(&call, Some(&signed))]), step(&[(&call, None)]));
        let check = |steps: &[&Content]| {
            let contents: Vec<Content> = steps.iter().map(|content| (*content).clone()).collect();
            signer.check(MODEL, &contents).is_ok()
        };
        let (question, results) = (&question(), &results());
        assert!(check(&[question, &good, results, &good, results]));
        assert!(!check(&[question, &good, results, &bare, results]));
        assert!(!check(&[question, &bare, results, &good, results]));
        assert!(check(&[question, &bare, results, question]), "an earlier turn");
    }
}
