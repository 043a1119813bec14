//! The load client: closed loop, open loop, streams, and held streams. Prints one JSON line.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, LocalSet};

use crate::behaviour::Behaviour;
use crate::client::{Client, Ended, Stamp};
use crate::clock::now_ns;
use crate::procfs;

const PROMPT: &str = "Explain in one paragraph what a tide gate is and why one would be placed at the mouth of a creek. Keep it short.";
/// How long an open loop waits for its last answers.
const TAIL_MAX: Duration = Duration::from_secs(20);

/// The load to generate, and its destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub shape: Shape,
    pub address: String,
    pub token: String,
    /// Further lines of each request's head.
    pub headers: String,
    pub model: String,
    pub grammar: ClientGrammar,
    /// The minimum size of the conversation before its last question.
    pub prompt_bytes: usize,
    pub latency_ms: u64,
    pub chunk_count: u64,
    pub interval_ms: u64,
    pub connection_count: usize,
    pub requests_per_second: f64,
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Closed loop: each connection sends its next request after the last answer.
    Closed,
    /// Open loop: requests start at a fixed rate, whatever has been answered.
    Open,
    /// Like `Closed`, with streamed answers.
    Streams,
    /// Streams that stay open until standard input requests the end.
    Held,
}

/// The client's API; the emulator always serves chat completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientGrammar {
    Chat,
    Messages,
}

/// The results; times in microseconds. `added` is the time that a request spent outside of the emulator; for
/// streams, up to the first chunk. `age` is a chunk's age when it is read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    pub seconds: f64,
    pub ok_count: u64,
    pub error_count: u64,
    pub error_sample: String,
    pub chunk_count: u64,
    pub client_cpu_ns: u64,
    pub added_p50_us: Option<f64>,
    pub added_p99_us: Option<f64>,
    pub age_p50_us: Option<f64>,
    pub age_p99_us: Option<f64>,
}

#[derive(Default)]
struct Tally {
    ok_count: u64,
    error_count: u64,
    error_sample: String,
    chunk_count: u64,
    added_ns: Vec<u64>,
    age_ns: Vec<u64>,
}

type Shared = Rc<RefCell<Tally>>;

impl Load {
    fn is_stream(&self) -> bool {
        matches!(self.shape, Shape::Streams | Shape::Held)
    }

    fn request(&self) -> Vec<u8> {
        let (path, body) = match self.grammar {
            ClientGrammar::Chat => ("/v1/chat/completions", self.chat()),
            ClientGrammar::Messages => ("/v1/messages", self.messages()),
        };
        let Self { address, token, headers, .. } = self;
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: */*\r\nuser-agent: tidegate-bench\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    fn chat(&self) -> String {
        let behaviour = Behaviour {
            latency_ms: self.latency_ms,
            chunk_count: self.chunk_count,
            interval_ms: self.interval_ms,
        };
        let (model, user, turns) = (&self.model, behaviour.word(), self.turns());
        let stream =
            if self.is_stream() { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"system","content":"You are a helpful assistant."}},{turns}],"temperature":0.7,"max_tokens":256,"user":"{user}"{stream}}}"#
        )
    }

    /// The same for the Messages API, whose body has no field for the behaviour: the emulator answers at
    /// once.
    fn messages(&self) -> String {
        let (model, turns) = (&self.model, self.turns());
        format!(
            r#"{{"model":"{model}","system":"You are a helpful assistant.","messages":[{turns}],"temperature":0.7,"max_tokens":256}}"#
        )
    }

    /// Questions and answers of half a KiB each, up to the wanted size, and the last question.
    fn turns(&self) -> String {
        let text = PROMPT.repeat(4);
        let count = self.prompt_bytes.div_ceil(2 * text.len());
        let pair =
            format!(r#"{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"{text}"}},"#);
        format!(r#"{}{{"role":"user","content":"{PROMPT}"}}"#, pair.repeat(count))
    }
}

/// Runs the load on this thread and prints its summary.
pub fn run(load: &Load) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Shared::default();
    let start_ns = now_ns();
    LocalSet::new().block_on(&runtime, async {
        match load.shape {
            Shape::Closed | Shape::Streams => closed(load, &tally).await,
            Shape::Open => open(load, &tally).await,
            Shape::Held => held(load, &tally).await?,
        }
        anyhow::Ok(())
    })?;
    let seconds = seconds_between(start_ns, now_ns());
    let summary = std::mem::take(&mut *tally.borrow_mut()).summary(seconds);
    println!("{}", serde_json::to_string(&summary).context("writing the summary")?);
    Ok(())
}

async fn closed(load: &Load, tally: &Shared) {
    let end_ns = now_ns() + nanoseconds(load.seconds);
    let mut tasks = Vec::new();
    for number in 0..load.connection_count {
        let (load, tally, request) = (load.clone(), Rc::clone(tally), load.request());
        tasks.push(tokio::task::spawn_local(async move {
            // Streams start at different times, so that their chunks do not coincide.
            let apart_us = if load.is_stream() { number as u64 * 777 } else { 0 };
            tokio::time::sleep(Duration::from_micros(apart_us)).await;
            let mut client = None;
            while now_ns() < end_ns {
                exchange(&mut client, &load, &request, &tally).await;
            }
        }));
    }
    join(tasks).await;
}

async fn open(load: &Load, tally: &Shared) {
    let idle: Rc<RefCell<Vec<Client>>> = Rc::default();
    let request = Rc::new(load.request());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / load.requests_per_second));
    let end_ns = now_ns() + nanoseconds(load.seconds);
    let mut tasks = Vec::new();
    while now_ns() < end_ns {
        ticks.tick().await;
        let (idle, load, request, tally) =
            (Rc::clone(&idle), load.clone(), Rc::clone(&request), Rc::clone(tally));
        tasks.push(tokio::task::spawn_local(async move {
            let mut client = idle.borrow_mut().pop();
            exchange(&mut client, &load, &request, &tally).await;
            idle.borrow_mut().extend(client);
        }));
    }
    // Requests that are unanswered after this are missing from the figures, but the run continues.
    let _late = tokio::time::timeout(TAIL_MAX, join(tasks)).await;
}

/// Opens every stream, prints `open` after the first chunk of each, and exits on request.
async fn held(load: &Load, tally: &Shared) -> Result<()> {
    let opened = Rc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..load.connection_count {
        let (address, request, tally) = (load.address.clone(), load.request(), Rc::clone(tally));
        let opened = Rc::clone(&opened);
        tokio::task::spawn_local(async move {
            let mut first = true;
            let ended = match Client::open(&address).await {
                Ok(mut client) => {
                    let on_stamp = |_: Stamp| {
                        if std::mem::take(&mut first) {
                            tally.borrow_mut().ok_count += 1;
                            opened.add_permits(1);
                        }
                    };
                    client.call(&request, on_stamp).await
                }
                Err(error) => Err(error),
            };
            tally.borrow_mut().failed(ended);
            opened.add_permits(usize::from(first));
        });
    }
    let all = u32::try_from(load.connection_count).context("counting the streams")?;
    let waited = tokio::time::timeout(TAIL_MAX, opened.acquire_many(all)).await;
    let permits = waited.context("the streams did not open in time")?.context("waiting for the streams")?;
    permits.forget();
    println!("open");
    let stdin_line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    stdin_line.await.context("listening")?.context("waiting to be told to end")?;
    Ok(())
}

async fn exchange(client: &mut Option<Client>, load: &Load, request: &[u8], tally: &Shared) {
    let start_ns = now_ns();
    let mut first: Option<Stamp> = None;
    let on_stamp = |stamp: Stamp| {
        first.get_or_insert(stamp);
        if load.is_stream() {
            let mut tally = tally.borrow_mut();
            tally.chunk_count += 1;
            tally.age_ns.push(stamp.read_ns.saturating_sub(stamp.sent_ns));
        }
    };
    let ended = match client {
        Some(client) => client.call(request, on_stamp).await,
        None => match Client::open(&load.address).await {
            Ok(opened) => client.insert(opened).call(request, on_stamp).await,
            Err(error) => Err(error),
        },
    };
    match (ended, first) {
        (Ok(Ended::Answered { keep }), Some(stamp)) => {
            let read_ns = if load.is_stream() { stamp.read_ns } else { now_ns() };
            let inside_ns = stamp.sent_ns.saturating_sub(stamp.received_ns);
            let mut tally = tally.borrow_mut();
            tally.ok_count += 1;
            tally.added_ns.push(read_ns.saturating_sub(start_ns).saturating_sub(inside_ns));
            if !keep {
                *client = None;
            }
        }
        (ended, _) => {
            tally.borrow_mut().failed(ended);
            *client = None;
            // A server that refuses connections must not make this a busy loop.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        // A task that panicked has counted nothing, which shows in the totals.
        let _panicked = task.await;
    }
}

impl Tally {
    fn failed(&mut self, ended: std::io::Result<Ended>) {
        match ended {
            Ok(Ended::Answered { .. }) => {}
            Ok(Ended::Refused(text)) => (self.error_count, self.error_sample) = (self.error_count + 1, text),
            Err(error) => (self.error_count, self.error_sample) = (self.error_count + 1, error.to_string()),
        }
    }

    fn summary(mut self, seconds: f64) -> Summary {
        Summary {
            seconds,
            ok_count: self.ok_count,
            error_count: self.error_count,
            error_sample: std::mem::take(&mut self.error_sample),
            chunk_count: self.chunk_count,
            client_cpu_ns: procfs::cpu_ns(std::process::id()),
            added_p50_us: percentile_us(&mut self.added_ns, 50),
            added_p99_us: percentile_us(&mut self.added_ns, 99),
            age_p50_us: percentile_us(&mut self.age_ns, 50),
            age_p99_us: percentile_us(&mut self.age_ns, 99),
        }
    }
}

fn percentile_us(values: &mut [u64], percent: usize) -> Option<f64> {
    values.sort_unstable();
    let at = (values.len().checked_sub(1)? * percent + 50) / 100;
    values.get(at).map(|value| *value as f64 / 1e3)
}

fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds.max(0.0)).as_nanos()).unwrap_or(u64::MAX)
}

fn seconds_between(start_ns: u64, end_ns: u64) -> f64 {
    Duration::from_nanos(end_ns.saturating_sub(start_ns)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::percentile_us;

    #[test]
    fn percentiles_take_the_nearest_value() {
        let mut values: Vec<u64> = (0..=100).rev().map(|value| value * 1000).collect();
        assert_eq!(percentile_us(&mut values, 50), Some(50.0));
        assert_eq!(percentile_us(&mut values, 99), Some(99.0));
        assert_eq!(percentile_us(&mut [], 50), None);
        assert_eq!(percentile_us(&mut [7000], 99), Some(7.0));
    }
}
