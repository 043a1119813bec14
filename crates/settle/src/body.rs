//! The response body that hyper polls: either complete bytes, or a client response that is settled when it ends or
//! is dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::{Nanos, Usage};
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use ledger::PendingWrite;
use relay::{ClientResponse, Piece};

/// The answer broke off after its head. Hyper then closes the connection without a clean end, which would
/// make the answer look complete. The client has already got an error in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct ReplyError;

/// Edits a body while it is sent.
pub trait BodyEditor: std::fmt::Debug {
    /// What is sent in place of a piece. Nothing is sent for what is empty.
    fn edit(&mut self, piece: Bytes) -> Bytes;
    /// What follows the last piece.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Bytes>;
}

/// Told of a stream what its client gets, and of its end before it is settled. A stream that its client leaves has no
/// such end.
pub trait WatchStream {
    fn sent(&mut self, bytes: &[u8]);
    /// The last piece waits for the future.
    fn ended(self: Box<Self>, usage: Usage) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Told of an answer what its client gets, editors' work included, and of its end: also of one that its client left.
pub trait CaptureAnswer {
    fn piece(&mut self, bytes: &Bytes);
    fn ended(self: Box<Self>, is_whole: bool);
}

struct Capture(Box<dyn CaptureAnswer>);

domain::brief_debug!(Capture as "Capture");

/// The watch of a stream.
enum Watch {
    Watching(Box<dyn WatchStream>),
    /// The stream is over but for this piece.
    Ending(Pin<Box<dyn Future<Output = ()>>>, Piece),
}

domain::brief_debug!(Watch as "Watch");

/// The body of a response.
#[derive(Debug)]
pub struct ReplyBody {
    kind: Kind,
    settled: Option<Settled>,
    /// The record that the last byte waits for.
    pending_record: Option<PendingWrite>,
    /// It ends cleanly, but with an error event.
    is_failed: bool,
    /// Boxed: few bodies have any of it.
    beside: Option<Box<Beside>>,
}

/// What is booked of an answer.
#[derive(Debug)]
struct Settled {
    usage: Usage,
    cost: Nanos,
}

/// What is done with a body on its way.
#[derive(Debug, Default)]
struct Beside {
    editor: Option<Box<dyn BodyEditor>>,
    watch: Option<Watch>,
    capture: Option<Capture>,
}

enum Kind {
    Whole(Bytes),
    Relayed(Box<ClientResponse>),
    /// Read while it is sent. Boxed: few bodies are.
    Pieces(Pieces),
    Over,
}

/// The pieces of a body; `None` breaks it off.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Option<Bytes>>>>;

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole",
            Self::Relayed(_) => "Relayed",
            Self::Pieces(_) => "Pieces",
            Self::Over => "Over",
        })
    }
}

impl ReplyBody {
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes), settled: None, pending_record: None, is_failed: false, beside: None }
    }

    pub(crate) fn from_relay(response: ClientResponse) -> Self {
        let mut body = Self::whole(Bytes::new());
        body.kind = Kind::Relayed(Box::new(response));
        body
    }

    pub(crate) fn pieces(pieces: Pieces) -> Self {
        let mut body = Self::whole(Bytes::new());
        body.kind = Kind::Pieces(pieces);
        body
    }

    /// The same body as `editor` sends it.
    pub fn edited(mut self, editor: Box<dyn BodyEditor>) -> Self {
        self.beside.get_or_insert_default().editor = Some(editor);
        self
    }

    /// The same, captured as it is sent.
    pub fn captured(mut self, capture: Box<dyn CaptureAnswer>) -> Self {
        self.beside.get_or_insert_default().capture = Some(Capture(capture));
        self
    }

    /// The same, watched to its end.
    pub fn watched(mut self, watch: Box<dyn WatchStream>) -> Self {
        self.beside.get_or_insert_default().watch = Some(Watch::Watching(watch));
        self
    }

    /// The next piece of a watched stream.
    fn poll_watched(response: &mut ClientResponse, watch: &mut Watch, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            match watch {
                Watch::Ending(done, last) => {
                    std::task::ready!(done.as_mut().poll(cx));
                    return Poll::Ready(std::mem::replace(last, Piece::End));
                }
                Watch::Watching(watching) => {
                    let piece = std::task::ready!(response.poll_piece(cx));
                    if let Piece::Data(bytes) | Piece::Last(bytes) | Piece::Failed(bytes) = &piece {
                        watching.sent(bytes);
                    }
                    if matches!(piece, Piece::Data(_)) {
                        return Poll::Ready(piece);
                    }
                    let usage = response.ended_usage().unwrap_or_default();
                    let nobody = Watch::Ending(Box::pin(std::future::ready(())), Piece::End);
                    if let Watch::Watching(watching) = std::mem::replace(watch, nobody) {
                        *watch = Watch::Ending(watching.ended(usage), piece);
                    }
                }
            }
        }
    }

    fn is_edited(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.editor.is_some())
    }

    /// The usage as booked; known once the answer is settled.
    pub const fn usage(&self) -> Option<&Usage> {
        match &self.settled {
            Some(settled) => Some(&settled.usage),
            None => None,
        }
    }

    /// What the answer costs its workspace, as budgets count it; known once it is settled.
    pub const fn cost(&self) -> Option<Nanos> {
        match &self.settled {
            Some(settled) => Some(settled.cost),
            None => None,
        }
    }

    /// Whether the answer ends with an error event after a successful status; then it must not be stored for
    /// replay.
    pub const fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// Whether the rest is ready and only waits for the end of the event loop's turn, when its record is
    /// written. A writer that still has bytes buffered, such as the head, can then send all at once.
    pub const fn waits_for_record(&self) -> bool {
        self.pending_record.is_some()
    }

    /// The last byte waits for the record, so that after a kill no answered exchange looks interrupted.
    fn poll_booked(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(booked) = &self.pending_record {
            std::task::ready!(booked.poll(cx));
            self.pending_record = None;
        }
        Poll::Ready(())
    }

    pub(crate) fn settle(&mut self, response: &mut ClientResponse) {
        if let Some((usage, booked)) = crate::close(response) {
            self.settled = Some(Settled { usage, cost: booked.cost() });
            self.pending_record = Some(booked);
        }
    }

    /// Settles if that is not done yet, and drops the upstream connection.
    fn end(&mut self) {
        if let Kind::Relayed(mut response) = std::mem::replace(&mut self.kind, Kind::Over) {
            self.settle(&mut response);
        }
    }
}

impl ReplyBody {
    /// The next piece as it is relayed.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReplyError>>> {
        if let Kind::Relayed(response) = &mut self.kind {
            let polled = match self.beside.as_mut().and_then(|beside| beside.watch.as_mut()) {
                None => response.poll_piece(cx),
                Some(watch) => Self::poll_watched(response, watch, cx),
            };
            match std::task::ready!(polled) {
                Piece::Data(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Piece::Last(bytes) => {
                    self.end();
                    self.kind = Kind::Whole(bytes);
                }
                Piece::Failed(bytes) => {
                    self.end();
                    self.is_failed = true;
                    self.kind = Kind::Whole(bytes);
                }
                Piece::End => self.end(),
                Piece::Abort => {
                    self.end();
                    return Poll::Ready(Some(Err(ReplyError)));
                }
            }
        }
        if let Kind::Pieces(pieces) = &mut self.kind {
            return match std::task::ready!(pieces.as_mut().poll_next(cx)) {
                // Nothing is sent for what is empty.
                Some(Some(bytes)) if bytes.is_empty() => self.poll_piece(cx),
                Some(Some(bytes)) => Poll::Ready(Some(Ok(bytes))),
                Some(None) => Poll::Ready(Some(Err(ReplyError))),
                None => Poll::Ready(None),
            };
        }
        std::task::ready!(self.poll_booked(cx));
        let rest = match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Whole(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Kind::Relayed(_) | Kind::Pieces(_) | Kind::Over => None,
        };
        Poll::Ready(rest.map(Ok))
    }
}

impl ReplyBody {
    /// The next piece as its editor leaves it.
    fn poll_edited(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReplyError>>> {
        loop {
            let piece = std::task::ready!(self.poll_piece(cx));
            let Some(beside) = self.beside.as_mut() else { return Poll::Ready(piece) };
            let Some(editor) = beside.editor.as_mut() else { return Poll::Ready(piece) };
            let edited = match piece {
                Some(Ok(piece)) => editor.edit(piece),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let rest = std::task::ready!(editor.poll_end(cx));
                    beside.editor = None;
                    rest
                }
            };
            if !edited.is_empty() {
                return Poll::Ready(Some(Ok(edited)));
            }
        }
    }

    /// Hands a piece to what captures the answer, or its end.
    fn capture(&mut self, piece: Option<&Result<Bytes, ReplyError>>) {
        let Some(Capture(capture)) = self.beside.as_mut().and_then(|beside| beside.capture.as_mut()) else {
            return;
        };
        let is_over = match piece {
            Some(Ok(bytes)) => {
                capture.piece(bytes);
                self.is_end_stream()
            }
            Some(Err(_)) | None => true,
        };
        if is_over {
            self.end_capture(piece.is_none_or(Result::is_ok) && !self.is_failed);
        }
    }

    fn end_capture(&mut self, is_whole: bool) {
        if let Some(Capture(capture)) = self.beside.as_mut().and_then(|beside| beside.capture.take()) {
            capture.ended(is_whole);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        let piece = std::task::ready!(this.poll_edited(cx));
        this.capture(piece.as_ref());
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        if self.is_edited() {
            return false;
        }
        match &self.kind {
            Kind::Over => self.pending_record.is_none(),
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Relayed(_) | Kind::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_edited() {
            return SizeHint::default();
        }
        match &self.kind {
            Kind::Over => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Relayed(_) | Kind::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    /// Hyper drops the body when the client disconnects.
    fn drop(&mut self) {
        // Nobody polls a body whose end is known.
        let is_whole = self.is_end_stream() && !self.is_failed;
        self.end_capture(is_whole);
        self.end();
    }
}
