//! Transcription and translation responses: forwarded as they are, and read on the way for their usage.

use bytes::Bytes;
use chat::{operations, upstream_error};
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Grammar, Units, Usage, UsageSource};
use framing::sse::read_event;
use json::splice::join_small;
use json::{Cursor, JsonError, Kind, Value};

use crate::cut::EventBuffer;
use crate::registry::ping;

/// The form of an upstream's response, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnswerForm {
    #[default]
    Json,
    Events,
    /// Plain text, or subtitles.
    Text,
}

impl AnswerForm {
    /// `content_type` is the upstream's, where it sent one.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Self::Events,
            // HTML is not a transcript; reading it as JSON fails.
            "text/html" => Self::Json,
            essence if essence.starts_with("text/") || essence == "application/x-subrip" => Self::Text,
            _ => Self::Json,
        }
    }
}

/// A transcript that arrives as events, or whole instead of a stream.
#[derive(Debug)]
pub(crate) struct Transcript {
    client: Grammar,
    form: AnswerForm,
    cutter: EventBuffer,
    facts: StreamFacts,
}

impl Transcript {
    pub(crate) fn new(client: Grammar) -> Self {
        Self {
            client,
            form: AnswerForm::default(),
            cutter: EventBuffer::default(),
            facts: StreamFacts::default(),
        }
    }

    pub(crate) fn set_form(&mut self, form: AnswerForm) {
        self.form = form;
    }

    pub(crate) const fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// What may be sent before a body has started.
    pub(crate) fn ping(&self) -> &'static [u8] {
        match self.form {
            AnswerForm::Events => ping(self.client),
            AnswerForm::Json | AnswerForm::Text => b"\n",
        }
    }

    pub(crate) fn push(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.form != AnswerForm::Events {
            return self.cutter.hold(chunk, ANSWER_BYTES_MAX);
        }
        let first = out.len();
        let result = self.split(chunk, out);
        join_small(out, first);
        result
    }

    fn split(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let mut at = self.cutter.stray(chunk);
        out.push(chunk.slice(..at));
        while let Some(event) = self.cutter.next(chunk, &mut at)? {
            self.note(&event)?;
            out.push(event);
        }
        Ok(())
    }

    fn note(&mut self, event: &[u8]) -> Result<(), StreamFault> {
        let data = read_event(event).data.json(event).into_owned();
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let event = read(data)?;
        self.facts.events += 1;
        self.facts.content_started |= !event.is_nothing();
        self.facts.content_bytes += event.delta_bytes;
        if let Some(usage) = event.usage() {
            self.facts.usage = Some(usage);
        }
        if event.is_done {
            // The last event repeats the full text.
            self.facts.content_bytes = self.facts.content_bytes.max(event.text_bytes);
            (self.facts.finished, self.facts.done) = (true, true);
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.form == AnswerForm::Events {
            if !self.cutter.held().is_empty() {
                let event = self.cutter.last();
                self.note(&event)?;
                out.push(event);
            }
            let why = if self.facts.events == 0 { "empty" } else { "ended_early" };
            return if self.facts.done { Ok(()) } else { Err(StreamFault::Broken(why)) };
        }
        let body = self.cutter.take();
        let facts = read_whole(self.client, self.form, &body)?;
        self.facts = StreamFacts {
            usage: facts.usage,
            content_started: true,
            content_bytes: facts.content_bytes,
            events: 1,
            finished: true,
            done: true,
        };
        out.push(body);
        Ok(())
    }
}

/// What accounting needs to know about a buffered transcript.
///
/// # Errors
/// The body is not a transcript, or it is an error in a 200.
pub(crate) fn read_whole(
    client: Grammar,
    form: AnswerForm,
    body: &Bytes,
) -> Result<AnswerFacts, StreamFault> {
    match form {
        AnswerForm::Json => {
            let transcript = read(operations::document(body)?)?;
            Ok(AnswerFacts { usage: transcript.usage(), content_bytes: transcript.text_bytes })
        }
        AnswerForm::Text => {
            let usage = last_cue_ms(body).map(|ms| of_duration(ms, UsageSource::Estimate));
            Ok(AnswerFacts { usage, content_bytes: body.len() as u64 })
        }
        AnswerForm::Events => {
            let mut stream = Transcript::new(client);
            stream.set_form(form);
            stream.push(body, &mut Vec::new())?;
            stream.finish(&mut Vec::new())?;
            Ok(AnswerFacts { usage: stream.facts.usage, content_bytes: stream.facts.content_bytes })
        }
    }
}

/// What one document or event reports.
#[derive(Debug, Default)]
struct TranscriptReport {
    is_done: bool,
    text_bytes: u64,
    delta_bytes: u64,
    input: Option<u64>,
    audio: u64,
    output: Option<u64>,
    /// The duration from the usage object, and from the transcript itself.
    usage_ms: Option<u64>,
    duration_ms: Option<u64>,
}

impl TranscriptReport {
    const fn is_nothing(&self) -> bool {
        self.text_bytes == 0 && self.delta_bytes == 0
    }

    /// `None` where nothing was reported.
    fn usage(&self) -> Option<Usage> {
        if let (None, None) = (self.input, self.output) {
            return self.usage_ms.or(self.duration_ms).map(|ms| of_duration(ms, UsageSource::Provider));
        }
        let input = self.input.unwrap_or_default();
        Some(of_tokens(input, self.audio.min(input), self.output.unwrap_or_default()))
    }
}

fn read(json: &[u8]) -> Result<TranscriptReport, StreamFault> {
    let mut transcript = TranscriptReport::default();
    let mut failed = false;
    let mut cursor = Cursor::new(json)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "usage" if cursor.kind()? == Kind::Object => read_usage(cursor, &mut transcript)?,
            "duration" => transcript.duration_ms = milliseconds(cursor)?,
            "error" => failed |= cursor.value()?.is_something(json),
            key => match (key, cursor.value()?) {
                ("text", Value::String(text)) => transcript.text_bytes = text.decoded_len() as u64,
                ("delta", Value::String(text)) => transcript.delta_bytes = text.decoded_len() as u64,
                ("type", Value::String(kind)) => {
                    transcript.is_done = kind.is("transcript.text.done");
                    failed |= kind.is("error");
                }
                _ => {}
            },
        }
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    if failed { Err(upstream_error(json)) } else { Ok(transcript) }
}

fn read_usage(cursor: &mut Cursor<'_>, transcript: &mut TranscriptReport) -> Result<(), JsonError> {
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "input_tokens" | "prompt_tokens" => transcript.input = cursor.count()?,
            "output_tokens" | "completion_tokens" => transcript.output = cursor.count()?,
            "seconds" | "prompt_audio_seconds" => transcript.usage_ms = milliseconds(cursor)?,
            "input_token_details" | "input_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| {
                    if member.key.is("audio_tokens") {
                        transcript.audio = cursor.count()?.unwrap_or_default();
                    } else {
                        cursor.skip()?;
                    }
                    Ok::<(), JsonError>(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

/// Milliseconds from a number of seconds, which some write as a string.
fn milliseconds(cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    Ok(match cursor.value()? {
        Value::Number(number) => seconds_to_ms(number),
        Value::String(text) => seconds_to_ms(&text.decode()),
        _ => None,
    })
}

fn seconds_to_ms(text: &str) -> Option<u64> {
    let seconds = text.trim().parse::<f64>().ok()?;
    let ms = std::time::Duration::try_from_secs_f64(seconds).ok()?.as_millis();
    u64::try_from(ms).ok()
}

/// The end of the last subtitle cue: the recording is at least that long.
fn last_cue_ms(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let ends = text.lines().filter_map(|line| line.split_once(" --> "));
    ends.filter_map(|(_, end)| clock_ms(end.split_whitespace().next()?)).max()
}

/// `[hours:]minutes:seconds.milliseconds`, with a comma in SRT subtitles.
fn clock_ms(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once([',', '.'])?;
    let mut seconds = 0_u64;
    for part in clock.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    seconds.checked_mul(1_000)?.checked_add(fraction.parse().ok()?)
}

fn of_tokens(input: u64, audio: u64, output: u64) -> Usage {
    let units = Units { audio_in: audio, ..Units::default() };
    let input = input.saturating_sub(audio);
    Usage { input, output, units, source: UsageSource::Provider, ..Usage::default() }
}

fn of_duration(audio_ms: u64, source: UsageSource) -> Usage {
    let units = Units { audio_ms, ..Units::default() };
    Usage { units, source, ..Usage::default() }
}
