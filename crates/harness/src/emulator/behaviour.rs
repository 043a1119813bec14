//! How one emulated response deviates from a good one: built in Rust, read from JSON, or from a `user` value
//! such as `emu:latency=50,chunks=20,stall=3` (for Gemini, from the label `emulate`, without `emu:`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::openai::answer::sample;

/// A position in a response. In a stream, event 0 is the first event, such as the role chunk; a buffered
/// response has two halves, 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Before the event of this number.
    Event(usize),
    /// Before the middle content event.
    Middle,
    /// Before the event that carries the finish reason.
    Finish,
    /// Before the usage event, or before the last where there is none.
    Usage,
    /// Before the last event, such as `[DONE]`.
    Done,
}

/// Line endings of an event stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    #[default]
    Lf,
    Crlf,
    Cr,
}

/// Where usage is reported and whether it is correct. The journal records the true counts in any case. Where
/// the provider has only one place for usage, only its presence and correctness can differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageMode {
    /// As the provider does: in a chunk of its own, when requested.
    #[default]
    Normal,
    /// Never.
    Missing,
    /// All counters zero.
    Zero,
    /// In the chunk with the finish reason, whose `choices` is not empty.
    Joined,
    /// Cumulative, on each chunk.
    Every,
    /// In a chunk of its own even when not requested.
    Unasked,
}

/// Which tool calls the response makes, whatever the conversation contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    Single,
    /// Two calls, one after the other.
    Parallel,
    /// Two calls whose fragments alternate.
    Interleaved,
    /// None, even where the request forces a call.
    None,
}

/// The body of a canned response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CannedBody {
    /// `{"error":{message,type,param,code}}`; by default each provider's own shape.
    #[default]
    Openai,
    /// A proxy's error page.
    Html,
    Empty,
    /// `{"error":"text"}`
    Text,
    /// `{"detail":[..]}`
    Detail,
    /// `{"object":"error","message":..}`
    Message,
}

/// The deviations of one response; the default has none. Rust, JSON and the short form share these names; in
/// the short form, values are percent-decoded, and a name without a value means true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How many calls a queued behaviour serves; one if absent, 0 for all.
    pub times: Option<u32>,
    /// Milliseconds before the response head.
    pub latency: u64,
    /// Waits before the response head, until [`crate::Emulator::release`].
    pub held: bool,
    /// Milliseconds between content events.
    pub interval: u64,
    /// Number of content events; without `tokens`, each holds one token.
    pub chunks: Option<usize>,
    /// Visible completion tokens: the text is padded or cut to this length.
    pub tokens: Option<u64>,
    /// Hidden reasoning tokens.
    pub reasoning: Option<u64>,
    /// Returns redacted thinking blocks, which hold only opaque data, where the provider has them.
    pub redacted: bool,
    /// The text of the response; `unicode` means a mix of one- to four-byte characters.
    #[serde(deserialize_with = "text_or_number")]
    pub text: Option<String>,
    /// The model name in the response.
    pub model: Option<String>,
    /// Answers in `message.refusal`; for Gemini, blocks the prompt, with `code` as the block reason.
    pub refusal: bool,
    pub tools: Option<ToolMode>,
    /// Calls this tool, once, where the request offers it and the conversation has no tool result yet; other
    /// requests are unaffected. For a client that makes any number of requests, queue it with `times` 0.
    pub call: Option<String>,
    /// The arguments of tool calls, as JSON text; the JSON form also accepts an object.
    #[serde(deserialize_with = "text_or_number")]
    pub arguments: Option<String>,
    /// Pads tool arguments to about this many bytes.
    pub args_bytes: usize,
    /// Overrides the finish reason; `content_filter` also cuts the text in half.
    pub finish: Option<String>,
    /// Answers with this status and a canned body.
    pub status: Option<u16>,
    /// The canned body; with status 200 unless `status` says otherwise.
    pub body: Option<CannedBody>,
    /// OpenAI's `code`; Anthropic's error `type`, where it is one of Anthropic's types.
    pub code: Option<String>,
    pub message: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub retry_after: Option<String>,
    /// `retry-after` as an HTTP date this many seconds ahead.
    pub retry_after_date: Option<i64>,
    pub retry_after_ms: Option<u64>,
    /// Further response headers.
    pub headers: BTreeMap<String, String>,
    /// Answers 302 with this location.
    pub redirect: Option<String>,
    /// Aborts the connection before any response head.
    pub reset: bool,
    /// Stops sending here, for `stall_ms` or forever.
    pub stall: Option<At>,
    pub stall_ms: Option<u64>,
    /// Aborts the connection (TCP RST) here.
    pub cut: Option<At>,
    /// Aborts the connection inside the event at this place.
    pub cut_inside: Option<At>,
    /// Ends the transfer without its terminator (FIN, or RST_STREAM) here.
    pub close: Option<At>,
    /// Ends the transfer cleanly here, though the response is incomplete.
    pub eof: Option<At>,
    /// Sends broken JSON in place of this event.
    pub malformed: Option<At>,
    /// Corrupts the checksum of the event here, where events have checksums.
    pub bad_sum: Option<At>,
    /// Sends an error event here and ends the stream without `[DONE]`.
    pub error_event: Option<At>,
    /// Writes the error event's fields next to its type instead of inside `error`; Responses API only.
    pub flat_error: bool,
    /// Fails here: a stream ends with `response.failed`, a buffered response has that status; Responses API
    /// only.
    pub failed: Option<At>,
    /// Puts this event and the next on one line.
    pub joined_line: Option<At>,
    /// Makes one content event this many bytes long.
    pub giant: usize,
    /// Writes the body in pieces of this many bytes, flushing after each.
    pub split: usize,
    /// Milliseconds between those pieces.
    pub pause: u64,
    /// Sends all events without flushing between them.
    pub burst: bool,
    /// Line endings; by default those that the provider uses.
    pub line_end: Option<LineEnd>,
    pub bom: bool,
    /// A comment line before each event.
    pub comments: bool,
    /// `data:` without the space.
    pub no_space: bool,
    /// Splits each JSON document over two `data:` lines.
    pub multiline: bool,
    /// No blank line after the last event.
    pub unterminated: bool,
    /// `event:`, `id:` and `retry:` lines on each event.
    pub extra_lines: bool,
    pub no_done: bool,
    pub doubled_done: bool,
    pub usage: UsageMode,
    /// Overrides the prompt token count, and so the reported usage.
    pub prompt_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    /// How many of the reported tokens are sound or pictures.
    pub audio_in: u64,
    pub audio_out: u64,
    pub image_in: u64,
    pub image_out: u64,
    /// How many of the cached tokens are sound, where the provider says so.
    pub cached_audio: u64,
    /// The service tier in the response, whichever was requested.
    pub tier: Option<String>,
    /// Number of web searches reported in the usage.
    pub searches: Option<u64>,
    /// Compresses the body although the client did not accept gzip.
    pub gzip: bool,
    /// Answers with a gzip body that unpacks to this many bytes.
    pub bomb: u64,
    /// Answers a stream request with plain JSON, or a plain one with a stream.
    pub wrong_form: bool,
}

/// A script that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError(String);

/// Methods that set one field each and are named as it is: flags first, then others by what they take.
macro_rules! setters {
    ($owner:ident { true: $($flag:ident)*; $([$($field:ident)*] $value:ident: $kind:ty => $set:expr;)* }) => {
        impl $owner {
            $(pub fn $flag(mut self) -> Self {
                self.$flag = true;
                self
            })*
            $($(pub fn $field(mut self, $value: $kind) -> Self {
                self.$field = $set;
                self
            })*)*
        }
    };
}
pub(crate) use setters;

setters! { Behaviour {
    true: redacted refusal flat_error burst bom comments no_space multiline unterminated extra_lines no_done
        doubled_done gzip wrong_form;
    [stall cut cut_inside close eof malformed bad_sum error_event failed joined_line]
        at: impl Into<At> => Some(at.into());
    [text model finish code message retry_after redirect] text: impl Into<String> => Some(text.into());
    [latency interval pause] duration: Duration => millis(duration);
    [tokens reasoning retry_after_ms] number: u64 => Some(number);
    [args_bytes giant split] bytes: usize => bytes;
    [bomb] bytes: u64 => bytes;
    [times] times: u32 => Some(times);
    [chunks] chunks: usize => Some(chunks);
    [tools] mode: ToolMode => Some(mode);
    [retry_after_date] seconds_ahead: i64 => Some(seconds_ahead);
    [line_end] line_end: LineEnd => Some(line_end);
    [usage] usage: UsageMode => usage;
} }

impl Behaviour {
    /// A response without deviations.
    pub fn ok() -> Self {
        Self::default()
    }

    /// A response that waits for [`crate::Emulator::release`].
    pub fn held() -> Self {
        Self { held: true, ..Self::default() }
    }

    /// A canned response with this status and the provider's error body.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// A canned body, with status 200 until [`Behaviour::status`] is set.
    pub fn canned(body: CannedBody) -> Self {
        Self { body: Some(body), ..Self::default() }
    }

    /// 429 `rate_limit_exceeded` with `retry-after` in seconds.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self { retry_after: Some(retry_after_seconds.to_string()), ..Self::status(429) }
    }

    /// 429 `insufficient_quota`.
    pub fn out_of_quota() -> Self {
        Self { code: Some("insufficient_quota".to_owned()), ..Self::status(429) }
    }

    /// Aborts the connection before the head.
    pub fn reset() -> Self {
        Self { reset: true, ..Self::default() }
    }

    /// Reads the short form, the part after `emu:`.
    pub fn parse(script: &str) -> Result<Self, ScriptError> {
        let mut fields = Map::new();
        for pair in script.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                None => (pair, Value::Bool(true)),
                Some((name, value)) => {
                    let text = percent_decode_str(value).decode_utf8_lossy().into_owned();
                    (name, scalar(text))
                }
            };
            fields.insert(name.to_owned(), value);
        }
        Self::from_json(Value::Object(fields))
    }

    /// Reads the JSON form.
    pub fn from_json(value: Value) -> Result<Self, ScriptError> {
        serde_json::from_value(value).map_err(|error| ScriptError(error.to_string()))
    }

    /// Keeps the behaviour in the queue for all further calls.
    pub fn always(self) -> Self {
        self.times(0)
    }

    pub fn call(mut self, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        self.call = Some(name.into());
        self.arguments = Some(arguments.into());
        self
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub fn with_body(mut self, body: CannedBody) -> Self {
        self.body = Some(body);
        self
    }

    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    pub fn stall_for(mut self, at: impl Into<At>, pause: Duration) -> Self {
        self.stall = Some(at.into());
        self.stall_ms = Some(millis(pause));
        self
    }

    /// Overrides the true counts: prompt, cached and completion tokens.
    pub fn counted(mut self, prompt: u64, cached: u64, completion: u64) -> Self {
        self.prompt_tokens = Some(prompt);
        self.cached_tokens = Some(cached);
        self.completion_tokens = Some(completion);
        self
    }

    /// The arguments of a tool call: those of the script, else the simplest value that the schema accepts,
    /// padded as the script demands.
    pub(crate) fn arguments(&self, schema: &Value) -> Value {
        let scripted = self.arguments.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let arguments = scripted.unwrap_or_else(|| sample(schema, schema));
        let mut fields = match arguments {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if self.args_bytes > 0 {
            fields.insert("padding".to_owned(), Value::from("x".repeat(self.args_bytes)));
        }
        Value::Object(fields)
    }

    /// The status of a canned response in the provider's own form.
    pub(crate) fn own_status(&self) -> Option<u16> {
        let is_own = self.body.is_none() && self.redirect.is_none() && self.bomb == 0;
        self.status.filter(|_| is_own)
    }

    /// Whether the response is canned, so that the request is never read.
    pub(crate) fn is_canned(&self) -> bool {
        self.status.is_some() || self.body.is_some() || self.redirect.is_some()
    }
}

impl From<usize> for At {
    fn from(event: usize) -> Self {
        At::Event(event)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let event = value.as_u64().or_else(|| value.get("event").and_then(Value::as_u64));
        match (event, value.as_str()) {
            (Some(event), _) => usize::try_from(event).map(At::Event).map_err(serde::de::Error::custom),
            (_, Some("mid" | "middle")) => Ok(At::Middle),
            (_, Some("finish")) => Ok(At::Finish),
            (_, Some("usage")) => Ok(At::Usage),
            (_, Some("done")) => Ok(At::Done),
            _ => Err(serde::de::Error::custom(format!("not a place in an answer: {value}"))),
        }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unreadable script: {}", self.0)
    }
}

impl std::error::Error for ScriptError {}

fn scalar(text: String) -> Value {
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        digits => match digits.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text),
        },
    }
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_says_what_the_builder_says() {
        let parsed =
            Behaviour::parse("latency=50,chunks=20,interval=5,stall=usage,text=a%2Cb,bom,retry_after=7");
        let built = Behaviour::ok()
            .latency(Duration::from_millis(50))
            .chunks(20)
            .interval(Duration::from_millis(5))
            .stall(At::Usage)
            .text("a,b")
            .bom()
            .retry_after("7");
        assert_eq!(parsed, Ok(built));
    }

    #[test]
    fn the_json_form_survives_a_round_trip() {
        let behaviour = Behaviour::status(503).cut(3).malformed(At::Middle).usage(UsageMode::Joined).times(2);
        let json = serde_json::to_value(&behaviour).unwrap();
        assert_eq!(Behaviour::from_json(json), Ok(behaviour));
    }

    #[test]
    fn unknown_words_are_refused() {
        for script in ["stutter=5", "stall=nowhere", "usage=most", "chunks=many"] {
            assert!(Behaviour::parse(script).is_err(), "{script}");
        }
    }
}
