//! Idempotency keys: a request with one is served by a single trip, and that trip's answer is replayed to
//! repeats for a day.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use admit::Caller;
use bytes::{Bytes, BytesMut};
use domain::limits::{ANSWER_KEPT, IDEMPOTENCY_KEY_CHARS_MAX, RESPONSE_CACHE_BODY_BYTES_MAX};
use domain::ports::{AnswerStore, Claim, Claimed, KeyedRequest, PortFuture, StoredAnswer};
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::{CONNECTION, DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use settle::{ReplyBody, ReplyError, whole};

use crate::response_cache::Keeping;
use crate::{Core, refuse};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const AGENT_KEY: HeaderName = HeaderName::from_static("agent-idempotency-key");
const REPLAY: HeaderName = HeaderName::from_static("agent-idempotent-replay");
/// Sent only to say `false`.
const KEPT: HeaderName = HeaderName::from_static("agent-idempotency-kept");

const HOW: &str = "Send one Idempotency-Key of 1 to 255 visible ASCII characters.";

/// The idempotency key of a request, if it has one.
///
/// # Errors
/// 400 for an invalid key, and for two different ones.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Box<Fault>> {
    if !headers.contains_key(&KEY) && !headers.contains_key(&AGENT_KEY) {
        return Ok(None);
    }
    let mut found: Option<&str> = None;
    for value in headers.get_all(&KEY).iter().chain(headers.get_all(&AGENT_KEY)) {
        let key = value.to_str().ok().map(str::trim);
        let key = key.filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| wrong("The idempotency key is empty, too long, or no plain text."))?;
        if found.is_some_and(|other| other != key) {
            return Err(wrong("The request carries two idempotency keys that differ."));
        }
        found = Some(key);
    }
    Ok(found)
}

fn wrong(message: &'static str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_idempotency_key", message);
    Box::new(fault.param("Idempotency-Key").fix(HOW))
}

/// A request with its key, before the key is looked up.
pub struct Keyed<'a> {
    pub key: &'a str,
    /// As in the route table: an alias counts as a path of its own.
    pub path: &'a str,
    pub dialect: Dialect,
    pub trace: TraceId,
    pub body: Bytes,
}

/// Serves the request by `trip`; a repeat gets the stored answer instead, and nothing is admitted, sent or
/// booked.
pub async fn serve_idempotent<F>(
    core: &Core,
    caller: &Caller,
    keyed: Keyed<'_>,
    trip: impl FnOnce() -> F,
) -> Response<RecordedBody>
where
    F: Future<Output = Response<ReplyBody>>,
{
    let Keyed { key, path, dialect, trace, body } = keyed;
    if let Some(fault) = kept_content(caller) {
        return refuse(core, dialect, &fault, trace).map(RecordedBody::plain);
    }
    let request = KeyedRequest {
        workspace: caller.workspace().id,
        project: caller.project().id,
        path: path.to_owned().into(),
        key: key.to_owned(),
        body,
        request: trace,
        lifetime: ANSWER_KEPT,
        is_cached: false,
    };
    match claim(&core.answers, request).await {
        Ok(KeyClaim::First(held)) => watch_answer(held, trip().await, trace),
        Ok(KeyClaim::Repeat(answer)) => {
            core.counters.answered(answer.status);
            core.counters.replayed();
            let (status, headers, body) = replay(answer);
            whole(status, headers, body).map(RecordedBody::plain)
        }
        Err(fault) => refuse(core, dialect, &fault, trace).map(RecordedBody::plain),
    }
}

/// Where nothing may be retained, no answer is kept under a key.
fn kept_content(caller: &Caller) -> Option<Box<Fault>> {
    let policies = caller.project().policy.as_ref()?;
    let kept = "an answer is kept under its idempotency key";
    let fault = policies.refuse_to_keep(kept, "Send the request without an idempotency key.")?;
    Some(Box::new(fault.param("Idempotency-Key")))
}

/// The result of a claim.
pub enum KeyClaim {
    /// The first request: it is served, and its answer is stored.
    First(ClaimGuard),
    /// A repeat: it gets the stored answer.
    Repeat(StoredAnswer),
}

/// Claims the right to answer a request under its key.
///
/// # Errors
/// 409 while it is being answered or for another body, 503 where the store can't tell.
pub async fn claim(keeper: &Arc<dyn AnswerStore>, request: KeyedRequest) -> Result<KeyClaim, Box<Fault>> {
    Err(Box::new(match keeper.claim(request).await {
        Claimed::Acquired(claim) => {
            let held = ClaimGuard { keeper: Arc::clone(keeper), claim: Some(claim) };
            return Ok(KeyClaim::First(held));
        }
        Claimed::Answered(answer) => return Ok(KeyClaim::Repeat(answer)),
        Claimed::Unreadable => unreadable(),
        Claimed::InFlight => in_flight(),
        Claimed::OtherBody => other_body(),
        Claimed::StoreUnavailable => away(),
    }))
}

fn in_flight() -> Fault {
    Fault::new(
        FaultClass::Conflict,
        "idempotency_in_flight",
        "A request with this idempotency key is being answered.",
    )
    .fix("Send it again in a moment to receive that answer.")
    .retry_after_ms(1_000)
    .should_retry(true)
}

fn other_body() -> Fault {
    Fault::new(
        FaultClass::Conflict,
        "idempotency_conflict",
        "This idempotency key was used for a request with another body.",
    )
    .param("Idempotency-Key")
    .fix("Use a new key for a new request, and repeat a request unchanged.")
    .should_retry(false)
}

fn unreadable() -> Fault {
    Fault::new(
        FaultClass::Internal,
        "idempotent_answer_unreadable",
        "The answer stored under this idempotency key can't be opened.",
    )
    .fix("The request was answered before. Use a new key to have it answered again.")
    .should_retry(false)
}

fn away() -> Fault {
    Fault::new(
        FaultClass::Unavailable,
        "idempotency_unavailable",
        "It can't be checked now whether this idempotency key was used, so nothing was sent.",
    )
    .fix("Send it again in a moment, or without an idempotency key.")
    .retry_after_ms(1_000)
}

/// The parts of a replayed response.
pub fn replay(answer: StoredAnswer) -> (StatusCode, HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + 1);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers.insert(REPLAY, HeaderValue::from_static("true"));
    (StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK), headers, answer.body)
}

/// Only a successful answer is stored; any other one releases its key.
fn watch_answer(held: ClaimGuard, mut answer: Response<ReplyBody>, trace: TraceId) -> Response<RecordedBody> {
    if !answer.status().is_success() {
        return answer.map(RecordedBody::plain);
    }
    let headers = first_headers(answer.headers_mut());
    let body_bytes_max = held.keeper.body_bytes_max();
    let too_long = answer.body().size_hint().lower() > u64::try_from(body_bytes_max).unwrap_or(u64::MAX);
    if too_long {
        // The length of a stream is unknown when its head is sent.
        mark_not_stored(answer.headers_mut());
        warn_too_long(trace, body_bytes_max);
        return answer.map(RecordedBody::plain);
    }
    let keeper = Keeper::Key { held, status: answer.status().as_u16(), headers, trace };
    let watch = Watch { keeper, body: Collected::Nothing, body_bytes_max };
    answer.map(|inner| RecordedBody { inner, state: State::Watching(Box::new(watch)) })
}

/// Marks a response as the first under its key; returns the headers to store.
pub fn first_headers(headers: &mut HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.insert(REPLAY, HeaderValue::from_static("false"));
    let stored = headers.iter().filter(|(name, _)| **name != CONNECTION && **name != DATE);
    stored.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Marks a response as not stored under its key.
pub fn mark_not_stored(headers: &mut HeaderMap) {
    headers.insert(KEPT, HeaderValue::from_static("false"));
}

fn warn_too_long(trace: TraceId, body_bytes_max: usize) {
    tracing::warn!(request = %trace, body_bytes_max, "an answer under an idempotency key is too long to store");
}

/// A claim that is released unless its answer is stored.
pub struct ClaimGuard {
    keeper: Arc<dyn AnswerStore>,
    claim: Option<Claim>,
}

impl ClaimGuard {
    /// Stores the answer; the future ends once it is stored.
    pub fn keep(mut self, answer: StoredAnswer) -> Option<PortFuture<'static, ()>> {
        self.claim.take().map(|claim| self.keeper.keep(claim, answer))
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.keeper.release(claim);
        }
    }
}

/// Collects an answer as it is sent.
struct Watch {
    keeper: Keeper,
    body: Collected,
    body_bytes_max: usize,
}

/// Who keeps the answer.
enum Keeper {
    /// It is stored under its idempotency key.
    Key { held: ClaimGuard, status: u16, headers: Vec<(String, Vec<u8>)>, trace: TraceId },
    /// The response cache.
    Cache(Box<Keeping>),
}

enum Collected {
    Nothing,
    /// Most answers are one piece, which is not copied.
    One(Bytes),
    Many(BytesMut),
}

impl Collected {
    fn push(&mut self, piece: &Bytes) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Self::One(piece.clone()),
            Self::One(first) => {
                let mut many = BytesMut::from(&first[..]);
                many.extend_from_slice(piece);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.extend_from_slice(piece);
                Self::Many(many)
            }
        };
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn whole(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

enum State {
    /// Not collected, or no longer.
    Plain,
    Watching(Box<Watch>),
    /// The last piece is held back until the answer is stored: a client that has read it all may repeat the
    /// request at once.
    Keeping {
        kept: PortFuture<'static, ()>,
        last: Option<Bytes>,
    },
}

/// The response body of a request whose answer is kept.
pub struct RecordedBody {
    inner: ReplyBody,
    state: State,
}

impl RecordedBody {
    pub(crate) const fn plain(inner: ReplyBody) -> Self {
        Self { inner, state: State::Plain }
    }

    /// An answer that the response cache keeps.
    pub(crate) fn kept(inner: ReplyBody, keeping: Box<Keeping>) -> Self {
        let body_bytes_max = RESPONSE_CACHE_BODY_BYTES_MAX;
        let watch = Watch { keeper: Keeper::Cache(keeping), body: Collected::Nothing, body_bytes_max };
        Self { inner, state: State::Watching(Box::new(watch)) }
    }

    /// Whether the rest is ready but held back until it is stored or booked.
    pub fn waits_for_record(&self) -> bool {
        self.inner.waits_for_record() || matches!(self.state, State::Keeping { .. })
    }

    /// The answer is complete, with this as its last piece, which is returned unless it is held back.
    fn ended(&mut self, last: Option<Bytes>) -> Option<Bytes> {
        let State::Watching(watch) = std::mem::replace(&mut self.state, State::Plain) else { return last };
        let Watch { keeper, body, .. } = *watch;
        match keeper {
            Keeper::Cache(keeping) => keeping.ended(body.whole(), self.inner.usage().copied()),
            Keeper::Key { held, status, headers, .. } => {
                if let Some(kept) = held.keep(StoredAnswer { status, headers, body: body.whole() }) {
                    self.state = State::Keeping { kept, last };
                    return None;
                }
            }
        }
        last
    }

    /// Adds a piece to the collected answer.
    fn collect(&mut self, piece: &Bytes) {
        let State::Watching(watch) = &mut self.state else { return };
        if watch.body.len() + piece.len() <= watch.body_bytes_max {
            watch.body.push(piece);
            return;
        }
        let State::Watching(watch) = std::mem::replace(&mut self.state, State::Plain) else { return };
        match watch.keeper {
            Keeper::Key { trace, .. } => warn_too_long(trace, watch.body_bytes_max),
            Keeper::Cache(keeping) => keeping.give_up(),
        }
    }
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        loop {
            if let State::Keeping { kept, last } = &mut this.state {
                ready!(kept.as_mut().poll(cx));
                let last = last.take();
                this.state = State::Plain;
                return Poll::Ready(last.map(|bytes| Ok(Frame::data(bytes))));
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                // A broken answer is not stored.
                Some(Err(error)) => {
                    this.state = State::Plain;
                    return Poll::Ready(Some(Err(error)));
                }
                None if matches!(this.state, State::Watching(_)) => {
                    this.ended(None);
                    continue;
                }
                None => return Poll::Ready(None),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            // The status was a success, but the stream ended with an error event.
            if this.inner.is_failed() {
                this.state = State::Plain;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            this.collect(&bytes);
            if this.inner.is_end_stream() && matches!(this.state, State::Watching(_)) {
                match this.ended(Some(bytes)) {
                    Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    None => continue,
                }
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Plain) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Keeping { last, .. } => {
                SizeHint::with_exact(last.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            State::Plain | State::Watching(_) => self.inner.size_hint(),
        }
    }
}

domain::brief_debug!(RecordedBody, inner);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pairs: &[(&'static str, &str)]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        idempotency_key(&headers).map(|key| key.map(str::to_owned)).map_err(|fault| fault.code)
    }

    #[test]
    fn either_header_carries_the_key_and_two_must_agree() {
        let long = "k".repeat(255);
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[("idempotency-key", "a")]), Ok(Some("a".into())));
        assert_eq!(key(&[("agent-idempotency-key", &long)]), Ok(Some(long.clone())));
        assert_eq!(key(&[("idempotency-key", "a"), ("agent-idempotency-key", "a")]), Ok(Some("a".into())));
        for wrong in [
            vec![("idempotency-key", "a"), ("agent-idempotency-key", "b")],
            vec![("idempotency-key", "a"), ("idempotency-key", "b")],
            vec![("idempotency-key", "")],
            vec![("agent-idempotency-key", "schlüssel")],
            vec![("idempotency-key", &*format!("{long}k"))],
        ] {
            assert_eq!(key(&wrong), Err("invalid_idempotency_key"), "{wrong:?}");
        }
    }
}
