//! An HTTP/1.1 server, polled in the connection's task: requests in order, one buffer in and one out.
//!
//! Only unambiguous requests are accepted; see `head` and `framing`. While a request is answered its
//! connection is watched: a client that leaves ends the work that is done for it.

mod answer;
pub mod dissect;
mod framing;
mod head;
mod refusal;
mod wire;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use self::answer::Form;
use self::framing::{Framing, Malformed};
use self::head::Head;
use self::wire::{ClientSocket, Gone, HeadWait, Wire};
use crate::Times;
use crate::incoming::{self, Broken, Incoming, PipeIn, PipeState};
use crate::reply::{HandedOver, Handover, Reply};

pub use self::refusal::Refusal;
pub(crate) use self::wire::READ_BYTES as FIRST_READ_BYTES;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a client sent.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are requests, and are not put on the heap for the others"
)]
pub enum Arrived {
    Request(Request<Incoming>),
    /// A head that is not accepted. It is answered, and nothing behind it is read.
    Refused(Refusal),
}

/// What comes next over a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are heads, and are not put on the heap for the others"
)]
enum NextEvent {
    Head(Head),
    Refused(Refusal),
    /// The connection was silent for too long, or a shutdown ends idle ones.
    Over,
    /// The client left.
    Gone,
}

/// Serves a connection to its end. `first` is what was read from it; once
/// `closing`, no new request is started.
pub(crate) async fn serve<S, H, F>(
    socket: S,
    first: Vec<u8>,
    peer: SocketAddr,
    times: Times,
    closing: &Cell<bool>,
    handler: &H,
) where
    S: ClientSocket,
    H: Fn(Arrived, SocketAddr) -> F,
    F: Future<Output = Response<Reply>>,
{
    let mut wire = Wire::new(socket, first, times);
    let mut wait = HeadWait::new(times);
    let mut header_map = HeaderMap::new();
    loop {
        let next = std::future::poll_fn(|cx| poll_next(&mut wire, &mut wait, &mut header_map, closing, cx));
        let head = match next.await {
            NextEvent::Head(head) => head,
            NextEvent::Refused(refusal) => {
                let answer = handler(Arrived::Refused(refusal), peer).await;
                let form = Form { version: http::Version::HTTP_11, bodiless: false, keeps: false };
                if answer::send(&mut wire, answer, form).await.is_ok() {
                    wire.linger().await;
                }
                return;
            }
            NextEvent::Over => return wire.linger().await,
            NextEvent::Gone => return,
        };
        let mut form = Form::of(&head.method, head.version);
        let keeps_alive = head.keeps;
        let (request, mut rest) = request(&mut wire, head);
        let answer = {
            let mut answering = pin!(handler(Arrived::Request(request), peer));
            let answered = std::future::poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => rest.poll(&mut wire, cx).map(Err),
            });
            match answered.await {
                Ok(answer) => answer,
                Err(Gone) => return,
            }
        };
        let mut answer = answer;
        if let Some(take) = answer.body_mut().take_handover() {
            return Box::pin(hand_over(wire, answer, take, closing)).await;
        }
        form.keeps = keeps_alive && rest.framing.is_over() && !closing.get();
        match answer::send(&mut wire, answer, form).await {
            Ok((true, headers)) => header_map = headers,
            Ok((false, _)) => return wire.linger().await,
            Err(Gone) => return,
        }
        wait.rest();
    }
}

/// Sends the head of an upgrade, and hands the connection over.
async fn hand_over<S: ClientSocket>(
    mut wire: Wire<S>,
    answer: Response<Reply>,
    take: Box<Handover>,
    closing: &Cell<bool>,
) {
    if answer::send_head(&mut wire, answer).await.is_err() {
        return;
    }
    let (socket, early) = wire.into_parts();
    let Some(socket) = socket.into_tcp() else { return };
    let is_closing = Rc::new(Cell::new(closing.get()));
    let mut taken = take(HandedOver { socket, early, closing: Rc::clone(&is_closing) });
    std::future::poll_fn(|cx| {
        is_closing.set(closing.get());
        taken.as_mut().poll(cx)
    })
    .await;
}

fn poll_next<S: ClientSocket>(
    wire: &mut Wire<S>,
    wait: &mut HeadWait,
    header_map: &mut HeaderMap,
    closing: &Cell<bool>,
    cx: &mut Context<'_>,
) -> Poll<NextEvent> {
    loop {
        let unread = wire.unread();
        if wait.should_parse(unread) {
            match head::read(unread, header_map) {
                Ok(Some(head)) => return Poll::Ready(NextEvent::Head(head)),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(NextEvent::Refused(refusal)),
            }
        }
        let idle = unread.is_empty();
        if idle && closing.get() {
            return Poll::Ready(NextEvent::Over);
        }
        match wire.poll_fill(cx, 0) {
            Poll::Ready(Ok(())) => wait.bytes_came(),
            Poll::Ready(Err(Gone)) => return Poll::Ready(NextEvent::Gone),
            Poll::Pending => {
                ready!(wait.poll_end(cx));
                return Poll::Ready(if idle { NextEvent::Over } else { NextEvent::Refused(Refusal::Slow) });
            }
        }
    }
}

/// The request of a head, and the unread part of its body.
fn request<S: ClientSocket>(wire: &mut Wire<S>, head: Head) -> (Request<Incoming>, Rest) {
    let (end, wanted) = (head.length, head.framing.left());
    let here = wire.unread().len().saturating_sub(end);
    let (body, rest) = match head.framing {
        Framing::Over => (Incoming::Whole(Bytes::new()), Rest::OVER),
        Framing::Sized(_) if wanted <= here as u64 => {
            let body = head.kept.slice(end..end + usize::try_from(wanted).unwrap_or(here));
            (Incoming::Whole(body), Rest::OVER)
        }
        framing => {
            let (pipe_in, pipe) = incoming::pipe(wanted);
            (Incoming::Piped(pipe), Rest { framing, pipe: Some(pipe_in), waits: head.expects_continue })
        }
    };
    let used = if rest.framing.is_over() { here.min(usize::try_from(wanted).unwrap_or(here)) } else { 0 };
    wire.use_up(end + used);
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers;
    (request, rest)
}

/// The unread part of a request body while the request is answered.
struct Rest {
    framing: Framing,
    /// `None` if the body is not wanted (any more).
    pipe: Option<PipeIn>,
    /// The client waits for `100 Continue` before it sends the body.
    waits: bool,
}

impl Rest {
    const OVER: Self = Self { framing: Framing::Over, pipe: None, waits: false };

    /// Reads on if the body is wanted, and is ready once the client is gone.
    fn poll<S: ClientSocket>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Gone> {
        while let Some(pipe) = &self.pipe {
            match pipe.pipe_state(cx) {
                PipeState::Free => {}
                PipeState::Full => return Poll::Pending,
                PipeState::Closed => {
                    self.pipe = None;
                    break;
                }
            }
            if wire.unread().is_empty() {
                if std::mem::take(&mut self.waits) {
                    wire.output().extend_from_slice(CONTINUE);
                }
                let more = match ready!(wire.poll_send(cx)) {
                    Ok(()) => ready!(wire.poll_fill(cx, self.framing.left())),
                    gone => gone,
                };
                if more.is_err() {
                    return Poll::Ready(Gone);
                }
            }
            match self.framing.read(wire.unread()) {
                Ok(found) if found.data.is_empty() => wire.use_up(found.used),
                Ok(found) => pipe.put(wire.take(found.data.start, found.data.len())),
                Err(Malformed) => self.end(Err(Broken)),
            }
            if self.framing.is_over() {
                self.end(Ok(()));
            }
        }
        wire.poll_gone(cx)
    }

    fn end(&mut self, how: Result<(), Broken>) {
        if let Some(pipe) = self.pipe.take() {
            pipe.end(how);
        }
    }
}
