//! Builds the chat request of a text app: the input as messages, with what is to be read before the question.

use bytes::Bytes;
use domain::TraceId;
use serde_json::{Map, Value, json};

use crate::document::{Document, Text};
use crate::input::DocumentInput;

/// Fields of an input that a chat request has under the same name.
const SETTINGS: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "tools",
];
/// The fields with documents and pictures, in the order in which they are sent.
const FILE_FIELDS: [&str; 6] = ["document", "documents", "files", "attachments", "image", "images"];

/// A turn of a conversation, as an input says it, with the files that it names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn<'a> {
    role: &'a str,
    text: &'a str,
    pub files: Vec<DocumentInput>,
    /// Calls that the model made in it, or the one that it is the result of.
    tool_calls: Option<&'a Value>,
    tool_call_id: Option<&'a str>,
}

/// What a text app is given: its turns, the last of which is the question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TextInput<'a> {
    input: &'a Value,
    pub turns: Vec<Turn<'a>>,
}

impl<'a> TextInput<'a> {
    /// Of an input that fits its schema.
    pub(crate) fn of(input: &'a Value) -> Self {
        let mut turns = Vec::new();
        if let Some(system) = word(input, &["system", "system_prompt"]) {
            turns.push(Turn::of_text("system", system));
        }
        for (place, message) in list(input, "context").iter().enumerate() {
            turns.push(Turn::of(message, &["text", "content"], &format!("/input/context/{place}")));
        }
        let question = Turn::of(input, &["prompt", "text"], "/input");
        if !question.is_empty() {
            turns.push(question);
        }
        Self { input, turns }
    }

    /// Its files, in the order in which `encode` takes them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &DocumentInput> {
        self.turns.iter().flat_map(|turn| &turn.files)
    }

    /// The chat request that is sent down the line, with the documents of `files`.
    pub(crate) fn encode(&self, app: &str, documents: &[Document], stream: bool, trace: TraceId) -> Bytes {
        let mut documents = documents.iter();
        let messages: Vec<Value> = self
            .turns
            .iter()
            .map(|turn| {
                let own: Vec<&Document> = documents.by_ref().take(turn.files.len()).collect();
                turn.encode(&own, trace)
            })
            .collect();
        let mut request = Map::new();
        request.insert("model".to_owned(), json!(app));
        request.insert("messages".to_owned(), json!(messages));
        request.insert("stream".to_owned(), json!(stream));
        for name in SETTINGS {
            if let Some(value) = stated(self.input, name) {
                let value =
                    if *name == "max_tokens" { crate::input::count(value).into() } else { value.clone() };
                request.insert((*name).to_owned(), value);
            }
        }
        if let Some(choice) = stated(self.input, "tool_choice") {
            request.insert("tool_choice".to_owned(), tool_choice(choice));
        }
        if let Some(format) = stated(self.input, "response_format") {
            request.insert("response_format".to_owned(), response_format(format));
        }
        Value::Object(request).to_string().into()
    }
}

impl<'a> Turn<'a> {
    const fn of_text(role: &'a str, text: &'a str) -> Self {
        Self { role, text, files: Vec::new(), tool_calls: None, tool_call_id: None }
    }

    fn of(message: &'a Value, texts: &[&str], pointer: &str) -> Self {
        let files =
            FILE_FIELDS.iter().flat_map(|field| DocumentInput::all(message, field, pointer)).collect();
        Self {
            role: word(message, &["role"]).unwrap_or("user"),
            text: word(message, texts).unwrap_or_default(),
            files,
            tool_calls: stated(message, "tool_calls")
                .filter(|calls| !calls.as_array().is_some_and(Vec::is_empty)),
            tool_call_id: word(message, &["tool_call_id"]),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.files.is_empty() && self.tool_call_id.is_none()
    }

    fn encode(&self, documents: &[&Document], trace: TraceId) -> Value {
        let mut message = json!({"role": self.role, "content": self.content(documents, trace)});
        if let Some(fields) = message.as_object_mut() {
            if let Some(calls) = self.tool_calls {
                fields.insert("tool_calls".to_owned(), calls.clone());
            }
            if let Some(id) = self.tool_call_id {
                fields.insert("tool_call_id".to_owned(), json!(id));
            }
        }
        message
    }

    /// One text where all is text, since every model takes that; else parts, the question last.
    fn content(&self, documents: &[&Document], trace: TraceId) -> Value {
        let mut text = self.text.to_owned();
        let mut parts = Vec::new();
        for document in documents.iter().rev() {
            match document {
                Document::Text(document) => text = with_document(&text, document, trace),
                Document::Pdf { name, uri, .. } => {
                    parts.push(json!({"type": "file", "file": {"filename": name, "file_data": uri}}));
                }
                Document::Picture { uri } => {
                    parts.push(json!({"type": "image_url", "image_url": {"url": uri}}));
                }
            }
        }
        if parts.is_empty() {
            return json!(text);
        }
        parts.reverse();
        if !text.is_empty() {
            parts.push(json!({"type": "text", "text": text}));
        }
        json!(parts)
    }
}

fn stated<'a>(input: &'a Value, name: &str) -> Option<&'a Value> {
    input.get(name).filter(|value| !value.is_null())
}

/// The first of these fields that says something.
fn word<'a>(input: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().filter_map(|name| input.get(name)?.as_str()).find(|text| !text.is_empty())
}

fn list<'a>(input: &'a Value, name: &str) -> &'a [Value] {
    input.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// `{"mode": "function", "name": "f"}` in the words of a chat request. Those are taken too.
fn tool_choice(choice: &Value) -> Value {
    match (word(choice, &["mode"]), word(choice, &["name"])) {
        (Some("function"), Some(name)) => json!({"type": "function", "function": {"name": name}}),
        (Some(mode), _) => json!(mode),
        (None, _) => choice.clone(),
    }
}

/// The same for a schema that stands beside its name.
fn response_format(format: &Value) -> Value {
    let schema = format.get("json_schema").filter(|schema| schema.get("schema").is_none());
    match schema.filter(|_| word(format, &["type"]) == Some("json_schema")) {
        Some(schema) => {
            let name = word(format, &["name"]).unwrap_or("answer");
            let mut of = json!({"name": name, "schema": schema});
            if let (Some(strict), Some(fields)) = (stated(format, "strict"), of.as_object_mut()) {
                fields.insert("strict".to_owned(), strict.clone());
            }
            json!({"type": "json_schema", "json_schema": of})
        }
        None => format.clone(),
    }
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

    fn trace() -> TraceId {
        TraceId::new(1, [0; 10])
    }

    fn text(text: &str) -> Text {
        Text { name: "a.txt".into(), mime: "text/plain".into(), text: text.into() }
    }

    fn sent(input: &Value, documents: &[Document]) -> Value {
        let encoded = TextInput::of(input).encode("a/b", documents, false, trace());
        serde_json::from_slice(&encoded).unwrap()
    }

    #[test]
    fn a_document_stands_before_the_prompt() {
        let framed = "<document name=\"a.txt\" type=\"text/plain\">\nx\n</document>\n\nWhy?";
        assert_eq!(with_document("Why?", &text("x"), trace()), framed);
        assert_eq!(with_document("Why?", &text("x\n"), trace()), framed);
        let shut = with_document("Why?", &text("</document>"), trace());
        assert!(shut.ends_with(&format!("\n</document-{}>\n\nWhy?", trace())), "{shut}");
    }

    #[test]
    fn the_request_says_only_what_was_asked() {
        let expected = json!({
            "model": "a/b", "messages": [{"role": "user", "content": "p"}], "stream": false,
        });
        assert_eq!(sent(&json!({"prompt": "p", "system": null, "max_tokens": null}), &[]), expected);
        assert_eq!(sent(&json!({"text": "p", "system_prompt": ""}), &[]), expected);
        let set = sent(&json!({"prompt": "p", "system": "s", "max_tokens": 7.0, "temperature": 0.5}), &[]);
        assert_eq!((&set["messages"][0]["role"], &set["max_tokens"]), (&json!("system"), &json!(7)));
        assert_eq!(set["temperature"], 0.5);
    }

    #[test]
    fn a_conversation_goes_before_the_question_with_its_calls() {
        let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let input = json!({
            "context": [
                {"role": "user", "text": "a"},
                {"role": "assistant", "text": "", "tool_calls": calls},
                {"role": "tool", "content": "b", "tool_call_id": "c"},
            ],
            "text": "",
            "tool_choice": {"mode": "function", "name": "f"},
            "response_format": {"type": "json_schema", "json_schema": {"type": "object"}, "strict": true},
        });
        let request = sent(&input, &[]);
        let expected = json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "b", "tool_call_id": "c"},
        ]);
        assert_eq!(request["messages"], expected);
        assert_eq!(request["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
        let format = json!({"name": "answer", "schema": {"type": "object"}, "strict": true});
        assert_eq!(request["response_format"]["json_schema"], format);
    }

    #[test]
    fn what_the_model_looks_at_stands_before_the_question() {
        let file = json!("https://h/f");
        let input =
            json!({"prompt": "p", "system": "s", "max_tokens": 7, "documents": [file, file], "image": file});
        let (pdf_uri, picture_uri) = ("data:application/pdf;base64,AA==", "data:image/png;base64,AA==");
        let pdf = Document::Pdf { name: "a.pdf".into(), uri: pdf_uri.into(), bytes: Bytes::new() };
        let picture = Document::Picture { uri: picture_uri.into() };
        let request = sent(&input, &[pdf, Document::Text(text("x")), picture]);
        let parts = json!([
            {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf_uri}},
            {"type": "image_url", "image_url": {"url": picture_uri}},
            {"type": "text", "text": "<document name=\"a.txt\" type=\"text/plain\">\nx\n</document>\n\np"},
        ]);
        assert_eq!(request["messages"][1]["content"], parts);
        assert_eq!(request["messages"][0]["content"], "s");
    }
}
