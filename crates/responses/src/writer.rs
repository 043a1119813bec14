//! Writes a Responses answer, streamed or buffered.

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use conversation::fault_text::message;
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, TraceId};

use super::frames::{EventWriter, Frame, Head, Repeated, Standing};
use super::output::Output;

#[derive(Debug)]
pub struct Writer {
    head: Head,
    is_started: bool,
    /// The start was forwarded from the upstream, so the open items and their ids are not known.
    is_resumed: bool,
    finish: Option<Finish>,
    output: Output,
    events: EventWriter,
}

impl Writer {
    pub fn new(wish: AnswerOptions) -> Self {
        // The prefix of the trace id is dropped, since this is the id of an answer.
        let trace = wish.trace.map(|trace| trace.to_string()).unwrap_or_default();
        let stem = trace.rsplit('_').next().unwrap_or_default().to_owned();
        Self {
            head: Head {
                id: format!("resp_{stem}"),
                model: wish.model,
                created_unix_s: wish.created_unix_s,
                usage: None,
                repeated: Repeated::of(&wish.constraints.echo, !wish.is_same_dialect),
            },
            is_started: false,
            is_resumed: false,
            finish: None,
            output: Output::new(stem, wish.constraints),
            events: EventWriter::default(),
        }
    }

    fn start(&mut self, id: Option<String>, model: Option<String>, created: Option<u64>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        self.name(id, model, created);
        let standing = Standing::InProgress;
        for r#type in ["response.created", standing.event()] {
            let response = Some(standing.response(&self.head, Vec::new()));
            self.events.put(Frame { r#type, response, ..Frame::default() }, out);
        }
    }

    /// Takes over the upstream's values; the id only where it is a Responses id, so that later requests can
    /// refer to it.
    fn name(&mut self, id: Option<String>, model: Option<String>, created: Option<u64>) {
        if let Some(id) = id.filter(|id| id.starts_with("resp_") || self.is_resumed) {
            self.head.id = id;
        }
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            self.head.model = model;
        }
        self.head.created_unix_s = created.unwrap_or(self.head.created_unix_s);
    }

    fn take(&mut self, event: Event, out: &mut Vec<u8>) {
        if let Event::Start { id, model, created_unix_s } = event {
            return self.start(id, model, created_unix_s, out);
        }
        self.start(None, None, None, out);
        let (output, events) = (&mut self.output, &mut self.events);
        match event {
            Event::Begin { choice: 0, part, kind } => output.begin(part, kind, events, out),
            Event::Delta { choice: 0, part, text } if !text.is_empty() => {
                output.delta(part, &text, events, out)
            }
            Event::Signature { choice: 0, part, value } => output.seal(part, value),
            Event::Citation { choice: 0, part, json } => output.cite(part, &json, events, out),
            Event::Logprobs { choice: 0, tokens } => output.logprobs(&tokens),
            Event::End { choice: 0, part } => output.end(part, events, out),
            Event::Finish { choice: 0, finish } => self.finish(finish, out),
            Event::Usage(usage) => self.head.usage = Some(usage),
            Event::Done => self.done(out),
            // This format has one choice; further ones were reported as dropped.
            _ => {}
        }
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<u8>) {
        if finish.reason == Reason::Refusal
            && !self.output.has_refusal
            && let Some(words) = finish.explanation.as_deref()
        {
            self.refuse(words, out);
        }
        let is_whole = matches!(self.standing_of(Some(&finish)), Standing::Completed);
        let status = if is_whole { "completed" } else { "incomplete" };
        self.output.end_all(status, &mut self.events, out);
        self.finish = Some(finish);
    }

    /// Writes the provider's explanation for not answering as a refusal of the model.
    fn refuse(&mut self, words: &str, out: &mut Vec<u8>) {
        // No upstream numbers its parts this high.
        let part = u32::MAX;
        self.output.begin(part, PartKind::Refusal, &mut self.events, out);
        self.output.delta(part, words, &mut self.events, out);
        self.output.end(part, &mut self.events, out);
    }

    fn standing_of(&self, finish: Option<&Finish>) -> Standing {
        let Some(finish) = finish else { return Standing::Completed };
        match finish.reason {
            Reason::Stop | Reason::StopSequence | Reason::Calls | Reason::Pause => Standing::Completed,
            Reason::Refusal if self.output.has_refusal => Standing::Completed,
            Reason::Length | Reason::ContextLength => Standing::Incomplete("max_output_tokens"),
            Reason::ContentFilter | Reason::Refusal => Standing::Incomplete("content_filter"),
            Reason::MalformedCall => failed("The model called a tool in a form that can't be read."),
            Reason::Error => failed("The provider ended the answer without saying why."),
        }
    }

    /// Writes the last event, which holds the complete answer.
    fn done(&mut self, out: &mut Vec<u8>) {
        if !self.is_resumed {
            self.output.end_all("completed", &mut self.events, out);
        }
        let standing = self.standing_of(self.finish.as_ref());
        self.put_end(&standing, out);
    }

    fn put_end(&mut self, standing: &Standing, out: &mut Vec<u8>) {
        let response = Some(standing.response(&self.head, self.output.finished_items()));
        self.events.put(Frame { r#type: standing.event(), response, ..Frame::default() }, out);
    }
}

fn failed(message: &str) -> Standing {
    Standing::Failed { code: "server_error", message: message.to_owned() }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.is_resumed = true;
        self.is_started = progress.started;
        self.name(progress.id.clone(), progress.model.clone(), progress.created_unix_s);
        self.head.usage = progress.usage;
        // The upstream numbers its events from 0, and all of them were forwarded.
        self.events.sequence = progress.events;
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        self.take(event, out);
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        self.start(None, None, None, out);
        // Text that was sent stays. An open call is never reported as done, so that no client executes it.
        self.output.end_message("incomplete", &mut self.events, out);
        // Usage counted so far is not the final usage.
        self.head.usage = None;
        let standing = Standing::Failed { code: code(fault.class), message: message(fault, trace) };
        self.put_end(&standing, out);
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        self.events.is_silent = true;
        let mut out = Vec::new();
        for event in events {
            self.take(event, &mut out);
        }
        let standing = self.standing_of(self.finish.as_ref());
        serde_json::to_vec(&standing.response(&self.head, self.output.finished_items())).unwrap_or_default()
    }
}

/// The error code that clients of this API match on.
const fn code(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContentPolicy
        | FaultClass::MethodNotAllowed
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::Conflict
        | FaultClass::Precondition
        | FaultClass::Unauthenticated
        | FaultClass::Forbidden
        | FaultClass::NotFound
        | FaultClass::ClientTimeout
        | FaultClass::Cancelled => "invalid_prompt",
        FaultClass::ContextLength => "context_length_exceeded",
        FaultClass::UpstreamQuota | FaultClass::BudgetReached | FaultClass::CreditsRequired => {
            "insufficient_quota"
        }
        FaultClass::RateLimit | FaultClass::Limited => "rate_limit_exceeded",
        FaultClass::Overloaded | FaultClass::Unavailable => "server_is_overloaded",
        FaultClass::UpstreamAuth
        | FaultClass::UpstreamPermission
        | FaultClass::UpstreamNotFound
        | FaultClass::Timeout
        | FaultClass::Deadline
        | FaultClass::Upstream
        | FaultClass::StreamBroken
        | FaultClass::Internal => "server_error",
    }
}
