//! Reads the messages of a request: checks their shape and counts their text.

use conversation::request::NamedFile;
use domain::Fault;
use json::refusal::{duplicate, empty_array, missing, wrong_type};
use json::{Cursor, Kind, Value};

/// Checks the messages, counts the bytes of their text, and records the files that they reference.
pub(super) fn read(cursor: &mut Cursor<'_>, files: &mut Vec<NamedFile>) -> Result<u64, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        return Err(wrong_type("messages".to_owned(), "an array", kind));
    }
    let mut bytes = 0;
    let mut count = 0;
    cursor.array(|cursor, index| {
        count += 1;
        bytes += read_message(cursor, index, files)?;
        Ok::<(), Box<Fault>>(())
    })?;
    if count == 0 {
        let fix = "Send at least one message, such as {\"role\": \"user\", \"content\": \"Hello\"}.";
        return Err(empty_array("messages".to_owned(), fix));
    }
    Ok(bytes)
}

fn read_message(
    cursor: &mut Cursor<'_>,
    index: usize,
    files: &mut Vec<NamedFile>,
) -> Result<u64, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(format!("messages[{index}]"), "an object", kind));
    }
    let mut bytes = 0;
    let mut role = false;
    let mut content = false;
    cursor.object(|cursor, member| {
        if member.key.is("role") {
            once(&mut role, || format!("messages[{index}].role"))?;
            let kind = cursor.kind()?;
            if !matches!(cursor.value()?, Value::String(_)) {
                return Err(wrong_type(format!("messages[{index}].role"), "a string", kind));
            }
        } else if member.key.is("content") {
            once(&mut content, || format!("messages[{index}].content"))?;
            bytes += read_content(cursor, index, files)?;
        } else if member.key.is("tool_calls") {
            bytes += cursor.skip()?.len() as u64;
        } else {
            cursor.skip()?;
        }
        Ok::<(), Box<Fault>>(())
    })?;
    if !role {
        let fix = "Give each message a role: developer, system, user, assistant or tool.";
        return Err(missing(format!("messages[{index}].role"), fix));
    }
    Ok(bytes)
}

fn read_content(
    cursor: &mut Cursor<'_>,
    index: usize,
    files: &mut Vec<NamedFile>,
) -> Result<u64, Box<Fault>> {
    match cursor.kind()? {
        Kind::Array => {}
        kind => {
            return match cursor.value()? {
                Value::Null => Ok(0),
                Value::String(text) => Ok(text.decoded_len() as u64),
                _ => Err(wrong_type(
                    format!("messages[{index}].content"),
                    "a string or an array of parts",
                    kind,
                )),
            };
        }
    }
    let mut bytes = 0;
    cursor.array(|cursor, part| {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(format!("messages[{index}].content[{part}]"), "an object", kind));
        }
        bytes += read_part(cursor, index, part, files)?;
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(bytes)
}

/// A part's `type` may be any string: unknown ones are for the upstream to judge.
fn read_part(
    cursor: &mut Cursor<'_>,
    index: usize,
    part: usize,
    files: &mut Vec<NamedFile>,
) -> Result<u64, Box<Fault>> {
    let mut bytes = 0;
    let mut has_type = false;
    let mut has_text = false;
    cursor.object(|cursor, member| {
        let name = if member.key.is("type") {
            "type"
        } else if member.key.is("text") {
            "text"
        } else if member.key.is("file") {
            let path = || format!("messages[{index}].content[{part}].file.file_id");
            return Ok(conversation::files::read_object(cursor, files, &path)?);
        } else if member.key.is("file_id") {
            // Some vendors put it next to `type`.
            let path = || format!("messages[{index}].content[{part}].file_id");
            return Ok(conversation::files::read_id(cursor, files, path)?);
        } else {
            cursor.skip()?;
            return Ok(());
        };
        let path = || format!("messages[{index}].content[{part}].{name}");
        once(if name == "type" { &mut has_type } else { &mut has_text }, path)?;
        let kind = cursor.kind()?;
        let Value::String(text) = cursor.value()? else {
            return Err(wrong_type(path(), "a string", kind));
        };
        if name == "text" {
            bytes += text.decoded_len() as u64;
        }
        Ok::<(), Box<Fault>>(())
    })?;
    if !has_type {
        let fix = "Give each part a type, such as text or image_url.";
        return Err(missing(format!("messages[{index}].content[{part}].type"), fix));
    }
    Ok(bytes)
}

fn once(seen: &mut bool, path: impl FnOnce() -> String) -> Result<(), Box<Fault>> {
    if *seen {
        return Err(duplicate(path()));
    }
    *seen = true;
    Ok(())
}
