//! The message of a client as an item of a conversation, with its files loaded.

use admit::Caller;
use agents::{Definition, text_of_input as text};
use line::Core;
use serde_json::{Value, json};

use crate::document::{self, Document};
use crate::input::{DocumentInput, InputError};
use crate::limits::{INPUT_FILES_BYTES_MAX, INPUT_FILES_MAX};
use crate::refusal::Refusal;

const FIELDS: [&str; 3] = ["attachments", "images", "files"];

/// The text and the files of an input, which must have one of both.
pub(super) fn check(input: &Value) -> Result<(), Refusal> {
    let refuse = |pointer: &str, message: &str| Err(Refusal::Input(vec![InputError::new(pointer, message)]));
    if !input.is_object() {
        return refuse("/input", "it must be an object with \"text\"");
    }
    if input.get("text").is_some_and(|text| !text.is_string() && !text.is_null()) {
        return refuse("/input/text", "it must be a string");
    }
    let files = files(input).len();
    if files > INPUT_FILES_MAX {
        return refuse("/input/attachments", &format!("there are more than {INPUT_FILES_MAX} files"));
    }
    if text(input).is_empty() && files == 0 {
        return refuse("/input/text", "there is no text and no file");
    }
    Ok(())
}

/// The JSON Schema of a message, for agents as apps.
pub(crate) fn input_schema() -> Value {
    let file = json!({"type": ["string", "object"]});
    let files = json!({"type": "array", "items": file});
    json!({
        "type": "object",
        "properties": {
            "text": {"type": ["string", "null"], "description": "The message to the agent."},
            "images": files, "files": files, "attachments": files,
        },
        "additionalProperties": false,
    })
}

/// The JSON Schema of an answer, for agents as apps.
pub(crate) fn output_schema(definition: &Definition) -> Value {
    let output = definition.output_schema.clone().unwrap_or_else(|| json!({}));
    json!({
        "type": "object",
        "properties": {"response": {"type": "string"}, "output": output, "chat_id": {"type": "string"}},
        "required": ["response", "chat_id"],
    })
}

fn files(input: &Value) -> Vec<DocumentInput> {
    FIELDS.iter().flat_map(|field| DocumentInput::all(input, field, "/input")).collect()
}

/// The item. A text alone is written as one.
///
/// # Errors
/// A file can't be had.
pub(super) async fn item(core: &Core, caller: &Caller, input: &Value) -> Result<Value, Refusal> {
    let files = files(input);
    let words = text(input);
    if files.is_empty() {
        return Ok(json!({"role": "user", "content": words}));
    }
    let mut parts = Vec::new();
    if !words.is_empty() {
        parts.push(json!({"type": "input_text", "text": words}));
    }
    let mut bytes = 0;
    for file in &files {
        let document = document::load(file, core, caller.owner()).await?;
        bytes += document.len();
        if bytes > INPUT_FILES_BYTES_MAX {
            let message = format!("the files have more than {INPUT_FILES_BYTES_MAX} bytes in total");
            return Err(Refusal::Input(vec![InputError::new(&file.pointer, message)]));
        }
        parts.push(match document {
            Document::Picture { uri } => json!({"type": "input_image", "image_url": uri, "detail": "auto"}),
            Document::Pdf { name, uri, .. } => {
                json!({"type": "input_file", "filename": name, "file_data": uri})
            }
            Document::Text(file) => {
                json!({"type": "input_text", "text": format!("The file {}:\n\n{}", file.name, file.text)})
            }
        });
    }
    Ok(json!({"role": "user", "content": parts}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(input: &Value) -> Option<String> {
        match check(input) {
            Ok(()) => None,
            Err(Refusal::Input(errors)) => Some(errors[0].pointer.clone()),
            Err(refusal) => panic!("{}", refusal.into_fault()),
        }
    }

    #[test]
    fn a_message_has_a_text_or_a_file() {
        assert_eq!(pointer(&json!({"text": "hi"})), None);
        assert_eq!(pointer(&json!({"text": "", "images": ["https://a.example/x.png"]})), None);
        assert_eq!(pointer(&json!({"text": null})).as_deref(), Some("/input/text"));
        assert_eq!(pointer(&json!({"text": 3})).as_deref(), Some("/input/text"));
        assert_eq!(pointer(&json!("hi")).as_deref(), Some("/input"));
        let many: Vec<_> =
            (0..=INPUT_FILES_MAX).map(|number| format!("https://a.example/{number}")).collect();
        assert_eq!(pointer(&json!({"files": many})).as_deref(), Some("/input/attachments"));
    }
}
