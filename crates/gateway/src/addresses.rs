//! Parses the addresses that name a model, a stored answer, a file, a batch or a video.

use conversation::request::{Addressed, Stored, StoredAct};
use domain::{Dialect, Fault, FaultClass, Operation, StoredObjectKind};
use http::Method;
use line::Verb;

const HOW: &str = "Name a model and what to do with it, as in models/openai/gpt-4o-mini:generateContent.";
const STORED_HOW: &str =
    "A response is read and deleted at its own address; /cancel takes POST and /input_items takes GET.";
const BATCH_HOW: &str = "A batch is read and deleted at its own address, /v1beta/batches/ID, and cancelled by a POST to ID:cancel.";
const VIDEO_HOW: &str =
    "A video is read and deleted at its own address; its /content takes GET, and its /remix takes POST.";
const FILE_HOW: &str = "A file or batch is read at its own address; a file's /content and a message batch's /results take GET, and a batch's /cancel takes POST.";
const JOB_HOW: &str = "A job is read at its own address, and its /stop takes POST.";

/// Parses an address that names the model and the operation.
///
/// # Errors
/// It names neither, or no operation of this gateway.
pub fn read_address(dialect: Dialect, rest: &str, query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
    if dialect == Dialect::Converse {
        return dialects::read_model_path(rest);
    }
    // No model has such a name, and dot segments must not reach another path.
    if rest.split('/').any(|part| matches!(part, "." | "..")) {
        let message = "There is nothing at this path.";
        return Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW)));
    }
    let (addressed, verb) = line::read_address(rest.strip_prefix("models/").unwrap_or(rest), query)?;
    let operation = match verb {
        Verb::Generate | Verb::Stream => Operation::Chat,
        Verb::Count => Operation::Count,
        Verb::Embed | Verb::BatchEmbed => Operation::Embed,
        Verb::BatchGenerate => Operation::Batch,
    };
    Ok((addressed, operation))
}

/// Parses an address that names a stored answer.
///
/// # Errors
/// There is nothing at it, or no such operation.
pub fn read_stored(method: &Method, rest: &str, query: &str) -> Result<Addressed, Box<Fault>> {
    let (id, below) = match rest.split_once('/') {
        Some((id, below)) => (id, Some(below)),
        None => (rest, None),
    };
    let act = match (method.as_str(), below) {
        ("GET" | "HEAD", None) => StoredAct::Read,
        ("DELETE", None) => StoredAct::Delete,
        ("POST", Some("cancel")) => StoredAct::Cancel,
        ("GET" | "HEAD", Some("input_items")) => StoredAct::ListInput,
        _ => {
            let message = format!("There is nothing at {method} /v1/responses/{rest}.");
            let message = message.chars().take(200).collect::<String>();
            return Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(STORED_HOW)));
        }
    };
    let stored = Stored::new(id.to_owned(), act, query.to_owned());
    Ok(Addressed { stored: Some(stored), ..Addressed::default() })
}

/// Parses an address that names a file, batch or video.
///
/// # Errors
/// There is nothing at it, or no such operation.
pub fn read_object(
    kind: Option<StoredObjectKind>,
    method: &Method,
    rest: &str,
    query: &str,
) -> Result<Addressed, Box<Fault>> {
    if kind == Some(StoredObjectKind::StoredBatch) {
        return read_job(method, rest);
    }
    let verb = if kind == Some(StoredObjectKind::ContentBatch) { ':' } else { '/' };
    let (id, below) = match rest.split_once(verb) {
        Some((id, below)) => (id, Some(below)),
        None => (rest, None),
    };
    let is_batch = kind.is_some_and(StoredObjectKind::is_batch);
    let act = match (kind, method.as_str(), below) {
        (_, "GET" | "HEAD", None) => StoredAct::Read,
        (_, "POST", Some("cancel")) if is_batch => StoredAct::Cancel,
        (Some(kind), "DELETE", None) if kind != StoredObjectKind::Batch => StoredAct::Delete,
        (Some(StoredObjectKind::File | StoredObjectKind::Video), "GET" | "HEAD", Some("content")) => {
            StoredAct::Content
        }
        (Some(StoredObjectKind::MessageBatch), "GET" | "HEAD", Some("results")) => StoredAct::Content,
        (Some(StoredObjectKind::Video), "POST", Some("remix")) => StoredAct::Make,
        _ => {
            let message = format!("There is nothing at {method} of this path.");
            let how = match kind {
                Some(StoredObjectKind::Video) => VIDEO_HOW,
                Some(StoredObjectKind::ContentBatch) => BATCH_HOW,
                _ => FILE_HOW,
            };
            return Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(how)));
        }
    };
    // A video, or an image that represents it.
    let is_video = kind == Some(StoredObjectKind::Video) && act == StoredAct::Content;
    let variant = query.split('&').find(|pair| is_video && pair.starts_with("variant="));
    let stored = Stored::new(id.to_owned(), act, variant.unwrap_or_default().to_owned());
    Ok(Addressed { stored: Some(stored), ..Addressed::default() })
}

/// Parses an address that names a job: by its full name, whose slash clients escape, or by the end of it.
fn read_job(method: &Method, rest: &str) -> Result<Addressed, Box<Fault>> {
    let decoded = percent_encoding::percent_decode_str(rest).decode_utf8_lossy();
    let (act, id) = match (method.as_str(), decoded.strip_suffix("/stop")) {
        ("GET" | "HEAD", None) => (StoredAct::Read, &*decoded),
        ("POST", Some(id)) => (StoredAct::Cancel, id),
        _ => {
            let message = format!("There is nothing at {method} of this path.");
            return Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(JOB_HOW)));
        }
    };
    let id = if id.contains(':') {
        id.to_owned()
    } else {
        format!("{}{id}", StoredObjectKind::StoredBatch.prefix())
    };
    Ok(Addressed { stored: Some(Stored::new(id, act, String::new())), ..Addressed::default() })
}

/// The provider or model that an upload's address names.
#[must_use]
pub fn read_upload(query: &str) -> Addressed {
    let parameter = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = value.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy());
        value.map(std::borrow::Cow::into_owned).filter(|value| !value.is_empty())
    };
    Addressed {
        model: parameter("model").unwrap_or_default(),
        provider: parameter("provider"),
        ..Addressed::default()
    }
}
