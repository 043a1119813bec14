//! Writes a response: its head, and its body as it becomes available.

use std::cell::RefCell;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body;

use super::wire::{ClientSocket, Gone, Wire};
use crate::reply::Reply;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Capacity for most heads and small bodies.
const OUTPUT_BYTES: usize = 2 * 1024;

/// What the request determines about the form of its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub version: Version,
    /// Only the head is requested.
    pub bodiless: bool,
    /// A next request may follow.
    pub keeps: bool,
}

/// How the client finds the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Length(u64),
    Chunks,
    Close,
}

impl Form {
    pub(super) fn of(method: &Method, version: Version) -> Self {
        Self { version, bodiless: *method == Method::HEAD, keeps: true }
    }
}

/// Sends a response. Returns whether a next request may follow, and its header map for the next response.
pub(super) async fn send<S: ClientSocket>(
    wire: &mut Wire<S>,
    answer: Response<Reply>,
    mut form: Form,
) -> Result<(bool, HeaderMap), Gone> {
    let (mut head, body) = answer.into_parts();
    let end = match body.size_hint().exact() {
        Some(length) => End::Length(length),
        None if form.version == Version::HTTP_10 => End::Close,
        None => End::Chunks,
    };
    form.keeps &= end != End::Close && !wants_close(&head.headers);
    form.bodiless |= matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    write_head(wire.output(), &head, form, end);
    if form.bodiless {
        drop(body);
        std::future::poll_fn(|cx| wire.poll_send(cx)).await?;
    } else {
        if end == End::Chunks {
            wire.let_go_of_input();
        }
        let mut sending = Sending { body, chunked: end == End::Chunks, stage: Stage::Body };
        std::future::poll_fn(|cx| sending.poll(wire, cx)).await?;
    }
    head.headers.clear();
    Ok((form.keeps, head.headers))
}

/// Sends the head of an upgrade, behind which the connection belongs to another protocol.
pub(super) async fn send_head<S: ClientSocket>(
    wire: &mut Wire<S>,
    answer: Response<Reply>,
) -> Result<(), Gone> {
    let (head, _) = answer.into_parts();
    let form = Form { version: Version::HTTP_11, bodiless: true, keeps: true };
    write_head(wire.output(), &head, form, End::Close);
    std::future::poll_fn(|cx| wire.poll_send(cx)).await
}

/// A body that is being sent.
struct Sending {
    body: Reply,
    chunked: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Body,
    /// The body is over; its end is still to be sent.
    Ended,
    /// The body broke off, which the client sees by the missing end.
    Cut,
    Sent,
}

impl Sending {
    /// Sends what there is, until all of it is sent.
    fn poll<S: ClientSocket>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            if wire.is_full() || matches!(self.stage, Stage::Cut | Stage::Sent) {
                ready!(wire.poll_send(cx))?;
            }
            self.stage = match self.stage {
                Stage::Body if self.body.is_end_stream() => Stage::Ended,
                Stage::Body => match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(piece) = frame.into_data() {
                            wire.put(piece, self.chunked);
                        }
                        Stage::Body
                    }
                    Poll::Ready(Some(Err(_))) => Stage::Cut,
                    Poll::Ready(None) => Stage::Ended,
                    // It is sent together with what precedes it, at the end of this turn of the event loop.
                    Poll::Pending if self.body.waits_for_record() => return Poll::Pending,
                    Poll::Pending => {
                        ready!(wire.poll_send(cx))?;
                        return wire.poll_gone(cx).map(Err);
                    }
                },
                Stage::Ended => {
                    if self.chunked {
                        wire.output().extend_from_slice(LAST_CHUNK);
                    }
                    Stage::Sent
                }
                Stage::Cut => return Poll::Ready(Err(Gone)),
                Stage::Sent => return Poll::Ready(Ok(())),
            };
        }
    }
}

fn write_head(output: &mut Vec<u8>, head: &Parts, form: Form, end: End) {
    output.reserve(OUTPUT_BYTES);
    write_status(output, head.status);
    for (name, value) in &head.headers {
        // The framing headers are set here.
        if matches!(*name, CONNECTION | CONTENT_LENGTH | DATE | TRANSFER_ENCODING) {
            continue;
        }
        output.extend_from_slice(name.as_str().as_bytes());
        output.extend_from_slice(b": ");
        output.extend_from_slice(value.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
    match end {
        End::Length(_) if head.status == StatusCode::NO_CONTENT => {}
        // Writing to memory doesn't fail.
        End::Length(length) => drop(write!(output, "content-length: {length}\r\n")),
        End::Chunks => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        End::Close => {}
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        output.extend_from_slice(b"connection: Upgrade\r\n");
    }
    match (form.keeps, form.version) {
        (false, _) => output.extend_from_slice(b"connection: close\r\n"),
        (true, Version::HTTP_10) => output.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, _) => {}
    }
    write_date(output);
    output.extend_from_slice(b"\r\n\r\n");
}

fn write_status(output: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return output.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let reason = status.canonical_reason().unwrap_or_default();
    drop(write!(output, "HTTP/1.1 {} {reason}\r\n", status.as_str()));
}

/// Without the line end. The text is built once a second, where the one before it was.
fn write_date(output: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(made, text)| {
        if *made != second || text.is_empty() {
            *made = second;
            text.clear();
            drop(write!(text, "date: {}", httpdate::HttpDate::from(now)));
        }
        output.extend_from_slice(text);
    });
}

fn wants_close(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
