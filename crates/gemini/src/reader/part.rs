//! One part of a response, parsed.

use conversation::answer::StreamFault;
use domain::PartKind;
use json::{Cursor, JsonError, Kind, Value};
use serde::Deserialize;

use super::partial::Scalar;
use crate::names::{camel, each, raw};

/// The content of a part.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub text: Option<String>,
    pub is_thought: bool,
    pub signature: Option<String>,
    pub call: Option<Call>,
    /// A vendor-specific part: its name and its JSON.
    pub foreign: Option<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    pub id: Option<String>,
    pub name: Option<String>,
    pub arguments: Option<String>,
    pub pieces: Vec<Piece>,
    /// Later parts continue the call.
    pub continues: bool,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub path: String,
    pub scalar: Option<Scalar>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    #[serde(alias = "mime_type")]
    mime_type: String,
    data: String,
}

/// The part as a picture, if it is one.
pub(super) fn picture(kind: &str, json: &str) -> Option<PartKind> {
    let inline: Inline = serde_json::from_str(json).ok().filter(|_| kind == "inlineData")?;
    let is_picture = inline.mime_type.starts_with("image/");
    is_picture.then_some(PartKind::Image { media_type: inline.mime_type, base64: inline.data })
}

/// Reads a part; any value but an object counts as an empty one.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Part, StreamFault> {
    let mut part = Part::default();
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(part);
    }
    cursor.object(|cursor, member| {
        let written = member.key.decode();
        match &*camel(&written) {
            "text" => part.text = optional_text(cursor)?,
            "thought" => part.is_thought = matches!(cursor.value()?, Value::Boolean(true)),
            "thoughtSignature" => part.signature = optional_text(cursor)?.filter(|value| !value.is_empty()),
            "functionCall" if cursor.kind()? == Kind::Object => part.call = Some(read_call(cursor)?),
            // Annotations of the part's other members.
            "videoMetadata"
            | "mediaResolution"
            | "partMetadata"
            | "mediaProcessing"
            | "speechMetadata"
            | "documentMetadata"
            | "spreadsheetMetadata"
            | "audioMetadata" => drop(cursor.skip()?),
            name => {
                let is_object = cursor.kind()? == Kind::Object;
                if let Some(json) = raw(cursor)?.filter(|_| is_object) {
                    part.foreign = Some((name.to_owned(), json.0));
                }
            }
        }
        Ok::<(), StreamFault>(())
    })?;
    Ok(part)
}

fn read_call(cursor: &mut Cursor<'_>) -> Result<Call, StreamFault> {
    let mut call = Call::default();
    cursor.object(|cursor, member| {
        match &*camel(&member.key.decode()) {
            "id" => call.id = optional_text(cursor)?.filter(|id| !id.is_empty()),
            "name" => call.name = optional_text(cursor)?.filter(|name| !name.is_empty()),
            "args" => call.arguments = raw(cursor)?.map(|json| compact(&json.0)),
            "willContinue" => call.continues = matches!(cursor.value()?, Value::Boolean(true)),
            "partialArgs" => each(cursor, |cursor, _| {
                call.pieces.extend(read_piece(cursor)?);
                Ok::<(), StreamFault>(())
            })?,
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    Ok(call)
}

fn read_piece(cursor: &mut Cursor<'_>) -> Result<Option<Piece>, StreamFault> {
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let mut path = None;
    let mut scalar = None;
    cursor.object(|cursor, member| {
        match &*camel(&member.key.decode()) {
            "jsonPath" => path = optional_text(cursor)?,
            "stringValue" => scalar = optional_text(cursor)?.map(Scalar::Text).or(scalar.take()),
            "numberValue" | "boolValue" => {
                scalar = raw(cursor)?.map(|json| Scalar::Bare(json.0)).or(scalar.take());
            }
            "nullValue" => {
                cursor.skip()?;
                scalar = Some(Scalar::Bare("null".to_owned()));
            }
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    Ok(path.map(|path| Piece { path, scalar }))
}

/// A string, or `None` for any other value.
pub(super) fn optional_text(cursor: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    Ok(match cursor.value()? {
        Value::String(text) => Some(text.decode().into_owned()),
        _ => None,
    })
}

/// Removes the whitespace with which the server formats buffered responses. Strings and numbers stay
/// unchanged.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut is_escaped) = (false, false);
    for character in json.chars() {
        match character {
            ' ' | '\n' | '\r' | '\t' if !in_string => continue,
            '"' if !is_escaped => in_string = !in_string,
            _ => {}
        }
        is_escaped = in_string && character == '\\' && !is_escaped;
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blank_space_between_values_goes() {
        let pretty = "{\n  \"a b\": [1.50, 9007199254740993],\r\n\t\"a b\": \"x \\\" y\\\\\" , \"c\" : { } }";
        assert_eq!(compact(pretty), r#"{"a b":[1.50,9007199254740993],"a b":"x \" y\\","c":{}}"#);
    }
}
