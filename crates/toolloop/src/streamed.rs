//! A streamed answer of the loop: one stream of the steps' events, in which calls of the project's tools are left out.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, ReadFrames, WriteAnswer};
use dialects::face;
use domain::{Event, Fault, FaultClass, Finish, Grammar, Json, PartKind, Reason, Usage};
use framing::sse::{WholeEvents, read_event};
use futures_util::{Stream, stream};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use settle::ReplyBody;
use tokio::time::timeout;

use crate::limits::STEP_BYTES_MAX;
use crate::native::Call;
use crate::trip::{Next, Trip};
use crate::{is_stream, refused_step};

/// How often a stream says that it is there while tools work.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A step whose answer arrives.
struct Reading {
    body: ReplyBody,
    reader: Box<dyn ReadAnswer>,
    whole: WholeEvents,
    /// Reads the frames of a format that has no events as text.
    frames: Option<Box<dyn ReadFrames>>,
    /// All events of the step.
    events: Vec<Event>,
    bytes: usize,
    /// The parts that are passed on, each with its number in the whole answer.
    parts: Vec<(u32, u32)>,
    usage: Usage,
    finish: Option<Finish>,
    is_done: bool,
}

type Working = Pin<Box<dyn Future<Output = (Box<Trip>, Response<ReplyBody>)>>>;

enum Phase {
    Reading(Box<Reading>),
    /// Tools are called, and the next step is begun.
    Working(Working),
    Over,
}

struct Streamed {
    grammar: Grammar,
    options: AnswerOptions,
    /// `None` while it works.
    trip: Option<Box<Trip>>,
    writer: Box<dyn WriteAnswer>,
    phase: Phase,
    has_started: bool,
    parts: u32,
    /// Of the steps that are over.
    usage: Usage,
    /// Items that were told of already.
    reported: usize,
}

/// The stream of a loop whose first step is answered with one.
pub(crate) fn answer(trip: Box<Trip>, head: HeaderMap, first: ReplyBody) -> Response<ReplyBody> {
    let grammar = trip.inbound().dialect.grammar();
    let options = options(&trip);
    let streamed = Streamed {
        grammar,
        writer: face(grammar).writer(options.clone()),
        options,
        trip: Some(trip),
        phase: Phase::Reading(Box::new(Reading::new(grammar, first))),
        has_started: false,
        parts: 0,
        usage: Usage::default(),
        reported: 0,
    };
    settle::streamed(StatusCode::OK, head, pieces(streamed))
}

fn pieces(streamed: Streamed) -> impl Stream<Item = Option<Bytes>> {
    stream::unfold(streamed, |mut streamed| async move {
        let piece = streamed.next().await?;
        Some((piece, streamed))
    })
}

fn options(trip: &Trip) -> AnswerOptions {
    let inbound = trip.inbound();
    let of_body = trip.body.get("model").and_then(Value::as_str).map(str::to_owned);
    let of_address = || inbound.addressed.as_ref().map(|addressed| addressed.model.clone());
    let include = trip.body.get("stream_options").and_then(|options| options.get("include_usage"));
    AnswerOptions {
        usage: inbound.dialect.grammar() != Grammar::Chat || include == Some(&Value::Bool(true)),
        model: of_body.or_else(of_address).unwrap_or_default(),
        trace: Some(inbound.trace),
        created_unix_s: inbound.received_unix_ms / 1_000,
        is_same_dialect: true,
        ..AnswerOptions::default()
    }
}

impl Reading {
    fn new(grammar: Grammar, body: ReplyBody) -> Self {
        Self {
            body,
            reader: face(grammar).reader(),
            whole: WholeEvents::default(),
            frames: face(grammar).frames(),
            events: Vec::new(),
            bytes: 0,
            parts: Vec::new(),
            usage: Usage::default(),
            finish: None,
            is_done: false,
        }
    }

    /// Takes a piece; the events that it completes. An event that is no part of an answer is given back as it is.
    fn take(&mut self, mut piece: &[u8]) -> Result<Vec<Event>, Bytes> {
        self.bytes = self.bytes.saturating_add(piece.len());
        let mut events = Vec::new();
        if let Some(frames) = &mut self.frames {
            frames.push(piece);
            // What is no frame is the end: the answer is not complete then.
            while let Ok(Some(frame)) = frames.next_frame(&mut *self.reader, &mut events) {
                if frame.result.is_err() || self.bytes > STEP_BYTES_MAX {
                    return Err(frame.bytes);
                }
            }
            return Ok(events);
        }
        while let Some(whole) = self.whole.next_in(&mut piece) {
            let read = read_event(&whole);
            let data = read.data.json(&whole);
            if data.trim_ascii().is_empty() || self.is_done {
                continue;
            }
            if self.reader.event(read.name, &data, &mut events).is_err() || self.bytes > STEP_BYTES_MAX {
                return Err(whole);
            }
            self.is_done = events.last() == Some(&Event::Done);
        }
        Ok(events)
    }
}

impl Streamed {
    /// The next piece; `Some(None)` where the stream breaks off.
    async fn next(&mut self) -> Option<Option<Bytes>> {
        loop {
            let piece = match &mut self.phase {
                Phase::Over => return None,
                Phase::Working(working) => match timeout(PING_EVERY, working.as_mut()).await {
                    Err(_) => Some(Bytes::from_static(dialects::ping(self.grammar))),
                    Ok((trip, response)) => self.begin(trip, response).await,
                },
                Phase::Reading(reading) => match reading.body.frame().await {
                    Some(Ok(frame)) => frame.into_data().ok().and_then(|piece| self.read(&piece)),
                    Some(Err(_)) => {
                        self.phase = Phase::Over;
                        return Some(None);
                    }
                    None => self.ended(),
                },
            };
            if let Some(bytes) = piece.filter(|bytes| !bytes.is_empty()) {
                return Some(Some(bytes));
            }
        }
    }

    /// Passes on what a piece of a step's answer has for the client.
    fn read(&mut self, piece: &[u8]) -> Option<Bytes> {
        let Phase::Reading(reading) = &mut self.phase else { return None };
        let events = match reading.take(piece) {
            Ok(events) => events,
            // The error that ends the stream.
            Err(event) => {
                self.phase = Phase::Over;
                return Some(event);
            }
        };
        let mut out = Vec::new();
        for event in events {
            self.pass(event, &mut out);
        }
        Some(out.into())
    }

    fn pass(&mut self, event: Event, out: &mut Vec<u8>) {
        let Phase::Reading(reading) = &mut self.phase else { return };
        reading.events.push(event.clone());
        let number = |parts: &[(u32, u32)], part: u32| {
            parts.iter().find(|(own, _)| *own == part).map(|(_, whole)| *whole)
        };
        let passed = match event {
            Event::Start { .. } if self.has_started => None,
            Event::Start { .. } => {
                self.has_started = true;
                self.writer.event(event, out);
                self.report(&[], out);
                None
            }
            Event::Begin { choice, part, kind } => {
                let is_ours = matches!(&kind, PartKind::Call { name, .. }
                    if self.trip.as_ref().is_some_and(|trip| trip.tools.hides(name)));
                (!is_ours).then(|| {
                    let whole = self.parts;
                    self.parts += 1;
                    reading.parts.push((part, whole));
                    Event::Begin { choice, part: whole, kind }
                })
            }
            Event::Delta { choice, part, text } => {
                number(&reading.parts, part).map(|part| Event::Delta { choice, part, text })
            }
            Event::Signature { choice, part, value } => {
                number(&reading.parts, part).map(|part| Event::Signature { choice, part, value })
            }
            Event::Citation { choice, part, json } => {
                number(&reading.parts, part).map(|part| Event::Citation { choice, part, json })
            }
            Event::End { choice, part } => {
                number(&reading.parts, part).map(|part| Event::End { choice, part })
            }
            Event::Finish { finish, .. } => {
                reading.finish = Some(finish);
                None
            }
            Event::Usage(usage) => {
                reading.usage = usage;
                Some(Event::Usage(self.usage.plus(usage)))
            }
            Event::Done => None,
            other @ Event::Logprobs { .. } => Some(other),
        };
        if let Some(event) = passed {
            self.writer.event(event, out);
        }
    }

    /// A step's answer is whole: the loop goes on or ends.
    fn ended(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        let mut last = Vec::new();
        if let Phase::Reading(reading) = &mut self.phase
            && !reading.is_done
            && reading.reader.end(&mut last).is_err()
        {
            return self.fail(&broken());
        }
        for event in last {
            self.pass(event, &mut out);
        }
        let Phase::Reading(reading) = std::mem::replace(&mut self.phase, Phase::Over) else { return None };
        let mut trip = self.trip.take()?;
        let Reading { body, events, usage, finish, .. } = *reading;
        trip.count(&body);
        let whole = face(self.grammar).writer(self.options.clone()).write_buffered(events);
        let answer: Value = serde_json::from_slice(&whole).unwrap_or_default();
        let calls = trip.native.calls(&answer);
        match trip.after(&calls) {
            Next::Calls(calls) => {
                self.usage = self.usage.plus(usage);
                self.phase = Phase::Working(Box::pin(async move {
                    trip.go_on(&answer, &calls).await;
                    let response = trip.step().await;
                    (trip, response)
                }));
            }
            Next::Answer(dropped) => {
                let approvals = trip.approvals(&calls);
                self.report(&approvals, &mut out);
                self.finish(finish, &calls, &dropped, &mut out);
                trip.close();
            }
        }
        Some(out.into())
    }

    /// Writes the items of calls that were made since, and others.
    fn report(&mut self, others: &[Value], out: &mut Vec<u8>) {
        let reported =
            self.trip.as_ref().map(|trip| trip.reported.get(self.reported..).unwrap_or_default().to_vec());
        let reported = reported.unwrap_or_default();
        self.reported += reported.len();
        for item in reported.iter().chain(others) {
            let kind = item.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
            let kind = PartKind::Foreign { kind, json: Json(item.to_string()) };
            let part = self.parts;
            self.parts += 1;
            self.writer.event(Event::Begin { choice: 0, part, kind }, out);
            self.writer.event(Event::End { choice: 0, part }, out);
        }
    }

    fn finish(&mut self, finish: Option<Finish>, calls: &[Call], dropped: &[String], out: &mut Vec<u8>) {
        let mut finish = finish.unwrap_or_else(|| Finish::of(Reason::Stop));
        if finish.reason == Reason::Calls && calls.len() == dropped.len() {
            finish = Finish::of(Reason::Stop);
        }
        self.writer.event(Event::Finish { choice: 0, finish }, out);
        self.writer.event(Event::Done, out);
    }

    /// Takes the response of the next step.
    async fn begin(&mut self, trip: Box<Trip>, response: Response<ReplyBody>) -> Option<Bytes> {
        let is_answer = response.status() == StatusCode::OK && is_stream(response.headers());
        let step = trip.steps;
        self.trip = Some(trip);
        if is_answer {
            self.phase = Phase::Reading(Box::new(Reading::new(self.grammar, response.into_body())));
            let mut out = Vec::new();
            self.report(&[], &mut out);
            return Some(out.into());
        }
        let fault = refused_step(step, response).await;
        self.fail(&fault)
    }

    fn fail(&mut self, fault: &Fault) -> Option<Bytes> {
        let trace = self.options.trace?;
        let mut out = Vec::new();
        self.writer.error(fault, trace, &mut out);
        self.phase = Phase::Over;
        if let Some(trip) = self.trip.take() {
            trip.close();
        }
        Some(out.into())
    }
}

fn broken() -> Fault {
    Fault::new(FaultClass::StreamBroken, "upstream_answer_broken", "The answer broke off.")
}
