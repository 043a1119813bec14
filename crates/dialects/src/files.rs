//! Files that conversations reference: found while a request is read, and their ids replaced by span.

use bytes::Bytes;
use conversation::request::{Addressed, Request, rename_at};
use domain::{Fault, Grammar, Operation};
use json::splice::splice;

use crate::translate::decode_request;

/// The place of a file that the provider of this grammar keeps for one of its clients: others neither get its id nor know it.
/// An id of that form that the project was given here is its provider's by now.
pub fn vendors_file(grammar: Grammar, request: &Request) -> Option<&str> {
    let mut files = request.files.iter().filter(|_| grammar == Grammar::Anthropic);
    files.find(|file| !file.is_exchanged && file.id.starts_with("file_")).map(|file| file.path.as_str())
}

/// The body with each file id replaced by what `at_keeper` returns for it, and the request decoded from it.
///
/// # Errors
/// The changed body can't be decoded.
pub fn exchange_files(
    grammar: Grammar,
    operation: Operation,
    body: &Bytes,
    request: &Request,
    at_keeper: &dyn Fn(&str) -> Option<String>,
) -> Result<(Bytes, Request), Box<Fault>> {
    let mut files = request.files.clone();
    let mut edits = Vec::new();
    for file in &mut files {
        if let Some(name) = at_keeper(&file.id) {
            file.is_exchanged = true;
            edits.push((file.span, name));
        }
    }
    let mut edits: Vec<_> = edits.iter().map(|(span, name)| rename_at(*span, name)).collect();
    let mut out = Vec::new();
    splice(body, &mut edits, &mut out);
    let body = match out.as_slice() {
        [one] => one.clone(),
        several => Bytes::from(several.concat()),
    };
    // What the address said, in dialects that name the model there.
    let addressed = request.spans.model.is_none().then(|| Addressed {
        model: request.model.clone(),
        stream: request.stream,
        as_array: request.as_array,
        ..Addressed::default()
    });
    let again = decode_request(grammar, operation, &body, addressed.as_ref())?;
    Ok((body, Request { files, ..again }))
}
