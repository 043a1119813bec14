//! Probes what an OpenAI-compatible server supports, with one small call at a time.

use bytes::Bytes;
use conversation::upstream_error::read_error;
use domain::server::{OTHER, TIDEGATE};
use domain::{Finding, Grammar, ProbeResult, ServerFeature};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use serde_json::{Map, Value, json};

use crate::Outgoing;
use crate::compatible::{join, list_models, read_at, read_models};
use crate::limits::PROBE_CALLS_MAX;

/// Identifies the probe's calls in the server's log.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate-probe/", env!("CARGO_PKG_VERSION")));
/// The output limit of a call. A tool call or JSON is longer than a word.
const TOKENS: u64 = 1;
const TOKENS_OF_CALLS: u64 = 32;
const OLDER_LENGTH: &str = "max_tokens";
const NEWER_LENGTH: &str = "max_completion_tokens";
/// A field that no server knows.
const UNKNOWN_FIELD: &str = "tidegate_probe";
/// Traits that one request can test together: a server that accepts it has all of them.
const TRIED: &[ServerFeature] = &[
    ServerFeature::DeveloperRole,
    ServerFeature::MaxCompletionTokens,
    ServerFeature::ContentParts,
    ServerFeature::NullContent,
    ServerFeature::ParallelToolCalls,
    ServerFeature::ForcedCall,
    ServerFeature::JsonSchema,
    ServerFeature::UnknownFields,
];

/// A server's answer, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// A running probe. The caller sends each `next_call` and passes its answer to `hear`, until there is no next
/// call.
#[derive(Debug)]
pub struct Probe {
    base_url: String,
    step: Step,
    calls: u32,
    unix_ms: u64,
    probed: ProbeResult,
    /// The name of the output limit for this server.
    length: &'static str,
    is_retried: bool,
}

/// What to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Models,
    /// The model list looks like a Tidegate runtime's: request its description.
    Runtime,
    Chat,
    Stream {
        with_options: bool,
    },
    /// Test all traits at once.
    Together,
    /// Test one trait alone.
    Alone(usize),
    /// An invalid request, to see the shape of its error.
    Wrong,
    Over,
}

/// What an answer says about the traits under test.
enum Verdict {
    Accepted,
    Refused,
    /// The cause may be the server's state rather than the request; retried once.
    Unsure,
    /// Nothing more can be found out now.
    Away(String),
}

impl Probe {
    /// A probe of the server at `base_url`. It uses the first of `models`, or else the first model that the
    /// server lists.
    pub fn new(base_url: &str, models: &[String], unix_ms: u64) -> Self {
        let model = models.first().cloned();
        Self {
            base_url: base_url.to_owned(),
            step: Step::Models,
            calls: 0,
            unix_ms,
            probed: ProbeResult { unix_ms, model, error: None, findings: Vec::new() },
            length: OLDER_LENGTH,
            is_retried: false,
        }
    }

    /// The next call; `None` when everything that can be known is known.
    pub fn next_call(&mut self) -> Option<Outgoing> {
        self.calls += 1;
        if self.calls > PROBE_CALLS_MAX {
            self.step = Step::Over;
        }
        let model = match (self.step, &self.probed.model) {
            (Step::Over, _) => return None,
            (Step::Models, _) => return Some(list_models(&self.base_url)),
            (Step::Runtime, _) => return Some(read_at(&self.base_url, "capabilities")),
            (_, Some(model)) => model.clone(),
            (_, None) => {
                self.end("It lists no models, so none can be tested: name one.");
                return None;
            }
        };
        let body = match self.step {
            Step::Chat => self.request(&model, &[], TOKENS),
            Step::Stream { with_options } => {
                let mut body = self.request(&model, &[], TOKENS);
                body.insert("stream".to_owned(), true.into());
                if with_options {
                    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
                }
                body
            }
            Step::Together => self.request(&model, TRIED, TOKENS_OF_CALLS),
            Step::Alone(at) => {
                let tried = TRIED.get(at).copied();
                self.request(&model, tried.as_slice(), TOKENS_OF_CALLS)
            }
            Step::Wrong | Step::Models | Step::Runtime | Step::Over => {
                let mut body = self.request(&model, &[], TOKENS);
                body.insert("messages".to_owned(), "none".into());
                body
            }
        };
        Some(self.outgoing(body))
    }

    /// Processes the answer to the call from `next_call`.
    pub fn handle_answer(&mut self, reply: &ProbeAnswer) {
        if reply.status >= 400 {
            self.note_errors(reply);
        }
        match self.step {
            Step::Models => self.handle_models(reply),
            Step::Runtime => self.handle_runtime(reply),
            Step::Chat => self.handle_chat(reply),
            Step::Stream { with_options } => self.handle_stream(reply, with_options),
            Step::Together => match verdict(reply) {
                Verdict::Accepted => {
                    TRIED.iter().for_each(|of| self.find(*of, true));
                    self.step = Step::Wrong;
                }
                Verdict::Away(why) => self.end(&why),
                Verdict::Refused | Verdict::Unsure => self.step = Step::Alone(0),
            },
            Step::Alone(at) => self.handle_alone(reply, at),
            Step::Wrong | Step::Over => self.step = Step::Over,
        }
        if self.step == Step::Wrong && self.has(ServerFeature::Errors) {
            self.step = Step::Over;
        }
    }

    /// Records that the call got no answer, and why.
    pub fn fail(&mut self, why: &str) {
        self.end(why);
    }

    /// The findings.
    pub fn finish(self) -> ProbeResult {
        self.probed
    }

    fn end(&mut self, why: &str) {
        self.probed.error = Some(why.to_owned());
        self.step = Step::Over;
    }

    fn find(&mut self, of: ServerFeature, truth: bool) {
        self.put(of.is(truth, self.unix_ms));
    }

    fn find_value(&mut self, of: ServerFeature, value: &str) {
        if let Some(finding) = of.found(value, self.unix_ms) {
            self.put(finding);
        }
    }

    fn put(&mut self, finding: Finding) {
        self.probed.findings.retain(|known| known.feature != finding.feature);
        self.probed.findings.push(finding);
    }

    fn has(&self, of: ServerFeature) -> bool {
        self.probed.findings.iter().any(|finding| finding.feature == of)
    }

    fn handle_models(&mut self, reply: &ProbeAnswer) {
        let listed = (reply.status == 200).then(|| read_models(&reply.body)).flatten();
        match (listed, verdict(reply)) {
            (Some(models), _) => {
                self.find(ServerFeature::Models, true);
                self.probed.model = self.probed.model.take().or_else(|| models.into_iter().next());
            }
            (None, Verdict::Away(why)) if matches!(reply.status, 401 | 403) => return self.end(&why),
            (None, _) => self.find(ServerFeature::Models, false),
        }
        if lists_modes(reply) {
            self.step = Step::Runtime;
            return;
        }
        self.find_value(ServerFeature::Runtime, OTHER);
        self.step = Step::Chat;
    }

    /// Only a server whose model list looks like a runtime's is sent this request: no other is called at a
    /// path that it may not have.
    fn handle_runtime(&mut self, reply: &ProbeAnswer) {
        let capabilities: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let has_text = |name| capabilities.get(name).is_some_and(Value::is_string);
        let is_ours = reply.status == 200 && has_text("runtime") && has_text("topology");
        self.find_value(ServerFeature::Runtime, if is_ours { TIDEGATE } else { OTHER });
        self.step = Step::Chat;
    }

    /// Without chat nothing else can be tested. Some servers accept only the newer name of the output limit.
    fn handle_chat(&mut self, reply: &ProbeAnswer) {
        match verdict(reply) {
            Verdict::Accepted => {
                let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                let is_answer = answer.get("choices").is_some_and(Value::is_array);
                self.find(ServerFeature::Chat, is_answer);
                if !is_answer {
                    return self.end("What it answers isn't a completion.");
                }
                if self.length == NEWER_LENGTH {
                    self.find(ServerFeature::MaxCompletionTokens, true);
                }
                self.find(ServerFeature::Usage, answer.get("usage").is_some_and(Value::is_object));
                self.note_reasoning(&answer, "message");
                self.is_retried = false;
                self.step = Step::Stream { with_options: true };
            }
            Verdict::Refused if self.length != NEWER_LENGTH => self.length = NEWER_LENGTH,
            Verdict::Unsure if !self.is_retried => self.is_retried = true,
            Verdict::Refused | Verdict::Unsure => {
                self.find(ServerFeature::Chat, false);
                let why = refusal(reply);
                self.end(&why);
            }
            Verdict::Away(why) => self.end(&why),
        }
    }

    fn handle_stream(&mut self, reply: &ProbeAnswer, with_options: bool) {
        let chunks = chunks(&reply.body);
        match verdict(reply) {
            Verdict::Accepted => {
                self.find(ServerFeature::Stream, !chunks.is_empty());
                self.find(ServerFeature::StreamOptions, with_options);
                self.find(ServerFeature::Done, ends(&reply.body));
                let has_usage = |chunk: &Value| chunk.get("usage").is_some_and(Value::is_object);
                self.find(ServerFeature::StreamUsage, chunks.iter().any(has_usage));
                chunks.iter().for_each(|chunk| self.note_reasoning(chunk, "delta"));
                self.step = Step::Together;
            }
            Verdict::Refused | Verdict::Unsure if with_options => {
                self.step = Step::Stream { with_options: false };
            }
            Verdict::Refused | Verdict::Unsure => {
                self.find(ServerFeature::Stream, false);
                self.step = Step::Together;
            }
            Verdict::Away(why) => self.end(&why),
        }
    }

    fn handle_alone(&mut self, reply: &ProbeAnswer, at: usize) {
        let tried = TRIED.get(at).copied();
        match (verdict(reply), tried) {
            (Verdict::Away(why), _) => return self.end(&why),
            (Verdict::Unsure, _) if !self.is_retried => {
                self.is_retried = true;
                return;
            }
            (verdict, Some(of)) if !(of == ServerFeature::MaxCompletionTokens && self.has(of)) => {
                self.find(of, matches!(verdict, Verdict::Accepted));
            }
            _ => {}
        }
        self.is_retried = false;
        self.step = if at + 1 < TRIED.len() { Step::Alone(at + 1) } else { Step::Wrong };
    }

    /// Notes where the server returns thinking. Its absence from a one-word answer proves nothing.
    fn note_reasoning(&mut self, answer: &Value, field: &str) {
        let message = answer.pointer("/choices/0").and_then(|choice| choice.get(field));
        let is_set =
            |name| message.and_then(|message| message.get(name)).is_some_and(|value| !value.is_null());
        for name in ["reasoning", "reasoning_content"] {
            if is_set(name) {
                self.find_value(ServerFeature::Reasoning, name);
            }
        }
    }

    fn note_errors(&mut self, reply: &ProbeAnswer) {
        if !self.has(ServerFeature::Errors) {
            self.find_value(ServerFeature::Errors, shape(&reply.body));
        }
    }

    /// A short conversation that requires each of `tried`.
    fn request(&self, model: &str, tried: &[ServerFeature], tokens: u64) -> Map<String, Value> {
        let has = |of| tried.contains(&of);
        let length = if has(ServerFeature::MaxCompletionTokens) { NEWER_LENGTH } else { self.length };
        let mut body = Map::new();
        let mut say = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        say("model", model.into());
        say("messages", messages(tried));
        say(length, tokens.into());
        let calls = [
            ServerFeature::ContentParts,
            ServerFeature::NullContent,
            ServerFeature::ForcedCall,
            ServerFeature::ParallelToolCalls,
        ];
        if calls.into_iter().any(has) {
            let look = json!({"name": "look", "parameters": {"type": "object", "properties": {}}});
            say("tools", json!([{"type": "function", "function": look}]));
        }
        if has(ServerFeature::ForcedCall) {
            say("tool_choice", "required".into());
        }
        if has(ServerFeature::ParallelToolCalls) {
            say("parallel_tool_calls", false.into());
        }
        if has(ServerFeature::JsonSchema) {
            let yes = json!({"yes": {"type": "boolean"}});
            let schema = json!({"type": "object", "properties": yes, "required": ["yes"], "additionalProperties": false});
            let named = json!({"name": "answer", "schema": schema});
            say("response_format", json!({"type": "json_schema", "json_schema": named}));
        }
        if has(ServerFeature::UnknownFields) {
            say(UNKNOWN_FIELD, true.into());
        }
        body
    }

    fn outgoing(&self, body: Map<String, Value>) -> Outgoing {
        let mut outgoing = list_models(&self.base_url);
        outgoing.method = Method::POST;
        outgoing.url = join(&self.base_url, "chat/completions");
        outgoing.headers.retain(|(name, _)| *name != USER_AGENT);
        outgoing.headers.push((USER_AGENT, AGENT));
        outgoing.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        if body.contains_key("stream") {
            outgoing.headers.retain(|(name, _)| *name != ACCEPT);
            outgoing.headers.push((ACCEPT, HeaderValue::from_static("text/event-stream")));
        }
        outgoing.body = vec![Bytes::from(Value::Object(body).to_string())];
        outgoing.grammar = Some(Grammar::Chat);
        outgoing
    }
}

fn messages(tried: &[ServerFeature]) -> Value {
    let has = |of| tried.contains(&of);
    let (parts, null) = (has(ServerFeature::ContentParts), has(ServerFeature::NullContent));
    let text = |text: &str| if parts { json!([{"type": "text", "text": text}]) } else { json!(text) };
    let mut messages = Vec::new();
    if parts || has(ServerFeature::DeveloperRole) {
        let role = if has(ServerFeature::DeveloperRole) { "developer" } else { "system" };
        messages.push(json!({"role": role, "content": text("Be brief.")}));
    }
    messages.push(json!({"role": "user", "content": "Say yes."}));
    if parts || null {
        let content = if null { Value::Null } else { json!("") };
        let call =
            json!({"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
        messages.push(json!({"role": "assistant", "content": content, "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": text("yes")}));
    }
    Value::Array(messages)
}

fn verdict(reply: &ProbeAnswer) -> Verdict {
    match reply.status {
        200..300 => Verdict::Accepted,
        400 | 404 | 405 | 415 | 422 | 501 => Verdict::Refused,
        500 => Verdict::Unsure,
        401 | 403 => Verdict::Away(format!("It refused the key (status {}).", reply.status)),
        status => Verdict::Away(format!("It answered with status {status}.")),
    }
}

fn refusal(reply: &ProbeAnswer) -> String {
    let reason = read_error(&reply.body).message.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("It does not answer a conversation (status {}){reason}", reply.status)
}

/// Whether a model list says how each model can be executed, as a Tidegate runtime's does.
fn lists_modes(reply: &ProbeAnswer) -> bool {
    let list: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let rows = list.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has_modes = |row: &Value| row.get("execution_modes").is_some_and(Value::is_array);
    reply.status == 200 && !rows.is_empty() && rows.iter().all(has_modes)
}

fn chunks(body: &[u8]) -> Vec<Value> {
    let lines = body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    lines.filter_map(|json| serde_json::from_slice(json).ok()).collect()
}

fn ends(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    lines.any(|text| text.trim_ascii() == b"[DONE]")
}

/// The shape of an error's body.
fn shape(body: &[u8]) -> &'static str {
    if body.trim_ascii_start().starts_with(b"<") {
        return "page";
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("error") {
        Some(Value::Object(_)) => "object",
        Some(Value::String(_)) => "text",
        _ if body.get("detail").is_some() => "detail",
        _ if body.get("message").is_some() => "message",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_slice;

    use super::*;

    /// Simulates a server that answers each call by its body; returns the findings and the number of calls.
    fn probe(answer: impl Fn(&Value) -> (u16, String)) -> (ProbeResult, u32) {
        let mut probe = Probe::new("http://host/v1", &[], 7);
        let mut calls = 0;
        while let Some(outgoing) = probe.next_call() {
            calls += 1;
            let body: Value = from_slice(&outgoing.body.concat()).unwrap_or_default();
            let (status, text) = match outgoing.method {
                Method::GET => (200, r#"{"data":[{"id":"m"}]}"#.to_owned()),
                _ => answer(&body),
            };
            probe.handle_answer(&ProbeAnswer { status, body: text.into() });
        }
        (probe.finish(), calls)
    }

    fn value(probed: &ProbeResult, of: ServerFeature) -> Option<&'static str> {
        probed.findings.iter().find(|finding| finding.feature == of).map(|finding| finding.value)
    }

    fn well(body: &Value) -> (u16, String) {
        let completion = r#"{"choices":[{"message":{"content":"yes","reasoning":"why"}}],"usage":{}}"#;
        let chunks = "data: {\"choices\":[{\"delta\":{}}]}\n\ndata: {\"usage\":{}}\n\ndata: [DONE]\n\n";
        match (body["stream"] == true, body["messages"].is_array()) {
            (true, _) => (200, chunks.to_owned()),
            (false, true) => (200, completion.to_owned()),
            (false, false) => (422, r#"{"detail":"no"}"#.to_owned()),
        }
    }

    #[test]
    fn a_server_that_takes_everything_is_asked_little() {
        let (probed, calls) = probe(well);
        assert_eq!(calls, 5);
        assert_eq!((probed.model.as_deref(), probed.error.as_deref(), probed.unix_ms), (Some("m"), None, 7));
        assert_eq!(probed.findings.len(), ServerFeature::all().count());
        assert_eq!(value(&probed, ServerFeature::Reasoning), Some("reasoning"));
        assert_eq!(value(&probed, ServerFeature::Errors), Some("detail"));
        let flags = probed.findings.iter().filter(|finding| finding.value == "yes").count();
        assert_eq!(flags, ServerFeature::all().count() - 3);
        assert_eq!(value(&probed, ServerFeature::Runtime), Some("other"));
    }

    #[test]
    fn a_runtime_of_ours_is_told_by_its_list_and_what_it_says_of_itself() {
        let list = r#"{"data":[{"id":"m","execution_modes":["local"]}]}"#;
        let ours = r#"{"runtime":"engine","topology":"local"}"#;
        for (capabilities, status, expected) in
            [(ours, 200, "tidegate"), (ours, 404, "other"), ("{}", 200, "other")]
        {
            let mut probe = Probe::new("http://host/v1", &[], 7);
            assert!(probe.next_call().unwrap().url.ends_with("/v1/models"));
            probe.handle_answer(&ProbeAnswer { status: 200, body: list.into() });
            assert_eq!(probe.next_call().unwrap().url, "http://host/v1/capabilities");
            probe.handle_answer(&ProbeAnswer { status, body: capabilities.to_owned().into() });
            assert!(probe.next_call().unwrap().url.ends_with("/v1/chat/completions"));
            assert_eq!(
                value(&probe.finish(), ServerFeature::Runtime),
                Some(expected),
                "{status} {capabilities}"
            );
        }
    }

    #[test]
    fn what_a_server_refuses_is_found_one_by_one() {
        type Refuses = fn(&Value) -> bool;
        let refused: [(ServerFeature, Refuses); 9] = [
            (ServerFeature::StreamOptions, |body| body.get("stream_options").is_some()),
            (ServerFeature::DeveloperRole, |body| body["messages"][0]["role"] == "developer"),
            (ServerFeature::MaxCompletionTokens, |body| body.get("max_completion_tokens").is_some()),
            (ServerFeature::ContentParts, |body| body["messages"][0]["content"].is_array()),
            (ServerFeature::NullContent, |body| body["messages"].to_string().contains(r#""content":null"#)),
            (ServerFeature::ParallelToolCalls, |body| body.get("parallel_tool_calls").is_some()),
            (ServerFeature::ForcedCall, |body| body.get("tool_choice").is_some()),
            (ServerFeature::JsonSchema, |body| body.get("response_format").is_some()),
            (ServerFeature::UnknownFields, |body| body.get(UNKNOWN_FIELD).is_some()),
        ];
        for (lacking, refuses) in refused {
            let (probed, calls) =
                probe(|body| if refuses(body) { (400, r#"{"error":"no"}"#.to_owned()) } else { well(body) });
            assert!(calls <= PROBE_CALLS_MAX);
            for (of, _) in refused {
                let expected = if of == lacking { "no" } else { "yes" };
                assert_eq!(value(&probed, of), Some(expected), "{lacking:?} {of:?}");
            }
            assert_eq!(value(&probed, ServerFeature::Errors), Some("text"));
            assert_eq!(probed.error, None);
        }
        let (probed, _) = probe(|body| match body.get("max_tokens") {
            Some(_) => (400, "{}".to_owned()),
            None => well(body),
        });
        assert_eq!(value(&probed, ServerFeature::Chat), Some("yes"));
        assert_eq!(value(&probed, ServerFeature::MaxCompletionTokens), Some("yes"));
    }

    #[test]
    fn what_could_not_be_asked_is_left_open() {
        let (probed, calls) = probe(|_| (401, r#"{"message":"Bearer sk-secret"}"#.to_owned()));
        assert_eq!((calls, probed.error.as_deref()), (2, Some("It refused the key (status 401).")));
        assert_eq!(
            (value(&probed, ServerFeature::Chat), value(&probed, ServerFeature::Errors)),
            (None, Some("message"))
        );
        let (probed, _) = probe(|_| (404, "<html>".to_owned()));
        assert_eq!(
            (value(&probed, ServerFeature::Chat), value(&probed, ServerFeature::Errors)),
            (Some("no"), Some("page"))
        );
        let error = probed.error.expect("it says why");
        assert!(error.contains("status 404"), "{error}");
        let (probed, calls) = probe(|_| (500, String::new()));
        assert_eq!((calls, value(&probed, ServerFeature::Chat)), (3, Some("no")));
        // Once the server is unavailable, the remaining traits stay unknown.
        let (probed, _) =
            probe(|body| if body["stream"] == true { (429, String::new()) } else { well(body) });
        assert_eq!(value(&probed, ServerFeature::Chat), Some("yes"));
        assert_eq!(
            (value(&probed, ServerFeature::Stream), value(&probed, ServerFeature::JsonSchema)),
            (None, None)
        );
        assert_eq!(probed.error.as_deref(), Some("It answered with status 429."));
    }

    #[test]
    fn without_a_model_nobody_can_be_asked() {
        let mut probe = Probe::new("http://host", &[], 1);
        assert!(probe.next_call().is_some());
        probe.handle_answer(&ProbeAnswer { status: 404, body: Bytes::new() });
        assert!(probe.next_call().is_none());
        let probed = probe.finish();
        assert_eq!(value(&probed, ServerFeature::Models), Some("no"));
        assert!(probed.error.is_some_and(|error| error.contains("name one")));
        let mut probe = Probe::new("http://host", &["known".to_owned()], 1);
        assert!(probe.next_call().is_some());
        probe.fail("It could not be reached.");
        assert!(probe.next_call().is_none());
        assert_eq!(probe.finish().error.as_deref(), Some("It could not be reached."));
    }
}
