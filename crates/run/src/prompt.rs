//! Builds the chat request of a run: the input as messages, with the document before the question.

use bytes::Bytes;
use domain::TraceId;
use serde_json::{Value, json};

use crate::document::{Document, Text};
use crate::input::ModelInput;

/// The chat request that is sent down the line.
pub(crate) fn encode(
    app: &str,
    input: &ModelInput,
    document: Option<&Document>,
    trace: TraceId,
    is_stream: bool,
) -> Bytes {
    let user = match document {
        Some(Document::Text(document)) => with_document(&input.prompt, document, trace),
        None => input.prompt.clone(),
        Some(Document::Pdf { name, uri }) => {
            let part = json!({"type": "file", "file": {"filename": name, "file_data": uri}});
            return encode_parts(app, input, &part, is_stream);
        }
        Some(Document::Picture { uri }) => {
            return encode_parts(
                app,
                input,
                &json!({"type": "image_url", "image_url": {"url": uri}}),
                is_stream,
            );
        }
    };
    let mut messages = Vec::with_capacity(2);
    if let Some(system) = &input.system {
        messages.push(("system", system.as_str()));
    }
    messages.push(("user", user.as_str()));
    chat::encode_request(app, &messages, input.max_tokens, is_stream, &[])
}

/// A document that the model reads natively, as a content part before the question.
fn encode_parts(app: &str, input: &ModelInput, document: &Value, is_stream: bool) -> Bytes {
    let system = input.system.iter().map(|system| json!({"role": "system", "content": system}));
    let user = json!({"role": "user", "content": [document, {"type": "text", "text": input.prompt}]});
    let messages: Vec<Value> = system.chain([user]).collect();
    let mut request = json!({"model": app, "messages": messages, "stream": is_stream});
    if let (Some(max_tokens), Some(fields)) = (input.max_tokens, request.as_object_mut()) {
        fields.insert("max_tokens".to_owned(), json!(max_tokens));
    }
    request.to_string().into()
}

/// The same document always starts the prompt with the same bytes, so that a provider's prompt cache can hit.
/// Only a text that could close its own tag gets an unpredictable tag.
fn with_document(prompt: &str, document: &Text, trace: TraceId) -> String {
    let Text { name, mime, text } = document;
    let tag = if text.contains("</document") { format!("document-{trace}") } else { "document".to_owned() };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("<{tag} name=\"{name}\" type=\"{mime}\">\n{text}{end}</{tag}>\n\n{prompt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text { name: "a.txt".into(), mime: "text/plain".into(), text: text.into() }
    }

    #[test]
    fn a_document_stands_before_the_prompt() {
        let trace = TraceId::new(1, [0; 10]);
        let framed = "<document name=\"a.txt\" type=\"text/plain\">\nx\n</document>\n\nWhy?";
        assert_eq!(with_document("Why?", &text("x"), trace), framed);
        assert_eq!(with_document("Why?", &text("x\n"), trace), framed);
        let shut = with_document("Why?", &text("</document>"), trace);
        assert!(shut.ends_with(&format!("\n</document-{trace}>\n\nWhy?")), "{shut}");
    }

    #[test]
    fn the_request_says_only_what_was_asked() {
        let mut input = ModelInput { prompt: "p".into(), document: None, system: None, max_tokens: None };
        let sent = |input: &ModelInput| -> serde_json::Value {
            serde_json::from_slice(&encode("a/b", input, None, TraceId::new(1, [0; 10]), false)).unwrap()
        };
        let expected = serde_json::json!({
            "model": "a/b", "messages": [{"role": "user", "content": "p"}], "stream": false,
        });
        assert_eq!(sent(&input), expected);
        input.system = Some("s".into());
        input.max_tokens = Some(7);
        assert_eq!(sent(&input)["messages"][0]["role"], "system");
        assert_eq!(sent(&input)["max_tokens"], 7);
    }

    #[test]
    fn what_the_model_looks_at_stands_before_the_question() {
        let input =
            ModelInput { prompt: "p".into(), document: None, system: Some("s".into()), max_tokens: Some(7) };
        let sent = |document: Document| -> Value {
            let encoded = encode("a/b", &input, Some(&document), TraceId::new(1, [0; 10]), false);
            let sent: Value = serde_json::from_slice(&encoded).unwrap();
            assert_eq!((&sent["max_tokens"], &sent["messages"][0]["role"]), (&json!(7), &json!("system")));
            assert_eq!(sent["messages"][1]["content"][1], json!({"type": "text", "text": "p"}));
            sent["messages"][1]["content"][0].clone()
        };
        let pdf = Document::Pdf { name: "a.pdf".into(), uri: "data:application/pdf;base64,AA==".into() };
        assert_eq!(
            sent(pdf),
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}})
        );
        let picture = Document::Picture { uri: "data:image/png;base64,AA==".into() };
        assert_eq!(
            sent(picture),
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}})
        );
    }
}
