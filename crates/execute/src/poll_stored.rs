//! Our own polls of objects that providers store, for the books: no client
//! requested them, and none is answered.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use conversation::request::{Request, Stored, StoredAct};
use dialects::{AnswerPath, VendorAnswer};
use domain::limits::{DEADLINE, FIRST_BYTE_TIME_MAX, IDLE_TIME_MAX};
use domain::{Abilities, Fault, Grammar, MissingFeatures, Operation};
use providers::{ModelRequest, Target};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::failure::AttemptFailure;
use crate::lead::{self, FollowTarget};
use crate::limits::FILE_LINE_BYTES_MAX;
use crate::timer::{Alarm, Timer};
use crate::upstream::{self, UpstreamResponse, no_headers, request_of, sign};
use crate::verify::VerifyTarget;
use crate::{Deps, read};

/// The object to poll, by its provider's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPoll {
    pub operation: Operation,
    pub id: String,
    /// Whether to read its content instead of its status.
    pub is_content: bool,
}

/// Receives the pieces, and at the end an empty one: a poll that ends without it, or with a fault, broke off.
pub type PollSink = mpsc::Sender<Result<Bytes, Box<Fault>>>;

/// Polls, with the seat's own identity and no other.
pub async fn poll_object(target: &VerifyTarget, poll: StoredPoll, sink: &PollSink, deps: &Deps) {
    if let Err(failure) = send_object(target, poll, sink, deps).await {
        // The receiver may have gone away.
        let _ = sink.send(Err(failure.fault)).await;
    }
}

/// Polls, and reads the answer to its end.
pub(crate) async fn whole(
    target: &VerifyTarget,
    poll: StoredPoll,
    deps: &Deps,
) -> Result<Bytes, AttemptFailure> {
    let operation = poll.operation;
    let (mut opened, vendor) = open(target, poll, deps).await?;
    let (mut timer, deadline) = (Timer::new(&deps.timers), Instant::now() + DEADLINE);
    let slug = &target.provider;
    let bytes = read::whole(&mut opened.body, &mut timer, IDLE_TIME_MAX, deadline, slug).await?;
    let bytes =
        read::decoded(&opened.headers, bytes).await.map_err(|what| AttemptFailure::broken(slug, what))?;
    let Some(vendor) = vendor else { return Ok(bytes) };
    // The status of a long-running operation is read as the status of its video.
    let head_units = upstream::billed(providers::provider(slug), &opened.headers);
    let path = AnswerPath { operation, head_units, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
    let answer = vendor.buffered(&path, &bytes).map_err(|fault| upstream::stream_failure(fault, slug))?;
    Ok(answer.body)
}

/// Deletes an object.
pub(crate) async fn delete(
    target: &VerifyTarget,
    poll: StoredPoll,
    deps: &Deps,
) -> Result<(), AttemptFailure> {
    act(target, poll, StoredAct::Delete, deps).await.map(drop)
}

/// Deletes an object, with the seat's own identity and no other.
///
/// # Errors
/// The provider refuses, has no such object, or does not answer.
pub async fn delete_object(target: &VerifyTarget, poll: StoredPoll, deps: &Deps) -> Result<(), Box<Fault>> {
    delete(target, poll, deps).await.map_err(|failure| failure.fault)
}

/// The response, and what reads it where it is in a format of the vendor's own.
async fn open(
    target: &VerifyTarget,
    poll: StoredPoll,
    deps: &Deps,
) -> Result<(UpstreamResponse, Option<Arc<dyn VendorAnswer>>), AttemptFailure> {
    let read = if poll.is_content { StoredAct::Content } else { StoredAct::Read };
    act(target, poll, read, deps).await
}

async fn act(
    target: &VerifyTarget,
    poll: StoredPoll,
    act: StoredAct,
    deps: &Deps,
) -> Result<(UpstreamResponse, Option<Arc<dyn VendorAnswer>>), AttemptFailure> {
    let provider = providers::provider(&target.provider);
    let request = Request::about(Stored::new(poll.id, act, String::new()));
    let model_request = ModelRequest {
        operation: poll.operation,
        grammar: Grammar::Chat,
        request: &request,
        body: &Bytes::new(),
        native_headers: &[],
        is_lenient: false,
        drops_hosted_tools: false,
        shared_by: None,
        inserts: &[],
        prompt: None,
    };
    let abilities = Abilities::default;
    let upstream = Target {
        base_url: &target.base_url,
        upstream_model: "",
        hosting: target.seat.hosting(),
        abilities: &abilities,
        quirks: MissingFeatures::default(),
    };
    let mut outgoing = provider.generate(&upstream, &model_request).map_err(AttemptFailure::of_us)?;
    let vendor = outgoing.answer.take();
    sign(deps, &target.seat, provider, &target.provider, &target.base_url, &mut outgoing).await?;
    let request = request_of(&deps.egress, outgoing).map_err(AttemptFailure::of_us)?;
    let slug = &target.provider;
    let answering = upstream::send(deps, slug, &target.seat, &request, no_headers);
    let silent = |_| AttemptFailure::timeout(slug, "did not answer", FIRST_BYTE_TIME_MAX.as_secs());
    let answering = async {
        let opened = answering.await?;
        let stored = model_request.request.stored.as_deref();
        if !lead::is_needed(provider, model_request.operation, stored) {
            return Ok(opened);
        }
        let (seat, base_url) = (&target.seat, &*target.base_url);
        let road =
            FollowTarget { slug, seat, base_url, operation: model_request.operation, stored, sent: &request };
        lead::follow(deps, road, opened).await
    };
    let opened = timeout(FIRST_BYTE_TIME_MAX, answering).await.map_err(silent)??;
    Ok((opened, vendor))
}

async fn send_object(
    target: &VerifyTarget,
    poll: StoredPoll,
    sink: &PollSink,
    deps: &Deps,
) -> Result<(), AttemptFailure> {
    if !poll.is_content {
        let bytes = whole(target, poll, deps).await?;
        let _ = sink.send(Ok(bytes)).await;
        return Ok(());
    }
    let slug = &target.provider;
    let (mut opened, _) = open(target, poll, deps).await?;
    let (mut timer, deadline) = (Timer::new(&deps.timers), Instant::now() + DEADLINE);
    loop {
        let next = std::pin::pin!(read::next_chunk(&mut opened.body));
        match timer.within(IDLE_TIME_MAX, deadline, next).await {
            Ok(None) => {
                let _ = sink.send(Ok(Bytes::new())).await;
                return Ok(());
            }
            Ok(Some(Ok(bytes))) => {
                if !bytes.is_empty() && sink.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Some(Err(error))) => {
                return Err(AttemptFailure::broken(slug, error.message.trim_end_matches('.')));
            }
            Err(Alarm::Deadline) => return Err(AttemptFailure::deadline()),
            Err(Alarm::Silence) => {
                return Err(AttemptFailure::timeout(slug, "sent no further byte", IDLE_TIME_MAX.as_secs()));
            }
        }
    }
}

/// A file at a provider, read by its lines as it streams in.
#[derive(Debug)]
pub struct FileLines {
    chunks: mpsc::Receiver<Result<Bytes, Box<Fault>>>,
    message: fn(&Fault) -> String,
    held: BytesMut,
    is_over: bool,
}

impl FileLines {
    /// `message` writes down why it broke off.
    pub fn new(chunks: mpsc::Receiver<Result<Bytes, Box<Fault>>>, message: fn(&Fault) -> String) -> Self {
        Self { chunks, message, held: BytesMut::new(), is_over: false }
    }

    /// The next line with its line end, or what follows the last line end.
    ///
    /// # Errors
    /// The file broke off, or a line of it is too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let mut searched = 0;
        loop {
            let unread = self.held.get(searched..).unwrap_or_default();
            if let Some(at) = unread.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.held.split_to(searched + at + 1).freeze()));
            }
            searched = self.held.len();
            if searched > FILE_LINE_BYTES_MAX {
                return Err("a line of it is too long".to_owned());
            }
            let piece = if self.is_over {
                Bytes::new()
            } else {
                let piece = self.chunks.recv().await.ok_or("nobody looks any more")?;
                piece.map_err(|fault| (self.message)(&fault))?
            };
            self.is_over = piece.is_empty();
            match (self.is_over, self.held.is_empty()) {
                (true, true) => return Ok(None),
                (true, false) => return Ok(Some(self.held.split().freeze())),
                (false, _) => self.held.extend_from_slice(&piece),
            }
        }
    }
}
