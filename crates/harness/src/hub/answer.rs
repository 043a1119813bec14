//! The responses of the hub and its storage: listings, redirects, file content, and errors in the real hub's
//! words.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use super::request_head::RequestHead;
use super::{Access, Fault, HubRequest, Repository, Shared, TOKEN, blob_id, is_large, sha256};

/// A response before it is sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Stops sending after this many bytes of the body.
    breaks_after: Option<usize>,
    /// Keeps the connection open until the client closes it.
    stays: bool,
}

pub(super) fn serve(mut stream: TcpStream, shared: &Shared, at_storage: bool) {
    let Ok(ask) = RequestHead::read(&stream) else { return };
    if ask.method.is_empty() {
        return;
    }
    let answer = if at_storage { answer_storage(&ask, shared) } else { answer_hub(&ask, shared) };
    let sent = if ask.method == "HEAD" { 0 } else { answer.breaks_after.unwrap_or(answer.body.len()) };
    {
        let mut state = shared.state();
        state.violations.extend(ask.faults(at_storage));
        state.requests.push(HubRequest {
            at_storage,
            method: ask.method.clone(),
            path: ask.path.clone(),
            from: ask.from().unwrap_or_default() as u64,
            token: ask.token().map(str::to_owned),
            status: answer.status,
            body_bytes: sent as u64,
        });
    }
    // The client may have disconnected; that is not an error.
    let _ = write(&mut stream, &answer, sent);
    if answer.stays {
        let _ = stream.read(&mut [0]);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn write(stream: &mut TcpStream, answer: &Answer, sent: usize) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.body.get(..sent).unwrap_or(&answer.body))?;
    stream.flush()
}

/// Responses of the hub itself.
fn answer_hub(ask: &RequestHead, shared: &Shared) -> Answer {
    let parts: Vec<&str> = ask.parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", "models", owner, name, "revision", revision] => {
            let state = shared.state();
            let found = state.repositories.get(&format!("{owner}/{name}"));
            match readable(found, ask) {
                Ok(repository) if *revision != "main" && *revision != repository.commit => {
                    refusal(404, "RevisionNotFound")
                }
                Ok(repository) => list(repository, ask),
                Err(refused) => refused,
            }
        }
        [owner, name, "resolve", revision, file @ ..] => {
            let file = file.join("/");
            let mut state = shared.state();
            let fault = next_fault(&mut state.faults, &file, is_large(&file) || ask.method == "HEAD");
            match readable(state.repositories.get(&format!("{owner}/{name}")), ask) {
                Ok(repository) if *revision != repository.commit => refusal(404, "RevisionNotFound"),
                Ok(repository) => resolve(repository, &file, fault, ask, shared),
                Err(refused) => refused,
            }
        }
        _ => refusal(404, ""),
    }
}

fn readable<'a>(found: Option<&'a Repository>, ask: &RequestHead) -> Result<&'a Repository, Answer> {
    let is_known = ask.token() == Some(TOKEN);
    match found {
        _ if ask.token().is_some() && !is_known => Err(refusal(401, "")),
        // An anonymous client cannot tell whether a repository exists.
        None => Err(if is_known { refusal(404, "RepoNotFound") } else { refusal(401, "RepoNotFound") }),
        Some(repository) => match repository.access {
            Access::Everybody => Ok(repository),
            Access::Private if is_known => Ok(repository),
            Access::Private => Err(refusal(401, "RepoNotFound")),
            Access::Gated => Err(refusal(if is_known { 403 } else { 401 }, "GatedRepo")),
        },
    }
}

fn list(repository: &Repository, ask: &RequestHead) -> Answer {
    let is_full = ask.query == "blobs=true" && !repository.is_terse;
    let sibling = |(name, bytes): &(String, Vec<u8>)| match (is_full, is_large(name)) {
        (false, _) => json!({"rfilename": name}),
        (true, false) => json!({"rfilename": name, "size": bytes.len(), "blobId": blob_id(bytes)}),
        (true, true) => json!({
            "rfilename": name, "size": bytes.len(), "blobId": blob_id(b"a pointer"),
            "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134},
        }),
    };
    let siblings: Vec<Value> = repository.files.iter().map(sibling).collect();
    let metadata = json!({"sha": repository.commit, "private": false, "gated": false, "siblings": siblings});
    Answer::of(200, metadata.to_string().into_bytes()).with("content-type", "application/json")
}

fn resolve(
    repository: &Repository,
    file: &str,
    fault: Option<Fault>,
    ask: &RequestHead,
    shared: &Shared,
) -> Answer {
    let Some((_, bytes)) = repository.files.iter().find(|(name, _)| name == file) else {
        return refusal(404, "EntryNotFound");
    };
    let commit = ("x-repo-commit", repository.commit.clone());
    if is_large(file) {
        let digest = sha256(bytes);
        let to = format!("http://{}/blobs/{digest}?file={file}&signature=yes", shared.storage);
        let mut answer = Answer::of(302, Vec::new())
            .with("location", &to)
            .with("x-linked-size", &bytes.len().to_string())
            .with("x-linked-etag", &format!("\"{digest}\""));
        answer.headers.push(commit);
        return answer;
    }
    let mut answer = part(bytes, fault, ask).with("etag", &format!("\"{}\"", blob_id(bytes)));
    answer.headers.push(commit);
    answer
}

/// Responses of the storage address, where a signature in the URL grants access.
fn answer_storage(ask: &RequestHead, shared: &Shared) -> Answer {
    let mut state = shared.state();
    let file = ask.query.strip_prefix("file=").and_then(|query| query.strip_suffix("&signature=yes"));
    let [kind, digest] = ask.parts.as_slice() else { return refusal(404, "") };
    let Some(file) = file.filter(|_| kind == "blobs") else { return refusal(403, "") };
    let fault = next_fault(&mut state.faults, file, false);
    let mut all = state.repositories.values().flat_map(|repository| &repository.files);
    match all.find(|(name, bytes)| name == file && sha256(bytes) == *digest) {
        Some((_, bytes)) => part(bytes, fault, ask),
        None => refusal(404, ""),
    }
}

fn next_fault(
    faults: &mut std::collections::HashMap<String, Vec<Fault>>,
    file: &str,
    is_elsewhere: bool,
) -> Option<Fault> {
    let waiting = faults.get_mut(file).filter(|waiting| !waiting.is_empty() && !is_elsewhere)?;
    Some(waiting.remove(0))
}

fn part(bytes: &[u8], fault: Option<Fault>, ask: &RequestHead) -> Answer {
    let from = ask.from().filter(|_| fault != Some(Fault::IgnoreRange));
    let mut answer = match from {
        Some(from) if from >= bytes.len() => {
            return refusal(416, "").with("content-range", &format!("bytes */{}", bytes.len()));
        }
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len().saturating_sub(1), bytes.len());
            let rest = bytes.get(from..).unwrap_or_default();
            Answer::of(206, rest.to_vec()).with("content-range", &range)
        }
        None => Answer::of(200, bytes.to_vec()),
    };
    match fault {
        Some(Fault::Status(429)) => return refusal(429, "").with("retry-after", "1"),
        Some(Fault::Status(status)) => return refusal(status, ""),
        Some(Fault::BreakAfter(count)) => answer.breaks_after = Some(count.min(answer.body.len())),
        Some(Fault::StallAfter(count)) => {
            answer.breaks_after = Some(count.min(answer.body.len()));
            answer.stays = true;
        }
        Some(Fault::Corrupt) => answer.body.iter_mut().take(1).for_each(|byte| *byte ^= 1),
        Some(Fault::IgnoreRange) | None => {}
    }
    answer.with("accept-ranges", "bytes")
}

fn refusal(status: u16, code: &str) -> Answer {
    let answer = Answer::of(status, json!({"error": "No."}).to_string().into_bytes());
    if code.is_empty() { answer } else { answer.with("x-error-code", code) }
}

impl Answer {
    const fn of(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body, breaks_after: None, stays: false }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}
