//! A message of a client: its text, its files, and what it decides about calls that wait.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use domain::{SessionId, TaskId};
use serde_json::{Value, json};

use crate::errors::RpcError;
use crate::limits::{ID_BYTES_MAX, METADATA_BYTES_MAX, PARTS_MAX};
use crate::params::Fields;

/// The media types of files that models are given.
pub(crate) const FILE_TYPES: [&str; 5] =
    ["application/pdf", "image/png", "image/jpeg", "image/webp", "image/gif"];
const ANY_TYPE: &str = "application/octet-stream";
const WHERE: &str = "message.parts";

/// A message as it was sent.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientMessage {
    pub id: String,
    pub context: Option<SessionId>,
    pub task: Option<TaskId>,
    /// The texts of its parts, and its data as JSON.
    pub texts: Vec<String>,
    pub files: Vec<Value>,
    /// The data of its parts.
    pub data: Vec<Value>,
    pub metadata: Value,
}

impl ClientMessage {
    /// # Errors
    /// It is not a message, or has content that no agent here takes.
    pub(crate) fn read(params: &Fields<'_>) -> Result<Self, RpcError> {
        let sent = params.get("message").ok_or_else(|| params.wrong("message", "it is missing."))?;
        let fields = Fields::of(sent, "message")?;
        let id = fields.needed("messageId")?;
        if id.len() > ID_BYTES_MAX {
            return Err(fields.wrong("messageId", format!("it has more than {ID_BYTES_MAX} bytes.")));
        }
        if fields.needed("role")? != "ROLE_USER" {
            return Err(fields.wrong("role", "a client's messages have \"ROLE_USER\"."));
        }
        let metadata = fields.get("metadata").cloned().unwrap_or_default();
        if !(metadata.is_null() || metadata.is_object()) {
            return Err(fields.wrong("metadata", "it must be an object."));
        }
        if metadata.to_string().len() > METADATA_BYTES_MAX {
            return Err(fields.wrong("metadata", format!("it has more than {METADATA_BYTES_MAX} bytes.")));
        }
        let task = if fields.text("taskId")?.is_some() { Some(fields.task("taskId")?) } else { None };
        let (texts, files, data) = (Vec::new(), Vec::new(), Vec::new());
        let context = fields.context("contextId")?;
        let mut message = Self { id: id.to_owned(), context, task, texts, files, data, metadata };
        let parts = match fields.get("parts") {
            Some(Value::Array(parts)) if !parts.is_empty() => parts,
            _ => return Err(fields.wrong("parts", "it must be a list with at least one part.")),
        };
        if parts.len() > PARTS_MAX {
            return Err(fields.wrong("parts", format!("there are more than {PARTS_MAX}.")));
        }
        for (place, part) in parts.iter().enumerate() {
            message.take(part, &format!("{WHERE}[{place}]"))?;
        }
        Ok(message)
    }

    fn take(&mut self, part: &Value, path: &str) -> Result<(), RpcError> {
        let fields = Fields::of(part, path)?;
        let kinds = ["text", "raw", "url", "data"].into_iter().filter(|kind| part.get(*kind).is_some());
        let (Some(kind), 1) = (kinds.clone().next(), kinds.count()) else {
            return Err(RpcError::params(
                path,
                "a part has exactly one of \"text\", \"raw\", \"url\" and \"data\".",
            ));
        };
        let media_type = fields.text("mediaType")?.unwrap_or_default();
        check_type(media_type, &fields.path("mediaType"))?;
        let file = |uri: String, fields: &Fields<'_>| -> Result<Value, RpcError> {
            Ok(json!({"uri": uri, "filename": fields.text("filename")?}))
        };
        match kind {
            "text" => {
                let text = fields.get("text").and_then(Value::as_str);
                let text = text.ok_or_else(|| fields.wrong("text", "it must be a string."))?;
                self.texts.push(text.to_owned());
            }
            "url" => {
                let url = fields.needed("url")?;
                if !(url.starts_with("https://") || url.starts_with("http://")) {
                    return Err(fields.wrong("url", "it must be an http or https address."));
                }
                self.files.push(file(url.to_owned(), &fields)?);
            }
            "raw" => {
                let raw = fields.needed("raw")?;
                let bytes = STANDARD.decode(raw).or_else(|_| URL_SAFE.decode(raw));
                let bytes = bytes.map_err(|_| fields.wrong("raw", "it must be base64, with its padding."))?;
                let media_type = if media_type.is_empty() { ANY_TYPE } else { media_type };
                self.files
                    .push(file(format!("data:{media_type};base64,{}", STANDARD.encode(bytes)), &fields)?);
            }
            _ => {
                let data = part.get("data").cloned().unwrap_or_default();
                self.texts.push(data.to_string());
                self.data.push(data);
            }
        }
        Ok(())
    }

    /// As the input of a turn.
    pub(crate) fn input(&self) -> Value {
        let mut input = json!({"text": self.texts.join("\n\n")});
        if let (Some(fields), false) = (input.as_object_mut(), self.files.is_empty()) {
            fields.insert("attachments".to_owned(), self.files.clone().into());
        }
        input
    }
}

/// Whether models are given content of a type, which a client may leave out.
fn check_type(media_type: &str, field: &str) -> Result<(), RpcError> {
    let plain = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_taken = plain.is_empty()
        || plain.starts_with("text/")
        || matches!(plain.as_str(), "application/json" | ANY_TYPE)
        || FILE_TYPES.contains(&plain.as_str());
    if is_taken {
        return Ok(());
    }
    let detail = "agents here take text/*, application/json, application/pdf, image/png, image/jpeg, image/webp and image/gif.";
    Err(RpcError::content_type(field, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &Value) -> Result<ClientMessage, RpcError> {
        let sent = json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": parts}});
        ClientMessage::read(&Fields::of(&sent, "").unwrap())
    }

    #[test]
    fn parts_are_texts_files_and_data() {
        let message = read(&json!([
            {"text": "look"},
            {"url": "https://a.example/x.png", "mediaType": "image/png", "filename": "x.png"},
            {"raw": "aGk=", "mediaType": "text/plain"},
            {"data": {"a": 1}},
        ]))
        .unwrap();
        let input = message.input();
        assert_eq!(input["text"], "look\n\n{\"a\":1}");
        assert_eq!(input["attachments"][0], json!({"uri": "https://a.example/x.png", "filename": "x.png"}));
        assert_eq!(input["attachments"][1]["uri"], "data:text/plain;base64,aGk=");
        assert_eq!(message.data, [json!({"a": 1})]);
    }

    #[test]
    fn what_is_not_a_part_is_refused_at_its_place() {
        for (parts, code) in [
            (json!("invalid"), -32_602),
            (json!([]), -32_602),
            (json!([{}]), -32_602),
            (json!([{"text": "a", "url": "https://a.example"}]), -32_602),
            (json!([{"text": 3}]), -32_602),
            (json!([{"url": "file:///etc/passwd"}]), -32_602),
            (json!([{"raw": "?"}]), -32_602),
            (json!([{"url": "https://a.example", "mediaType": "video/mp4"}]), -32_005),
        ] {
            assert_eq!(read(&parts).unwrap_err().code, code, "{parts}");
        }
        assert!(read(&json!([{"text": "a"}, {}])).unwrap_err().message.contains("message.parts[1]"));
    }
}
