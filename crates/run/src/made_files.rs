//! Stores what an app made as files of its project: the bytes of data URIs in an output give way to the addresses of files, which
//! end with their task.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::limits::STORED_PIECE_BYTES;
use domain::{Fault, FileEnd, FilePiece, KeptFile, NewFile, ObjectOwner, TASK_FILE, TaskId, TraceId};
use line::Core;
use serde_json::{Value, json};

use crate::files::address;
use crate::limits::MADE_FILES_MAX;
use crate::task::Message;

/// The task whose output it is, and for how long its files are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeBy {
    pub owner: ObjectOwner,
    pub task: TaskId,
    pub kept_ms: u64,
}

/// Stores the files of an output, and names them in it by their addresses below `origin`. One that can't be stored stays as it
/// is, with a message.
pub(crate) async fn store(core: &Core, by: MadeBy, output: &mut Value, origin: &str) -> Vec<Message> {
    let mut pointers = runs::pointers_of(output, &|object| decoded(object).is_some());
    let mut messages = Vec::new();
    if pointers.len() > MADE_FILES_MAX {
        let message = format!(
            "Only the first {MADE_FILES_MAX} files are stored; the output itself contains the others."
        );
        messages.push(Message::warning("output_not_stored", message));
        pointers.truncate(MADE_FILES_MAX);
    }
    for pointer in pointers {
        let Some(object) = output.pointer_mut(&pointer) else { continue };
        let Some((content_type, bytes)) = decoded(object) else { continue };
        match keep_as_it_is(core, by, runs::name_of_made(&pointer, &content_type), content_type, bytes).await
        {
            Ok(file) => name_in(object, &file, origin),
            Err(fault) => {
                let message = format!(
                    "A file could not be stored, so the output itself contains it: {}",
                    fault.message
                );
                messages.push(Message::warning("output_not_stored", message));
            }
        }
    }
    messages
}

/// The type and the bytes of a data URI as outputs have them.
fn decoded(object: &Value) -> Option<(String, Bytes)> {
    let (head, encoded) = object.get("uri")?.as_str()?.strip_prefix("data:")?.split_once(";base64,")?;
    let content_type = head.split(';').next().unwrap_or_default();
    Some((content_type.to_owned(), STANDARD.decode(encoded).ok()?.into()))
}

fn name_in(object: &mut Value, file: &KeptFile, origin: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.insert("uri".to_owned(), json!(address(origin, file.id)));
    fields.insert("path".to_owned(), json!(file.name));
    fields.insert("filename".to_owned(), json!(file.name));
    fields.insert("content_type".to_owned(), json!(file.content_type));
    fields.insert("size".to_owned(), json!(file.received));
}

/// Providers call some files what they are not: these are kept as bytes of any type.
async fn keep_as_it_is(
    core: &Core,
    by: MadeBy,
    name: String,
    content_type: String,
    bytes: Bytes,
) -> Result<KeptFile, Box<Fault>> {
    match keep(core, by, name.clone(), content_type, bytes.clone()).await {
        Err(fault) if fault.code == "file_type_mismatch" => {
            keep(core, by, name, "application/octet-stream".to_owned(), bytes).await
        }
        kept => kept,
    }
}

async fn keep(
    core: &Core,
    by: MadeBy,
    name: String,
    content_type: String,
    bytes: Bytes,
) -> Result<KeptFile, Box<Fault>> {
    let new = NewFile {
        owner: by.owner,
        request: TraceId::from_uuid(*by.task.as_uuid()),
        name,
        content_type,
        path: None,
        purpose: TASK_FILE.to_owned(),
        declared: Some(bytes.len() as u64),
    };
    let mut file = core.files.open(new).await?.file;
    let mut left = bytes;
    loop {
        let piece = left.split_to(left.len().min(STORED_PIECE_BYTES));
        let expires_after_s = Some(by.kept_ms.div_ceil(1_000));
        let end = left.is_empty().then_some(FileEnd { purpose: None, expires_after_s });
        let is_last = end.is_some();
        let piece = FilePiece { offset: file.received, after: file.last_piece, bytes: piece, end };
        file = core.files.append(by.owner, file.id, piece).await?;
        if is_last {
            return Ok(file);
        }
    }
}
