//! The clients of a fleet's gateway, and what each request of theirs got.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::client::{Client, Streaming};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, with};
use crate::wait::{a_pause, found};

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client got for one request.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub begun: Instant,
    pub trace: String,
    pub node: Option<String>,
    pub profile: String,
    pub reason: Option<String>,
    /// The answer came to its end.
    pub is_whole: bool,
    /// Prompt and completion, as the answer says.
    pub tokens: Option<(u64, u64)>,
}

/// The clients of the gateway, and what they got.
#[derive(Clone)]
pub struct Clients {
    client: Client,
    log: Arc<Mutex<Vec<Outcome>>>,
    over: Arc<AtomicBool>,
}

/// A stream whose head has come.
pub struct Begun {
    stream: Streaming,
    pub outcome: Outcome,
}

impl Outcome {
    fn of<'a>(begun: Instant, header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let text = |name: &str| header(name).map(str::to_owned);
        Self {
            begun,
            trace: text("agent-trace-id").unwrap(),
            node: text("agent-node-id"),
            profile: text("agent-execution-profile").unwrap(),
            reason: text("agent-fallback-reason"),
            is_whole: false,
            tokens: None,
        }
    }

    fn counts(&mut self, usage: &Value) {
        let count = |name: &str| usage[name].as_u64();
        self.tokens = count("prompt_tokens").zip(count("completion_tokens")).or(self.tokens);
    }
}

impl Clients {
    pub fn new(client: Client) -> Self {
        Self { client, log: Arc::default(), over: Arc::default() }
    }

    /// Ends the steady traffic.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// A buffered answer. None may fail, whatever happens to the nodes.
    pub async fn ask(&self, body: &Value) -> Outcome {
        let begun = Instant::now();
        let answer = self.client.post(CHAT, body).await.unwrap().must_be(200);
        let mut outcome = Outcome::of(begun, |name| answer.header(name));
        outcome.counts(&answer.json()["usage"]);
        outcome.is_whole = true;
        self.note(outcome.clone());
        outcome
    }

    /// A stream that has begun. That may not fail either.
    pub async fn begin(&self, body: &Value) -> Begun {
        let begun = Instant::now();
        let body = with(body.clone(), json!({"stream": true, "stream_options": {"include_usage": true}}));
        let stream = self.client.stream(CHAT, &body).await.unwrap();
        assert_eq!(stream.status, 200, "{:?}", stream.headers);
        let outcome = Outcome::of(begun, |name| stream.header(name));
        Begun { stream, outcome }
    }

    /// Reads a stream to its end, or to where it breaks.
    pub async fn finish(&self, begun: Begun) -> Outcome {
        let Begun { mut stream, mut outcome } = begun;
        let (events, _) = stream.events().await;
        for event in &events {
            outcome.counts(&serde_json::from_str::<Value>(event).unwrap_or_default()["usage"]);
        }
        outcome.is_whole = events.last().is_some_and(|event| event == "[DONE]");
        self.note(outcome.clone());
        outcome
    }

    fn note(&self, outcome: Outcome) {
        self.log.lock().unwrap().push(outcome);
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.log.lock().unwrap().clone()
    }

    /// What was asked after a moment, once there are this many.
    pub async fn after(&self, moment: Instant, wanted: usize) -> Vec<Outcome> {
        found("requests after that", async || {
            let mut later = self.outcomes();
            later.retain(|one| one.begun > moment);
            Some(later).filter(|later| later.len() >= wanted)
        })
        .await
    }

    /// Steady traffic: whole answers and streams in turns.
    pub async fn keep_asking(self, number: usize) {
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let body = short(&format!("What is BYOK? {number} {turn}"));
            if turn % 2 == 0 {
                self.ask(&body).await;
            } else {
                let begun = self.begin(&body).await;
                self.finish(begun).await;
            }
            a_pause(PAUSE).await;
        }
    }
}

pub fn short(question: &str) -> Value {
    json!({"model": MINI, "temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": question}]})
}

/// As long as it may be: what ends an answer of the built-in model is never drawn.
pub fn long(tokens: u64) -> Value {
    with(short("What is BYOK?"), json!({"max_tokens": tokens, "logit_bias": {"1002": -100}}))
}
