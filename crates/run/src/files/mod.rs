//! `/files`: makes files whose content clients send to an address of its own, shows, lists, reads and deletes them; and opens
//! those that the input of a run names.

mod answer;
mod named;
mod request;
mod upload;

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use domain::limits::FILES_MADE_AT_ONCE_MAX;
use domain::{
    Dialect, Fault, FaultClass, FileId, FileQuery, FileStore, KeptFile, NewFile, TraceId, USER_FILE,
};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use serde_json::Value;
use settle::{ReplyBody, streamed, whole};

use crate::task::{Envelope, Message};

pub(crate) use answer::address;
pub(crate) use named::open;
pub(crate) use runs::named_file as named;
pub use upload::{FileUpload, upload};

const HOW: &str = "POST /files makes files, POST /files/list lists them, GET /files/ID shows one and GET /files/ID/content reads \
     it, DELETE /files/ID deletes it.";
const JSON: &str = "application/json";

/// How many files a body makes, and how many a page that it asks for has. For the fuzz targets.
#[cfg(feature = "fixtures")]
pub(crate) fn read_body(
    headers: &HeaderMap,
    body: &[u8],
) -> (Result<usize, Box<Fault>>, Result<u32, Box<Fault>>) {
    let page = request::read_page(headers, body).map(|page| page.limit);
    (request::read(headers, body).map(|new| new.files.len()), page)
}

/// A request about files.
pub struct FileRequest<'a> {
    pub method: &'a Method,
    /// The path below `/files`; empty at `/files` itself.
    pub rest: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    /// The address that the client reaches the gateway at.
    pub origin: String,
    pub trace: TraceId,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Make,
    List,
    Show(FileId),
    Content(FileId),
    Delete(FileId),
}

impl Act {
    fn of(method: &Method, rest: &str) -> Option<Self> {
        let (id, below) = rest.split_once('/').map_or((rest, None), |(id, below)| (id, Some(below)));
        let id = || id.parse::<FileId>().ok();
        match (method.as_str(), rest, below) {
            ("POST", "", _) => Some(Self::Make),
            ("POST", "list", _) => Some(Self::List),
            ("GET" | "HEAD", _, None) => id().map(Self::Show),
            ("GET" | "HEAD", _, Some("content")) => id().map(Self::Content),
            ("DELETE", _, None) => id().map(Self::Delete),
            _ => None,
        }
    }
}

/// Answers a request about files.
pub async fn files(core: &Rc<Core>, caller: &Caller, request: FileRequest<'_>) -> Response<ReplyBody> {
    let trace = request.trace;
    match answer(core, caller, request).await {
        Ok(response) => {
            core.counters.answered(response.status().as_u16());
            response
        }
        Err(fault) => line::refuse(core, Dialect::Run, &fault, trace),
    }
}

/// Answers a request for the file of a link, which alone shows who may read it.
pub async fn linked(core: &Rc<Core>, link: &str, trace: TraceId) -> Response<ReplyBody> {
    let file = match file_of_link(core, link).await {
        Ok(file) => file,
        Err(fault) => return line::refuse(core, Dialect::Run, &fault, trace),
    };
    core.counters.answered(StatusCode::OK.as_u16());
    content(core, &file, trace)
}

/// `WORKSPACE/FILE/UNTIL/SIGNATURE`
async fn file_of_link(core: &Core, link: &str) -> Result<KeptFile, Box<Fault>> {
    let [workspace, id, until, mac] = link.split('/').collect::<Vec<_>>()[..] else { return Err(no_link()) };
    let ids = workspace.parse().ok().zip(id.parse().ok());
    let until = until.parse().ok().filter(|until| *until > core.deps.world.clock.unix_ms());
    let ((workspace, id), until) = ids.zip(until).ok_or_else(no_link)?;
    let found = core.files.in_workspace(workspace, id).await?.filter(|file| file.is_complete);
    found.filter(|file| core.snapshot.current().is_file_signature(mac, file, until)).ok_or_else(no_link)
}

async fn answer(
    core: &Rc<Core>,
    caller: &Caller,
    request: FileRequest<'_>,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let act = Act::of(request.method, request.rest).ok_or_else(nothing_here)?;
    let (store, owner) = (&core.files, caller.owner());
    let origin = origin(&**store, &request.origin);
    let envelope = Envelope::from_headers(request.headers);
    let written = |value: &Value, messages: &[Message]| {
        let body = envelope.wrap(value, messages);
        whole(StatusCode::OK, line::own_headers(request.trace, JSON), body.into())
    };
    match act {
        Act::Make => {
            may_keep(caller)?;
            let read = request::read(request.headers, &request.body)?;
            let mut made = Vec::with_capacity(read.files.len());
            for file in read.files {
                let new = NewFile {
                    owner,
                    request: request.trace,
                    name: file.name,
                    content_type: file.content_type,
                    path: file.path,
                    purpose: USER_FILE.to_owned(),
                    declared: file.size,
                };
                let open = store.open(new).await?;
                made.push(answer::file(&open.file, &origin, Some(&open.token)));
            }
            let messages = if read.is_public { vec![NOT_PUBLIC] } else { Vec::new() };
            Ok(written(&Value::Array(made), &messages))
        }
        Act::List => {
            let page = request::read_page(request.headers, &request.body)?;
            let (limit, after) = (page.limit, page.after);
            let query = FileQuery { owner, purpose: None, after, oldest_first: false, limit: limit + 1 };
            let files = store.list(query).await?;
            Ok(written(&answer::page(files, limit, after, &origin), &[]))
        }
        Act::Show(id) => {
            let file = store.find(owner, id).await?.ok_or_else(|| unknown(id))?;
            Ok(written(&answer::file(&file, &origin, None), &[]))
        }
        Act::Content(id) => {
            let file = complete(&**store, owner, id).await?;
            Ok(content(core, &file, request.trace))
        }
        Act::Delete(id) => {
            caller.check_deletion()?;
            let is_gone = store.forget(owner, id).await?;
            is_gone
                .then(|| whole(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new()))
                .ok_or_else(|| unknown(id))
        }
    }
}

/// What a client is told that wants a file to be public.
const NOT_PUBLIC: Message = Message {
    level: "warning",
    code: "file_not_public",
    message: std::borrow::Cow::Borrowed(
        "Files can be read only with a key of their project; none is public.",
    ),
    meta: None,
};

/// A complete file of an owner.
async fn complete(
    store: &dyn FileStore,
    owner: domain::ObjectOwner,
    id: FileId,
) -> Result<KeptFile, Box<Fault>> {
    let file = store.find(owner, id).await?.ok_or_else(|| unknown(id))?;
    if file.is_complete { Ok(file) } else { Err(incomplete(&file)) }
}

/// The content of a file, read as fast as the client takes it. It is never written in a page of this origin.
fn content(core: &Rc<Core>, file: &KeptFile, trace: TraceId) -> Response<ReplyBody> {
    let mut headers = line::own_headers(trace, "application/octet-stream");
    if let Ok(content_type) = HeaderValue::from_str(&file.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    let name = percent_encoding::utf8_percent_encode(&file.name, percent_encoding::NON_ALPHANUMERIC);
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{name}")) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    streamed(StatusCode::OK, headers, line::file_content(core, file))
}

/// The address that clients are told: the one that the operator set, or the one that this client came by.
pub(crate) fn origin(store: &dyn FileStore, came_by: &str) -> String {
    store.public_url().unwrap_or(came_by).to_owned()
}

pub(crate) fn may_keep(caller: &Caller) -> Result<(), Box<Fault>> {
    let Some(policies) = caller.project().policy.as_ref() else { return Ok(()) };
    let kept = "the gateway stores uploaded files";
    match policies.refuse_to_keep(kept, "Send documents in the run itself, as data: URIs.") {
        Some(fault) => Err(Box::new(fault)),
        None => Ok(()),
    }
}

fn unknown(id: FileId) -> Box<Fault> {
    let fault = Fault::new(FaultClass::NotFound, "file_not_found", format!("This project has no file {id}."));
    Box::new(fault.fix("Use the id of a file of this project that hasn't been deleted and hasn't expired."))
}

fn incomplete(file: &KeptFile) -> Box<Fault> {
    let message =
        format!("{} isn't complete yet: {} bytes of its content have arrived.", file.id, file.received);
    let fault = Fault::new(FaultClass::Conflict, "file_incomplete", message);
    Box::new(fault.fix("Send the rest of its content to its upload_url.").should_retry(false))
}

fn no_link() -> Box<Fault> {
    let message = "This address shows no file: it was changed, its time is over, or the file is gone.";
    let fault = Fault::new(FaultClass::NotFound, "file_not_found", message);
    Box::new(fault.fix("Ask whoever gave it to you for a new one."))
}

fn nothing_here() -> Box<Fault> {
    let fault =
        Fault::new(FaultClass::NotFound, "unknown_path", "This path is neither a file nor an action on one.");
    Box::new(fault.fix(HOW))
}

fn too_many_at_once() -> Box<Fault> {
    let message = format!("One request makes from 1 to {FILES_MADE_AT_ONCE_MAX} files.");
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message).param("files");
    Box::new(fault.fix("Make the others with further requests."))
}

/// Options of a page that its client sent, as far as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageOptions {
    limit: u32,
    after: Option<FileId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_is_done() {
        let id = FileId::new(1, [7; 10]);
        for (method, rest, act) in [
            ("POST", String::new(), Some(Act::Make)),
            ("POST", "list".to_owned(), Some(Act::List)),
            ("GET", id.to_string(), Some(Act::Show(id))),
            ("HEAD", format!("{id}/content"), Some(Act::Content(id))),
            ("DELETE", id.to_string(), Some(Act::Delete(id))),
            ("GET", "list".to_owned(), None),
            ("GET", format!("{id}/logs"), None),
            ("POST", id.to_string(), None),
            ("DELETE", format!("{id}/content"), None),
        ] {
            assert_eq!(Act::of(&method.parse().unwrap(), &rest), act, "{method} {rest}");
        }
    }

    #[test]
    fn what_is_not_done_with_a_file_is_said_by_its_code() {
        for (fault, code) in
            [(unknown(FileId::new(1, [7; 10])), "file_not_found"), (too_many_at_once(), "invalid_value")]
        {
            assert_eq!(fault.code, code);
            assert!(fault.fix.is_some());
        }
    }
}
