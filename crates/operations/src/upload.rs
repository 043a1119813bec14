//! What is read of an uploaded file: its name, and whether it has the requests of a batch, to which models.

use conversation::limits::BATCH_MODELS_MAX;
use dialects::read_batch_input;
use domain::limits::BATCH_FILE_REQUESTS_MAX;

use crate::form_parts::parts_so_far;

/// The purpose of a file of requests.
const PURPOSE: &str = "batch";

/// A file of requests, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsFile<'b> {
    pub name: String,
    pub content: &'b [u8],
}

/// The file of requests in a form; `None` where the form is broken, or has another file.
pub fn requests_file<'b>(boundary: &str, body: &'b [u8]) -> Option<RequestsFile<'b>> {
    let (parts, _) = parts_so_far(boundary, body)?;
    let is_batch = parts.iter().any(|(part, value)| part.name == "purpose" && *value == PURPOSE.as_bytes());
    let (part, content) = parts.into_iter().find(|(part, _)| part.name == "file").filter(|_| is_batch)?;
    Some(RequestsFile { name: part.filename.unwrap_or_default(), content })
}

/// The purpose in a form; `None` where it has not been read to its end.
pub fn purpose_of<'b>(boundary: &str, body: &'b [u8]) -> Option<&'b [u8]> {
    let (mut parts, is_whole) = parts_so_far(boundary, body)?;
    if !is_whole {
        parts.pop();
    }
    parts.into_iter().find(|(part, _)| part.name == "purpose").map(|(_, value)| value)
}

/// The models that the requests in a file name, each once, and one more than may be at most.
pub(crate) fn models_of(content: &[u8]) -> Vec<String> {
    let mut models: Vec<String> = Vec::new();
    let lines = content.split(|byte| *byte == b'\n').take(BATCH_FILE_REQUESTS_MAX);
    for line in lines.filter_map(read_batch_input) {
        if !line.model.is_empty() && !models.contains(&line.model) {
            models.push(line.model);
        }
        if models.len() > BATCH_MODELS_MAX {
            break;
        }
    }
    models
}
