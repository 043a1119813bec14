//! Multipart forms: parsed until the request is known. The rest is streamed to the upstream without being
//! buffered.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use conversation::request::Request;
use domain::limits::{BODY_BYTES_MAX, FORM_HELD_BYTES_MAX};
use domain::upload::{Pieces, Upload};
use domain::{Fault, FaultClass, Operation};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use operations::{Body, FormReader};

const FORM: &[u8] = b"multipart/form-data";

/// A form, parsed as far as necessary.
#[derive(Debug)]
pub struct FormIn {
    pub(crate) request: Request,
    /// The buffered first bytes; all of them where `rest` is `None`.
    pub(crate) held: Bytes,
    pub(crate) rest: Option<Upload>,
}

/// The circumstances of a form's arrival.
#[derive(Debug, Clone, Copy)]
pub struct FormArrival<'a> {
    pub operation: Operation,
    pub content_type: &'a str,
    /// The body's announced length, if any.
    pub announced: Option<u64>,
    /// Whether it must be buffered in full.
    pub is_held: bool,
}

/// Reads a form until its model is known and its file begins, and at least up to `FORM_HELD_BYTES_MAX`: what
/// is buffered can be sent again by a retry. If the file comes first, the whole form is buffered, like the
/// body of any other request.
///
/// # Errors
/// What is wrong with the form, and errors of `source`.
pub async fn open_form(source: Box<dyn Pieces>, coming: FormArrival<'_>) -> Result<FormIn, Box<Fault>> {
    open_counted_form(source, coming, |_| Ok(())).await
}

/// The same, and before more is buffered, `grow` is called with the length that this would be.
///
/// # Errors
/// Those of `open_form` and of `grow`.
pub async fn open_counted_form(
    mut source: Box<dyn Pieces>,
    coming: FormArrival<'_>,
    mut grow: impl FnMut(usize) -> Result<(), Box<Fault>>,
) -> Result<FormIn, Box<Fault>> {
    let mut reader = FormReader::new(coming.content_type, coming.operation)?;
    let mut first = Bytes::new();
    let mut held = BytesMut::new();
    loop {
        let length = first.len() + held.len();
        if reader.can_go() && length >= FORM_HELD_BYTES_MAX && !coming.is_held {
            let held = joined(first, held);
            let request = reader.request(&held)?;
            let left = coming.announced.map(|announced| announced.saturating_sub(length as u64));
            let bytes_max = form_bytes_max(coming.operation);
            let rest = Rest { source, reader, left, received: length, bytes_max };
            return Ok(FormIn { request, held, rest: Some(Upload::new(Box::new(rest), left)) });
        }
        let Some(piece) = poll_fn(|cx| source.poll_piece(cx)).await else { break };
        let piece = piece?;
        check_length(length + piece.len(), BODY_BYTES_MAX)?;
        grow(length + piece.len())?;
        reader.push(&piece)?;
        if length == 0 {
            // A short form usually arrives in one piece, which is not copied.
            first = piece;
        } else {
            if held.is_empty() {
                held.extend_from_slice(&std::mem::take(&mut first));
            }
            held.extend_from_slice(&piece);
        }
    }
    reader.end()?;
    let held = joined(first, held);
    Ok(FormIn { request: reader.request(&held)?, held, rest: None })
}

fn joined(first: Bytes, held: BytesMut) -> Bytes {
    if held.is_empty() { first } else { held.freeze() }
}

fn check_length(length: usize, bytes_max: usize) -> Result<(), Box<Fault>> {
    if length > bytes_max { Err(too_large(bytes_max)) } else { Ok(()) }
}

/// The size limit of a form.
pub fn form_bytes_max(operation: Operation) -> usize {
    operations::of(operation).facts().form_bytes_max
}

/// Whether the body of a request that makes something new is a form.
pub fn comes_as_form(operation: Operation, headers: &HeaderMap) -> bool {
    match operations::of(operation).facts().body {
        Body::Json => false,
        Body::Form(_) => true,
        Body::JsonOrForm(_) => headers.get(CONTENT_TYPE).is_some_and(|value| {
            let start = value.as_bytes().get(..FORM.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(FORM))
        }),
    }
}

/// The body exceeds this path's limit.
pub fn too_large(bytes_max: usize) -> Box<Fault> {
    let message = format!("The body is larger than the {bytes_max} bytes that this path takes.");
    Box::new(Fault::new(FaultClass::TooLarge, "request_too_large", message).fix("Send less in one request."))
}

/// The whole of a form whose beginning is held, for those that can't take it as it comes.
///
/// # Errors
/// It is longer than `bytes_max`, which `too_long` tells, or it broke off.
pub async fn whole_form(
    upload: Option<&Upload>,
    held: Bytes,
    (bytes_max, too_long): (usize, fn() -> Box<Fault>),
) -> Result<Bytes, Box<Fault>> {
    let left = upload.and_then(Upload::left).unwrap_or(0);
    if left.saturating_add(held.len() as u64) > bytes_max as u64 {
        return Err(too_long());
    }
    let Some(upload) = upload else { return Ok(held) };
    let mut whole = BytesMut::from(held);
    while let Some(piece) = poll_fn(|cx| upload.poll_piece(cx)).await {
        let piece = piece.map_err(|_| upload.fault().unwrap_or_else(|| Box::new(Fault::internal())))?;
        if whole.len() + piece.len() > bytes_max {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The bytes after the buffered ones. They are still parsed while streaming, so that an upstream never gets
/// the end of a form that contradicts what was planned.
struct Rest {
    source: Box<dyn Pieces>,
    reader: FormReader,
    left: Option<u64>,
    received: usize,
    bytes_max: usize,
}

impl Pieces for Rest {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
        let Some(piece) = ready!(self.source.poll_piece(cx)) else {
            let ended = match self.left {
                None | Some(0) => self.reader.end(),
                Some(_) => Err(incomplete()),
            };
            return Poll::Ready(ended.err().map(Err));
        };
        Poll::Ready(Some(piece.and_then(|piece| self.check(piece))))
    }
}

impl Rest {
    fn check(&mut self, piece: Bytes) -> Result<Bytes, Box<Fault>> {
        self.received += piece.len();
        check_length(self.received, self.bytes_max)?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(piece.len() as u64).ok_or_else(incomplete)?;
        }
        self.reader.push(&piece)?;
        Ok(piece)
    }
}

/// The body ended early.
pub fn incomplete() -> Box<Fault> {
    let message = "The body broke off, or its framing is malformed.";
    let fault = Fault::new(FaultClass::BadRequest, "body_incomplete", message);
    Box::new(fault.fix("Send as many bytes as Content-Length says, or well-formed chunks."))
}

impl FormIn {
    /// The same, whose buffered bytes somebody counts until they are dropped.
    pub fn held_as(self, hold: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { held: hold(self.held), ..self }
    }

    /// The buffered bytes without the boundary, for comparison with a repeated request: libraries choose a
    /// new boundary each time.
    pub fn compared(&self) -> Bytes {
        self.request.form().map_or_else(|| self.held.clone(), |form| form.without_boundary(&self.held))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    struct Listed(std::vec::IntoIter<Result<Bytes, Box<Fault>>>);

    impl Pieces for Listed {
        fn poll_piece(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
            Poll::Ready(self.0.next())
        }
    }

    fn part(name: &str, value: &[u8]) -> Vec<u8> {
        let file = if name == "file" { "; filename=\"a.mp3\"" } else { "" };
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("nothing waits here"),
        }
    }

    fn open(parts: &[Vec<u8>], announced: bool, is_held: bool) -> Result<FormIn, Box<Fault>> {
        let body = Bytes::from([parts.concat(), b"--b--\r\n".to_vec()].concat());
        let pieces: Vec<_> = body.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let coming = FormArrival {
            operation: Operation::Transcribe,
            content_type: "multipart/form-data; boundary=b",
            announced: announced.then_some(body.len() as u64),
            is_held,
        };
        now(open_form(Box::new(Listed(pieces.into_iter())), coming))
    }

    fn drained(upload: &Upload) -> (usize, Option<Box<Fault>>) {
        let mut length = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(piece))) = upload.poll_piece(&mut cx) {
            length += piece.len();
        }
        (length, upload.fault())
    }

    const LONG: usize = 4 * 1024 * 1024;

    #[test]
    fn a_long_file_behind_its_model_is_not_held() {
        for announced in [true, false] {
            let form = open(&[part("model", b"m"), part("file", &vec![7; LONG])], announced, false).unwrap();
            assert!(form.held.len() < FORM_HELD_BYTES_MAX + 64 * 1024, "{}", form.held.len());
            let rest = form.rest.unwrap();
            let left = rest.left();
            let (length, fault) = drained(&rest);
            assert!(length > LONG / 2 && fault.is_none());
            assert_eq!(left, announced.then_some(length as u64));
        }
    }

    #[test]
    fn a_body_shorter_than_announced_is_incomplete() {
        let body =
            Bytes::from([part("model", b"m"), part("file", &vec![7; LONG]), b"--b--\r\n".to_vec()].concat());
        let pieces: Vec<_> = body.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let coming = FormArrival {
            operation: Operation::Transcribe,
            content_type: "multipart/form-data; boundary=b",
            announced: Some(body.len() as u64 + 1),
            is_held: false,
        };
        let form = now(open_form(Box::new(Listed(pieces.into_iter())), coming)).unwrap();
        let (_, fault) = drained(&form.rest.unwrap());
        assert_eq!(fault.unwrap().code, "body_incomplete");
    }

    #[test]
    fn what_is_short_what_comes_file_first_and_what_is_asked_for_is_held() {
        let (model, short, long) = (part("model", b"m"), part("file", b"x"), part("file", &vec![7; LONG]));
        for (parts, is_held) in [([&model, &short], false), ([&long, &model], false), ([&model, &long], true)]
        {
            let parts = parts.map(Vec::clone);
            let form = open(&parts, true, is_held).unwrap();
            assert!(form.rest.is_none());
            assert_eq!((form.held.len(), &*form.request.model), (parts.concat().len() + 7, "m"));
        }
    }

    #[test]
    fn what_is_wrong_behind_the_held_bytes_breaks_the_upload_off() {
        let head = [part("model", b"m"), part("file", &vec![7; LONG])];
        let again = [head.clone(), [part("model", b"n"), Vec::new()]].concat();
        let (_, fault) = drained(&open(&again, true, false).unwrap().rest.unwrap());
        assert_eq!(fault.unwrap().param.as_deref(), Some("model"));
        let broken = [head.to_vec(), vec![b"--b--\r\nmore".to_vec()]].concat();
        let (_, fault) = drained(&open(&broken, true, false).unwrap().rest.unwrap());
        assert_eq!(fault.unwrap().code, "invalid_form");
        let endless = [head.to_vec(), vec![part("prompt", &vec![7; BODY_BYTES_MAX])]].concat();
        let (length, fault) = drained(&open(&endless, false, false).unwrap().rest.unwrap());
        assert!(length <= BODY_BYTES_MAX);
        assert_eq!(fault.unwrap().class, FaultClass::TooLarge);
        assert_eq!(
            open(&[part("file", &vec![7; BODY_BYTES_MAX])], false, false).unwrap_err().class,
            FaultClass::TooLarge
        );
    }

    #[test]
    fn two_boundaries_do_not_make_two_forms() {
        let form = |boundary: &str| {
            let body = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--{boundary}\r\n\
                 Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--{boundary}--\r\n"
            );
            let coming = FormArrival {
                operation: Operation::Translate,
                content_type: &format!("multipart/form-data; boundary={boundary}"),
                announced: None,
                is_held: true,
            };
            now(open_form(Box::new(Listed(vec![Ok(Bytes::from(body))].into_iter())), coming)).unwrap()
        };
        assert_eq!(form("one").compared(), form("two").compared());
    }
}
