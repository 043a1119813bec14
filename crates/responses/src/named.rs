//! Reads items and tools of a request: their size in bytes, and the files that they reference.

use conversation::request::{NamedFile, Request};
use json::{Cursor, JsonError, Kind, Value};

use super::hosted::hosted_tool;
use super::request::text_bytes;

/// Reads an input item, and returns the bytes of its text.
pub(super) fn read_item(
    cursor: &mut Cursor<'_>,
    index: usize,
    files: &mut Vec<NamedFile>,
) -> Result<u64, JsonError> {
    let mut bytes = 0;
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        match &*name {
            "content" | "output" | "summary" => {
                let path = || format!("input[{index}].{name}");
                bytes += read_content(cursor, &path, files)?;
            }
            "arguments" | "input" => bytes += text_bytes(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(bytes)
}

/// A string, or parts with text; anything else in them is for the upstream to judge.
fn read_content(
    cursor: &mut Cursor<'_>,
    path: &dyn Fn() -> String,
    files: &mut Vec<NamedFile>,
) -> Result<u64, JsonError> {
    match cursor.kind()? {
        Kind::Array => {}
        Kind::Object => {
            conversation::files::read_object(cursor, files, &|| format!("{}.file_id", path()))?;
            return Ok(0);
        }
        _ => return text_bytes(cursor),
    }
    let mut bytes = 0;
    cursor.array(|cursor, part| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            if member.key.is("text") || member.key.is("refusal") {
                bytes += text_bytes(cursor)?;
            } else if member.key.is("file_id") {
                conversation::files::read_id(cursor, files, || format!("{}[{part}].file_id", path()))?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), JsonError>(())
        })?;
        Ok::<(), JsonError>(())
    })?;
    Ok(bytes)
}

/// The bytes of the tools, which are part of the prompt that the model reads. Hosted tools may reference
/// stored files.
pub(super) fn read_tools(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<u64, JsonError> {
    if cursor.kind()? != Kind::Array {
        return Ok(cursor.skip()?.len() as u64);
    }
    let tools = cursor.array(|cursor, index| {
        request.has_tools = true;
        match cursor.kind()? {
            Kind::Object => read_tool(cursor, index, request),
            _ => cursor.ignore(),
        }
    })?;
    Ok(tools.len() as u64)
}

fn read_tool(cursor: &mut Cursor<'_>, index: usize, request: &mut Request) -> Result<(), JsonError> {
    cursor.object(|cursor, member| {
        let kind = cursor.kind()?;
        if member.key.is("type") {
            if let Value::String(word) = cursor.value()?
                && let Some(tool) = hosted_tool(&word.decode())
            {
                request.terms.hosted.add(tool);
            }
            return Ok(());
        }
        if member.key.is("input_image_mask") {
            let path = || format!("tools[{index}].input_image_mask.file_id");
            return conversation::files::read_object(cursor, &mut request.files, &path);
        }
        if member.key.is("container") && kind == Kind::Object {
            return read_container(cursor, index, &mut request.files);
        }
        cursor.ignore()
    })?;
    Ok(())
}

fn read_container(
    cursor: &mut Cursor<'_>,
    index: usize,
    files: &mut Vec<NamedFile>,
) -> Result<(), JsonError> {
    cursor.object(|cursor, member| {
        if !member.key.is("file_ids") || cursor.kind()? != Kind::Array {
            return cursor.ignore();
        }
        cursor.array(|cursor, at| {
            conversation::files::read_id(cursor, files, || format!("tools[{index}].container.file_ids[{at}]"))
        })?;
        Ok(())
    })?;
    Ok(())
}
