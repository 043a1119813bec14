//! Receives the content of a file at its own address: whole, or in parts with `Content-Range`, of which those that have arrived
//! need not be sent again.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use domain::limits::{BROKEN_PART_BYTES_MIN, STORED_PIECE_BYTES};
use domain::{Dialect, Fault, FaultClass, FileEnd, FileId, FilePiece, KeptFile, TraceId, Upload};
use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use http::{Response, StatusCode};
use line::Core;
use settle::{ReplyBody, whole};

use super::{JSON, answer, origin};
use crate::task::Envelope;

/// A request that sends content.
pub struct FileUpload<'a> {
    /// The path below `/files`.
    pub rest: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Upload,
    /// The address that the client reaches the gateway at.
    pub origin: String,
    pub trace: TraceId,
}

/// Which part of a file a request sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// None: its client wants to know how far it is.
    None,
    Range {
        first: u64,
        last: u64,
        /// The size of the file, where the client knows it.
        total: Option<u64>,
    },
}

/// Receives content. The address is all that shows who may send it.
pub async fn upload(core: &Rc<Core>, request: FileUpload<'_>) -> Response<ReplyBody> {
    let trace = request.trace;
    match receive(core, request).await {
        Ok(response) => {
            core.counters.answered(response.status().as_u16());
            response
        }
        Err(fault) => line::refuse(core, Dialect::Run, &fault, trace),
    }
}

async fn receive(core: &Rc<Core>, request: FileUpload<'_>) -> Result<Response<ReplyBody>, Box<Fault>> {
    let (id, token) = target(request.rest).ok_or_else(no_upload)?;
    let part = Part::read(request.headers)?;
    let mut file = core.files.opened(id, token.to_owned()).await?;
    let is_final = match part {
        Part::None => return Ok(so_far(&file, request.trace)),
        Part::Whole => {
            if file.received > 0 {
                file = core.files.restart(file.owner, id).await?;
            }
            true
        }
        Part::Range { first, last, total } => {
            check_range(&file, first, total)?;
            total.or(file.declared).is_some_and(|total| last.saturating_add(1) == total)
        }
    };
    let mut receiver = Receiver { core: Rc::clone(core), file, waiting: BytesMut::new() };
    receiver.receive(&request.body, part.length(), is_final).await?;
    if !receiver.file.is_complete {
        return Ok(so_far(&receiver.file, request.trace));
    }
    let origin = origin(&*core.files, &request.origin);
    let written =
        Envelope::from_headers(request.headers).wrap(&answer::file(&receiver.file, &origin, None), &[]);
    Ok(whole(StatusCode::OK, line::own_headers(request.trace, JSON), written.into()))
}

/// `ID/upload/TOKEN`
fn target(rest: &str) -> Option<(FileId, &str)> {
    let (id, rest) = rest.split_once('/')?;
    let token = rest.strip_prefix("upload/")?;
    Some((id.parse().ok()?, token))
}

fn check_range(file: &KeptFile, first: u64, total: Option<u64>) -> Result<(), Box<Fault>> {
    if let (Some(total), Some(declared)) = (total, file.declared)
        && total != declared
    {
        let message =
            format!("The file was declared to have {declared} bytes, and Content-Range says {total}.");
        return Err(wrong(message));
    }
    if first == file.received {
        return Ok(());
    }
    let message = format!("The part begins at byte {first}, and {} bytes have arrived.", file.received);
    let fault = Fault::new(FaultClass::Conflict, "upload_offset", message).param("Content-Range");
    Err(Box::new(fault.fix("Continue at the byte after the last one that arrived.").should_retry(false)))
}

/// What has arrived, as `308` with the range of it, or without one if that is nothing.
fn so_far(file: &KeptFile, trace: TraceId) -> Response<ReplyBody> {
    let mut headers = line::own_headers(trace, JSON);
    if let Some(last) = file.received.checked_sub(1)
        && let Ok(range) = HeaderValue::try_from(format!("bytes=0-{last}"))
    {
        headers.insert(RANGE, range);
    }
    let body = serde_json::json!({"id": file.id.to_string(), "received": file.received});
    whole(StatusCode::PERMANENT_REDIRECT, headers, body.to_string().into())
}

impl Part {
    /// `bytes FIRST-LAST/TOTAL`, of which `*` stands for a total that is not known yet; `bytes */TOTAL` has no part.
    fn read(headers: &HeaderMap) -> Result<Self, Box<Fault>> {
        let Some(range) = headers.get(CONTENT_RANGE) else { return Ok(Self::Whole) };
        let read = range.to_str().ok().and_then(Self::parse);
        read.ok_or_else(|| {
            wrong("Content-Range is not `bytes FIRST-LAST/TOTAL` or `bytes */TOTAL`.".to_owned())
        })
    }

    fn parse(range: &str) -> Option<Self> {
        let (range, total) = range.strip_prefix("bytes ")?.trim().split_once('/')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        if range == "*" {
            return Some(Self::None);
        }
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let is_sound = first <= last && total.is_none_or(|total| last < total);
        is_sound.then_some(Self::Range { first, last, total })
    }

    const fn length(self) -> Option<u64> {
        match self {
            Self::Range { first, last, .. } => Some((last - first).saturating_add(1)),
            Self::Whole | Self::None => None,
        }
    }
}

/// Takes what arrives, a piece at a time: no more of a file is in memory.
struct Receiver {
    core: Rc<Core>,
    file: KeptFile,
    waiting: BytesMut,
}

impl Receiver {
    async fn receive(
        &mut self,
        body: &Upload,
        length: Option<u64>,
        is_final: bool,
    ) -> Result<(), Box<Fault>> {
        let mut arrived: u64 = 0;
        while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
            let Ok(piece) = piece else { return Err(self.broken(body).await) };
            arrived = arrived.saturating_add(piece.len() as u64);
            if length.is_some_and(|length| arrived > length) {
                return Err(wrong("The body is longer than Content-Range says.".to_owned()));
            }
            self.take(piece).await?;
        }
        if length.is_some_and(|length| arrived < length) {
            return Err(self.broken(body).await);
        }
        if is_final || !self.waiting.is_empty() {
            self.store(is_final).await?;
        }
        Ok(())
    }

    /// Stores what is a whole piece once something follows it: the last one says that it is the last.
    async fn take(&mut self, mut bytes: Bytes) -> Result<(), Box<Fault>> {
        while !bytes.is_empty() {
            if self.waiting.len() == STORED_PIECE_BYTES {
                self.store(false).await?;
            }
            let room = STORED_PIECE_BYTES.saturating_sub(self.waiting.len());
            let taken = bytes.split_to(room.min(bytes.len()));
            self.waiting.extend_from_slice(&taken);
        }
        Ok(())
    }

    async fn store(&mut self, is_last: bool) -> Result<(), Box<Fault>> {
        let bytes = std::mem::take(&mut self.waiting).freeze();
        let end = is_last.then(FileEnd::default);
        let piece = FilePiece { offset: self.file.received, after: self.file.last_piece.clone(), bytes, end };
        self.file = self.core.files.append(self.file.owner, self.file.id, piece).await?;
        Ok(())
    }

    /// Keeps what has arrived of a body that broke off, so that it need not be sent again.
    async fn broken(&mut self, body: &Upload) -> Box<Fault> {
        if self.waiting.len() >= BROKEN_PART_BYTES_MIN {
            // Nothing is lost that its client could not send again.
            let _ = self.store(false).await;
        }
        body.fault().unwrap_or_else(|| wrong("The body is shorter than Content-Range says.".to_owned()))
    }
}

fn no_upload() -> Box<Fault> {
    let fault = Fault::new(FaultClass::NotFound, "upload_not_found", "This address doesn't accept content.");
    Box::new(fault.fix("Send it to the upload_url of a file that POST /files made."))
}

fn wrong(message: String) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_range", message).param("Content-Range");
    Box::new(fault.fix("Send each part with the byte range that it covers.").should_retry(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_strictly() {
        let range = |first, last, total| Some(Part::Range { first, last, total });
        for (text, expected) in [
            ("bytes 0-9/10", range(0, 9, Some(10))),
            ("bytes 5-9/*", range(5, 9, None)),
            ("bytes */10", Some(Part::None)),
            ("bytes */*", Some(Part::None)),
            ("bytes 5-4/10", None),
            ("bytes 0-10/10", None),
            ("bytes -4/10", None),
            ("0-9/10", None),
            ("bytes 0-18446744073709551616/*", None),
        ] {
            assert_eq!(Part::parse(text), expected, "{text}");
        }
        assert_eq!(Part::parse("bytes 5-9/10").and_then(Part::length), Some(5));
        assert_eq!(wrong(String::new()).code, "invalid_range");
        assert_eq!(no_upload().code, "upload_not_found");
    }

    #[test]
    fn a_target_is_an_id_and_a_token() {
        let id = FileId::new(1, [7; 10]);
        let text = format!("{id}/upload/abc");
        assert_eq!(target(&text), Some((id, "abc")));
        for wrong in [format!("{id}"), format!("{id}/abc"), "x/upload/abc".to_owned(), String::new()] {
            assert_eq!(target(&wrong), None, "{wrong}");
        }
    }
}
