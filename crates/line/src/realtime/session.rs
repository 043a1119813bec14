//! A running realtime session: relays the events of both sides, maps them to responses, and settles these
//! when they or the session end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

use dialects::{RealtimeAct, RealtimeEvent, realtime_error};
use domain::limits::{REALTIME_CLOSE_WAIT, REALTIME_DRAIN_MAX, REALTIME_IDLE_MAX, REALTIME_RESPONSES_MAX};
use domain::{Fault, FaultClass, Outcome, Profile, TraceId, Usage};
use execute::{RealtimeResponse, RealtimeResponseEnd, SessionSeat, UpstreamSocket};
use framing::websocket::{self, Sender, Violation, close_frame, text_frame};
use relay::{Conclusion, Sockets, Step, Stream};
use settle::{PendingWrite, book};
use tokio::time::Instant;

use super::SessionRequest;

/// The estimated bytes per token of the conversation so far.
const BYTES_PER_TOKEN: u64 = 4;
const HOW: &str = "Open the session again.";

/// An open session, before and while it is relayed. When it is dropped, each running response is settled as
/// cancelled by the client.
pub struct Session {
    request: SessionRequest,
    seat: SessionSeat,
    /// Whether it runs on a pooled account of the operator.
    is_pooled: bool,
    socket: Option<UpstreamSocket>,
    responses: Responses,
    /// The length of the conversation sent to the model so far.
    prompt_bytes: u64,
    /// The snapshot version in which the key was last checked.
    version: u64,
}

/// The session's responses by their state.
#[derive(Default)]
struct Responses {
    /// Admitted when the session was opened, and not requested yet.
    first: Option<RealtimeResponse>,
    /// Requested by the client, with the id of its event.
    requested: VecDeque<(Option<String>, RealtimeResponse)>,
    /// Started, by the upstream's response id.
    running: Vec<(String, RealtimeResponse)>,
}

/// Why a session ended.
enum End {
    /// Closed regularly, by this side first.
    Closed(Sender),
    Gone(Sender),
    Wrong(Sender, Violation),
    /// The session is no longer allowed.
    Refused(Box<Fault>),
    /// Ended by the gateway, with the close code.
    Ours(Box<Fault>, u16),
}

/// The state of the closing handshake.
#[derive(Default)]
struct Closing {
    by: Option<(Sender, Instant)>,
    is_mutual: bool,
}

impl Session {
    pub(super) fn new(request: SessionRequest, socket: UpstreamSocket, first: RealtimeResponse) -> Self {
        let version = request.core.snapshot.current().version();
        Self {
            request,
            seat: first.seat(),
            is_pooled: first.served().profile == Profile::ManagedProvider,
            socket: Some(socket),
            responses: Responses { first: Some(first), ..Responses::default() },
            prompt_bytes: 0,
            version,
        }
    }

    /// Relays both directions until the session ends. `early` are bytes that the client sent right after its
    /// handshake; once `is_draining`, no further response starts. Returns the client's socket, to be closed.
    pub async fn run<C: Stream>(
        mut self,
        client: C,
        early: &[u8],
        is_draining: impl Fn() -> bool,
    ) -> Option<C> {
        let sockets = Sockets::new(client, early, self.socket.take()?);
        let mut sockets = if self.is_pooled { sockets.guarded() } else { sockets };
        let mut closing = Closing::default();
        let mut draining_since = None;
        let end = loop {
            let on = match sockets.step().await {
                Step::Message(Sender::Client) => self.handle_client_message(&mut sockets).await,
                Step::Message(Sender::Server) => self.handle_upstream_message(&mut sockets).await,
                Step::Opaque(_) => self.refuse(&mut sockets, opaque(), None),
                Step::Closes(who, _) => closing.record_close(who),
                Step::Gone(who) => Err(closing.gone(who)),
                Step::Wrong(who, violation) => Err(End::Wrong(who, violation)),
                Step::Tick => {
                    if is_draining() {
                        draining_since.get_or_insert_with(Instant::now);
                    }
                    self.periodic_check(&closing, draining_since, sockets.silence())
                }
            };
            if let Err(end) = on {
                break end;
            }
        };
        Some(self.end(sockets, end).await)
    }

    async fn handle_client_message<C: Stream, U: Stream>(
        &mut self,
        sockets: &mut Sockets<C, U>,
    ) -> Result<(), End> {
        let message = sockets.message(Sender::Client);
        if let Err(fault) = self.seat.check_event(message) {
            let event = RealtimeEvent::read(message);
            return self.refuse(sockets, fault, event.id.as_deref());
        }
        let (event, bytes) = (RealtimeEvent::read(message), message.len() as u64);
        match event.act() {
            RealtimeAct::Create => {
                self.prompt_bytes = self.prompt_bytes.saturating_add(bytes);
                match self.admit_response().await {
                    Ok(response) => self.responses.requested.push_back((event.id, response)),
                    Err(fault) => return self.refuse(sockets, fault, event.id.as_deref()),
                }
            }
            RealtimeAct::Configure if self.is_pooled && event.transcribes => {
                return self.refuse(sockets, unmetered(), event.id.as_deref());
            }
            RealtimeAct::Sound => {}
            _ => self.prompt_bytes = self.prompt_bytes.saturating_add(bytes),
        }
        sockets.forward(Sender::Client);
        Ok(())
    }

    /// Drops the client's message and sends an error event. The session goes on, unless a part of the message
    /// was already forwarded, or the key is no longer valid.
    fn refuse<C: Stream, U: Stream>(
        &self,
        sockets: &mut Sockets<C, U>,
        fault: Box<Fault>,
        about: Option<&str>,
    ) -> Result<(), End> {
        let ends = matches!(fault.class, FaultClass::Unauthenticated | FaultClass::Forbidden);
        if ends || !sockets.discard(Sender::Client) {
            return Err(End::Refused(fault));
        }
        sockets.send_to_client(&text_frame(&realtime_error(&fault, self.trace(), about), None));
        Ok(())
    }

    async fn admit_response(&mut self) -> Result<RealtimeResponse, Box<Fault>> {
        if self.responses.count() >= REALTIME_RESPONSES_MAX {
            let message = "The session already has as many open responses as it may have.";
            let fault = Fault::new(FaultClass::Limited, "realtime_responses", message);
            return Err(Box::new(fault.fix("Wait until one of them is done.")));
        }
        let mut response = match self.responses.first.take() {
            Some(first) => match self.request.caller() {
                Ok(_) => first,
                Err(fault) => {
                    self.responses.first = Some(first);
                    return Err(fault);
                }
            },
            None => self.request.respond(&self.seat, self.prompt_bytes).await?,
        };
        response.set_prompt_bytes(self.prompt_bytes);
        Ok(response)
    }

    async fn handle_upstream_message<C: Stream, U: Stream>(
        &mut self,
        sockets: &mut Sockets<C, U>,
    ) -> Result<(), End> {
        let message = sockets.message(Sender::Server);
        let (event, bytes) = (RealtimeEvent::read(message), message.len() as u64);
        match event.act() {
            RealtimeAct::Created => {
                let mut response = match self.responses.requested.pop_front() {
                    Some((_, response)) => response,
                    // Started by the upstream itself, when voice activity detection saw the speaker stop.
                    None => self.admit_response().await.map_err(End::Refused)?,
                };
                response.record_event(&event, bytes);
                self.responses.running.push((event.response.unwrap_or_default(), response));
            }
            RealtimeAct::TextDelta | RealtimeAct::SoundDelta => {
                if let Some(response) = self.responses.running(event.response.as_deref()) {
                    response.record_event(&event, bytes);
                }
            }
            RealtimeAct::Done => {
                if let Some(response) = self.responses.ended(event.response.as_deref()) {
                    if let Some(usage) = &event.usage {
                        let tokens = usage.prompt_total().saturating_add(usage.completion_total());
                        self.prompt_bytes = tokens.saturating_mul(BYTES_PER_TOKEN);
                    }
                    // The event is held back until the record is written.
                    let booked = settle_done(response, &event, bytes);
                    poll_fn(|cx| booked.poll(cx)).await;
                }
            }
            RealtimeAct::Error => {
                if let Some(response) = self.responses.refused(event.about.as_deref()) {
                    drop(settle_failed(response, None, refused_by_upstream(&event)));
                }
            }
            _ => {}
        }
        sockets.forward(Sender::Server);
        Ok(())
    }

    /// The periodic check, once a second, whether the session may go on.
    fn periodic_check(
        &mut self,
        closing: &Closing,
        draining_since: Option<Instant>,
        silence: Duration,
    ) -> Result<(), End> {
        if let Some(end) = closing.is_over() {
            return Err(end);
        }
        if let Some(since) = draining_since
            && (self.responses.is_idle() || since.elapsed() >= REALTIME_DRAIN_MAX)
        {
            let fault = ours(FaultClass::Unavailable, "draining", "The gateway is shutting down.");
            return Err(End::Ours(fault, websocket::GOING_AWAY));
        }
        if silence >= REALTIME_IDLE_MAX {
            let fault = ours(FaultClass::Timeout, "realtime_idle", "No message was sent for too long.");
            return Err(End::Ours(fault, websocket::GOING_AWAY));
        }
        let version = self.request.core.snapshot.current().version();
        if version != self.version {
            self.version = version;
            self.request.caller().map_err(End::Refused)?;
        }
        Ok(())
    }

    async fn end<C: Stream, U: Stream>(mut self, sockets: Sockets<C, U>, end: End) -> C {
        let (to_client, code) = self.final_frames(&end);
        let mask = self.request.core.deps.world.random.next_u64().to_be_bytes();
        let mask = mask.first_chunk::<4>().copied();
        let to_upstream = close_frame(code, "", mask);
        if let Some(first) = self.responses.first.take() {
            // It was never requested: the session was opened, but nothing was used.
            drop(book(completed(first.end(None), 200)));
        }
        let requested =
            std::mem::take(&mut self.responses.requested).into_iter().map(|(_, response)| response);
        let running = std::mem::take(&mut self.responses.running).into_iter().map(|(_, response)| response);
        for response in running.chain(requested) {
            drop(match &end {
                End::Closed(Sender::Client) | End::Gone(Sender::Client) => settle_left(response),
                End::Closed(Sender::Server) | End::Gone(Sender::Server) | End::Wrong(Sender::Server, _) => {
                    let message = "The provider ended the session in the midst of a response.";
                    settle_failed(
                        response,
                        None,
                        Fault::new(FaultClass::StreamBroken, "realtime_broken", message),
                    )
                }
                End::Wrong(Sender::Client, violation) => settle_failed(
                    response,
                    None,
                    Fault::new(FaultClass::BadRequest, "websocket", violation.what),
                ),
                End::Refused(fault) | End::Ours(fault, _) => settle_failed(response, None, (**fault).clone()),
            });
        }
        let (client, _upstream) = sockets.end(&to_client, &to_upstream, REALTIME_CLOSE_WAIT).await;
        client
    }

    /// The last frames for the client, and the close code for the upstream.
    fn final_frames(&self, end: &End) -> (Vec<u8>, u16) {
        let with_error = |fault: &Fault, code: u16| {
            let mut words = text_frame(&realtime_error(fault, self.trace(), None), None);
            words.extend_from_slice(&close_frame(code, fault.code, None));
            words
        };
        match end {
            End::Closed(_) => (close_frame(websocket::NORMAL, "", None), websocket::NORMAL),
            End::Gone(Sender::Client) => (Vec::new(), websocket::GOING_AWAY),
            End::Gone(Sender::Server) | End::Wrong(Sender::Server, _) => {
                let message = "The provider broke the session off.";
                let fault = ours(FaultClass::StreamBroken, "realtime_broken", message);
                (with_error(&fault, websocket::INTERNAL), websocket::PROTOCOL_ERROR)
            }
            End::Wrong(Sender::Client, violation) => {
                (close_frame(violation.code, violation.what, None), websocket::GOING_AWAY)
            }
            End::Refused(fault) => {
                self.request.core.counters.refused(fault.code);
                (with_error(fault, websocket::POLICY), websocket::GOING_AWAY)
            }
            End::Ours(fault, code) => (close_frame(*code, fault.code, None), websocket::GOING_AWAY),
        }
    }

    /// For events that belong to no response.
    fn trace(&self) -> TraceId {
        self.request.core.new_trace()
    }
}

impl Responses {
    fn count(&self) -> usize {
        self.requested.len() + self.running.len()
    }

    fn is_idle(&self) -> bool {
        self.count() == 0
    }

    fn running(&mut self, id: Option<&str>) -> Option<&mut RealtimeResponse> {
        let id = id.unwrap_or_default();
        self.running.iter_mut().find(|(name, _)| name == id).map(|(_, response)| response)
    }

    /// The response that is done. If its start was never announced, it is the oldest requested one.
    fn ended(&mut self, id: Option<&str>) -> Option<RealtimeResponse> {
        let id = id.unwrap_or_default();
        match self.running.iter().position(|(name, _)| name == id) {
            Some(at) => Some(self.running.swap_remove(at).1),
            None => self.requested.pop_front().map(|(_, response)| response).or_else(|| self.first.take()),
        }
    }

    /// The requested response that an error refers to; if the error refers to none, the oldest one that was
    /// requested without an id.
    fn refused(&mut self, about: Option<&str>) -> Option<RealtimeResponse> {
        let at = self.requested.iter().position(|(name, _)| name.as_deref() == about)?;
        self.requested.remove(at).map(|(_, response)| response)
    }
}

impl Closing {
    fn record_close(&mut self, who: Sender) -> Result<(), End> {
        match self.by {
            None => self.by = Some((who, Instant::now())),
            Some((first, _)) if first != who => {
                self.is_mutual = true;
                return Err(End::Closed(first));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A connection that is gone after a close frame counts as closed.
    fn gone(&self, who: Sender) -> End {
        match self.by {
            Some((first, _)) => End::Closed(first),
            None => End::Gone(who),
        }
    }

    fn is_over(&self) -> Option<End> {
        let (first, since) = self.by?;
        (self.is_mutual || since.elapsed() >= REALTIME_CLOSE_WAIT).then_some(End::Closed(first))
    }
}

fn ours(class: FaultClass, code: &'static str, message: &'static str) -> Box<Fault> {
    Box::new(Fault::new(class, code, message).fix(HOW))
}

fn opaque() -> Box<Fault> {
    let message = "On the pool's accounts every event of a session is a message of text.";
    let fault = Fault::new(FaultClass::Unsupported, "realtime_not_text", message);
    Box::new(fault.fix("Send it as text, or use a credential of your own."))
}

/// Input transcription by a second model is billed separately by the provider, and not counted here.
fn unmetered() -> Box<Fault> {
    let message = "On the pool's accounts, the input of a session can't be transcribed by a second model: it would not be counted.";
    let fault = Fault::new(FaultClass::Unsupported, "realtime_transcription_unmetered", message);
    Box::new(fault.fix("Leave \"transcription\" out, or use a credential of your own."))
}

fn settle_done(mut response: RealtimeResponse, event: &RealtimeEvent, bytes: u64) -> PendingWrite {
    response.record_event(event, bytes);
    match event.status.as_deref() {
        Some("failed") => settle_failed(response, event.usage, failed_by_upstream(event)),
        Some("cancelled") => {
            let fault = Fault::new(FaultClass::Cancelled, "client_cancelled", "The response was cancelled.");
            book(Conclusion {
                outcome: Outcome::ClientCancelled,
                fault: Some(Box::new(fault)),
                ..completed(response.end(event.usage), 200)
            })
        }
        _ => book(completed(response.end(event.usage), 200)),
    }
}

/// The client left during the response.
fn settle_left(response: RealtimeResponse) -> PendingWrite {
    let status = if response.has_started() { 200 } else { 499 };
    let fault = Fault::new(FaultClass::Cancelled, "client_cancelled", "The client went away before the end.");
    book(Conclusion {
        outcome: Outcome::ClientCancelled,
        fault: Some(Box::new(fault)),
        ..completed(response.end(None), status)
    })
}

fn settle_failed(response: RealtimeResponse, reported: Option<Usage>, fault: Fault) -> PendingWrite {
    let status = if response.has_started() { 200 } else { 502 };
    let end = response.fail(reported, fault.clone());
    book(Conclusion { outcome: Outcome::Failed, fault: Some(Box::new(fault)), ..completed(end, status) })
}

fn completed(end: RealtimeResponseEnd, status: u16) -> Conclusion {
    let RealtimeResponseEnd { tab, usage, bytes_out, fallback_used } = end;
    Conclusion { tab, outcome: Outcome::Completed, status, fault: None, usage, bytes_out, fallback_used }
}

fn failed_by_upstream(event: &RealtimeEvent) -> Fault {
    let class = match event.code.as_deref() {
        Some("rate_limit_exceeded") => FaultClass::RateLimit,
        Some("insufficient_quota") => FaultClass::UpstreamQuota,
        _ => FaultClass::Upstream,
    };
    Fault::new(class, "realtime_response_failed", message_or(event, "The response failed."))
}

fn refused_by_upstream(event: &RealtimeEvent) -> Fault {
    Fault::new(
        FaultClass::BadRequest,
        "realtime_response_refused",
        message_or(event, "The response was refused."),
    )
}

fn message_or(event: &RealtimeEvent, or: &str) -> String {
    event.message.as_deref().unwrap_or(or).to_owned()
}
