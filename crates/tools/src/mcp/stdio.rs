//! The standard input and output of a program in a sandbox: one message a line, both ways.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use bytes::BytesMut;
use domain::{CallOutcome, Secret};
use egress::{Client, Pipes, Running};
use serde_json::Value;
use tasks::Task;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ServerAddress;
use super::message::{Incoming, broken, reply};
use crate::answer::{CallFailure, quoted};
use crate::limits::{ANSWER_BYTES_MAX, LAST_WORDS_BYTES_MAX, SESSION_CLOSING_TIME_MAX};

/// A program that serves one session.
pub(super) struct StdioTransport {
    /// A line is written whole, or none is any more.
    input: Mutex<ChildStdin>,
    is_torn: Cell<bool>,
    output: Mutex<Lines>,
    /// The requests whose answers are waited for, and those that another one's reader came upon.
    wanted: RefCell<BTreeSet<u64>>,
    arrived: RefCell<BTreeMap<u64, Incoming>>,
    last_words: LastWords,
    running: Running,
}

struct Lines {
    output: ChildStdout,
    read: BytesMut,
}

/// The end of what a program wrote to its standard error.
struct LastWords {
    text: Arc<SyncMutex<Vec<u8>>>,
    /// What must not be repeated of it.
    secrets: Vec<Arc<Secret>>,
    reading: Task,
}

/// Stops waiting for an answer, also where the call was given up.
struct Waiting<'a>(&'a StdioTransport, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wanted.borrow_mut().remove(&self.1);
        self.0.arrived.borrow_mut().remove(&self.1);
    }
}

impl StdioTransport {
    pub(super) fn start(
        client: &Client,
        program: &str,
        address: &ServerAddress,
    ) -> Result<Self, CallFailure> {
        let values = address
            .headers
            .iter()
            .filter_map(|(header, value)| Some((variable_of(header), value.expose_text()?.to_owned())));
        let started = client.start_program(program, values.collect(), address.owner);
        let (running, Pipes { stdin, stdout, stderr }) = started.map_err(|error| CallFailure::of(&error))?;
        Ok(Self {
            input: Mutex::new(stdin),
            is_torn: Cell::new(false),
            output: Mutex::new(Lines { output: stdout, read: BytesMut::new() }),
            wanted: RefCell::default(),
            arrived: RefCell::default(),
            last_words: LastWords::read(stderr, &address.headers),
            running,
        })
    }

    /// Writes one message. A message of JSON has no line break.
    pub(super) async fn notify(&self, mut message: String) -> Result<(), CallFailure> {
        message.push('\n');
        let mut input = self.input.lock().await;
        if self.is_torn.replace(true) {
            return Err(broken("a line that it did not take whole"));
        }
        if input.write_all(message.as_bytes()).await.is_err() {
            return Err(self.ended().await);
        }
        self.is_torn.set(false);
        Ok(())
    }

    /// Sends a request and reads the answer to it.
    pub(super) async fn ask(&self, id: u64, request: String) -> Result<Incoming, CallFailure> {
        self.wanted.borrow_mut().insert(id);
        let _waiting = Waiting(self, id);
        self.notify(request).await?;
        let mut left = ANSWER_BYTES_MAX;
        loop {
            // One of those that wait reads for all.
            let line = {
                let mut output = self.output.lock().await;
                let arrived = self.arrived.borrow_mut().remove(&id);
                if let Some(message) = arrived {
                    return Ok(message);
                }
                match output.line().await? {
                    Some(line) => line,
                    None => return Err(self.ended().await),
                }
            };
            left = left.checked_sub(line.len()).ok_or_else(too_long)?;
            self.note(&line).await?;
        }
    }

    /// Keeps an answer for whoever waits for it, and answers what the server asks. Programs also write what is no message.
    async fn note(&self, line: &[u8]) -> Result<(), CallFailure> {
        let Ok(message) = serde_json::from_slice::<Incoming>(line) else { return Ok(()) };
        if let Some(method) = &message.method {
            return match message.id {
                Some(id) => self.notify(reply(&id, method)).await,
                None => Ok(()),
            };
        }
        let id = message.id.as_ref().and_then(Value::as_u64);
        if let Some(id) = id.filter(|id| self.wanted.borrow().contains(id))
            && (message.result.is_some() || message.error.is_some())
        {
            self.arrived.borrow_mut().insert(id, message);
        }
        Ok(())
    }

    /// Why a program that ended did so, as far as it says.
    async fn ended(&self) -> CallFailure {
        let words = self.last_words.at_end().await;
        let text = match words.as_str() {
            "" => "The MCP server's program ended.".to_owned(),
            words => format!("The MCP server's program ended: {words}"),
        };
        CallFailure::new(CallOutcome::Unreachable, text)
    }

    /// Closes its input, after which a program ends by itself, or is ended.
    pub(super) async fn close(self) {
        drop(self.input);
        let mut running = self.running;
        let _ = timeout(SESSION_CLOSING_TIME_MAX, running.started.wait()).await;
    }
}

/// The environment variable that a sealed header stands for.
fn variable_of(header: &str) -> String {
    header.to_ascii_uppercase().replace('-', "_")
}

fn too_long() -> CallFailure {
    broken("more than the gateway reads")
}

impl Lines {
    /// The next line; `None` at the end. It may be dropped at its await and called again.
    async fn line(&mut self) -> Result<Option<BytesMut>, CallFailure> {
        let mut searched = 0;
        loop {
            let end = self.read.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.read.split_to(searched + end + 1);
                return Ok(Some(line));
            }
            searched = self.read.len();
            if searched > ANSWER_BYTES_MAX {
                return Err(too_long());
            }
            if !matches!(self.output.read_buf(&mut self.read).await, Ok(1..)) {
                return Ok(None);
            }
        }
    }
}

impl LastWords {
    fn read(mut errors: ChildStderr, secrets: &[(String, Arc<Secret>)]) -> Self {
        let text = Arc::new(SyncMutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let reading = Task::spawn("standard error of a program", async move {
            let mut buffer = BytesMut::new();
            while let Ok(1..) = errors.read_buf(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer.split());
                let surplus = kept.len().saturating_sub(LAST_WORDS_BYTES_MAX);
                kept.drain(..surplus);
            }
        });
        Self { text, secrets: secrets.iter().map(|(_, secret)| Arc::clone(secret)).collect(), reading }
    }

    /// The last line, without secrets, once no other can come.
    async fn at_end(&self) -> String {
        let _ = timeout(SESSION_CLOSING_TIME_MAX, self.reading.ended()).await;
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&text).into_owned();
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        let secrets = self.secrets.iter().filter_map(|secret| secret.expose_text());
        quoted(&secrets.fold(last.to_owned(), |words, secret| words.replace(secret, "***")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_stands_for_a_variable() {
        assert_eq!(variable_of("github-token"), "GITHUB_TOKEN");
    }
}
