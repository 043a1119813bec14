//! Follows a task to its end: where it is, its log and its words as they come, also over connections that break.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::api::{Api, StreamEnd, at};
use crate::limits::{FOLLOW_WAIT, FOLLOW_WAIT_MAX};
use crate::output::{self, Failure};
use crate::shared::Shared;

/// The statuses in which nothing changes any more.
const COMPLETED: u64 = 10;
const CANCELLED: u64 = 12;

/// A task that completed.
pub(crate) struct Followed {
    pub task: Value,
    /// Its text is printed.
    pub is_printed: bool,
}

/// Follows a task. What it says for people goes to standard error, and its text to standard output; with `--json`, each
/// message of the stream is a line.
///
/// # Errors
/// The task failed or was cancelled, it can't be followed, or the user interrupts: then it continues.
pub(crate) fn follow(shared: &Shared, api: &Api, id: &str) -> Result<Followed, Failure> {
    let path = at("/tasks", id);
    let mut view = View { is_json: shared.json, ..View::default() };
    let mut wait = FOLLOW_WAIT;
    loop {
        let before = view.messages;
        let read = api.lines(&format!("{path}/stream"), |message| view.take(message));
        let why = match read {
            Ok(StreamEnd::Interrupted) => return Err(interrupted(id)),
            Ok(StreamEnd::Over) if view.has_ended() => return view.end(id),
            Ok(StreamEnd::Over) => "The stream ended before the task.".to_owned(),
            Err(away) if away.code == output::UNAVAILABLE => away.message,
            Err(refused) => return Err(refused),
        };
        // A connection that said something was a good one.
        wait = if view.messages > before { FOLLOW_WAIT } else { (wait * 2).min(FOLLOW_WAIT_MAX) };
        eprintln!("{} Following again.", output::printable(&why));
        if !api.rest(wait) {
            return Err(interrupted(id));
        }
    }
}

fn interrupted(id: &str) -> Failure {
    let message = format!(
        "The task goes on. `tidegate task follow {id}` follows it, `tidegate task cancel {id}` cancels it."
    );
    Failure::new(output::INTERRUPTED, message)
}

/// What is known of a task, and how much of it is printed.
#[derive(Default)]
struct View {
    is_json: bool,
    messages: u64,
    task: Value,
    /// The status that was printed last.
    status: Option<String>,
    log_lines: usize,
    printed: String,
    /// The text of the deltas of this connection, the first of which has all that came before.
    text: String,
    /// What was printed last has no end of its line.
    is_line_open: bool,
}

impl View {
    fn has_ended(&self) -> bool {
        self.code() >= COMPLETED
    }

    fn code(&self) -> u64 {
        self.task.get("status").and_then(Value::as_u64).unwrap_or_default()
    }

    fn take(&mut self, message: &Value) {
        self.messages += 1;
        if message.get("type").and_then(Value::as_str) == Some("heartbeat") {
            return;
        }
        if self.is_json {
            println!("{message}");
        }
        if message.get("event").and_then(Value::as_str) == Some("delta") {
            if let Some(text) = message.pointer("/data/delta/response").and_then(Value::as_str) {
                self.text.push_str(text);
                self.tell_text();
            }
            return;
        }
        match (message.get("data").and_then(Value::as_object), self.task.as_object_mut()) {
            (Some(fields), Some(task)) => {
                task.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            (None, _) if message.get("id").is_some() => {
                self.task = message.clone();
                let text = message.pointer("/output/response").and_then(Value::as_str);
                text.unwrap_or_default().clone_into(&mut self.text);
            }
            _ => return,
        }
        if self.has_ended() {
            self.tell_text();
        }
        self.tell();
    }

    /// Tells what is new of the task.
    fn tell(&mut self) {
        let status = self.task.get("status_text").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.status.as_ref() != Some(&status) {
            self.say(&status);
            self.status = Some(status);
        }
        let lines = self.task.get("logs").and_then(Value::as_array).cloned().unwrap_or_default();
        for line in lines.iter().skip(self.log_lines) {
            self.say(line.get("content").and_then(Value::as_str).unwrap_or_default());
        }
        self.log_lines = self.log_lines.max(lines.len());
    }

    /// Prints what is new of the text.
    fn tell_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if let Some(new) = text.strip_prefix(self.printed.as_str()) {
            self.print(new);
        } else if self.has_ended() || !self.printed.starts_with(&text) {
            self.say("It was begun again: what came before is void.");
            self.printed.clear();
            self.print(&text);
        }
        self.text = text;
    }

    fn say(&mut self, text: &str) {
        if self.is_json {
            return;
        }
        if self.has_ended() {
            self.end_line();
        } else if self.is_line_open {
            // The text goes on, and has no line break there.
            eprintln!();
        }
        eprintln!("  {}", output::printable(text));
    }

    fn print(&mut self, text: &str) {
        self.printed.push_str(text);
        if self.is_json || text.is_empty() {
            return;
        }
        print!("{}", output::printable(text));
        self.is_line_open = !text.ends_with('\n');
        // A closed terminal is reported by the next print.
        let _ = std::io::stdout().flush();
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_line_open) {
            println!();
        }
    }

    fn end(mut self, id: &str) -> Result<Followed, Failure> {
        self.end_line();
        let why = self.task.get("error").and_then(Value::as_str).unwrap_or_default();
        match self.code() {
            COMPLETED => Ok(Followed { is_printed: !self.printed.is_empty(), task: self.task }),
            CANCELLED => Err(Failure::new(output::CANCELLED, format!("The task {id} was cancelled."))),
            _ => {
                let document = self.task.get("problem").filter(|problem| problem.is_object()).cloned();
                let message = format!("The task {id} failed: {}", output::printable(why));
                let document = document.or_else(|| Some(json!({"error": {"message": why}})));
                Err(Failure { document, ..Failure::new(output::FAILED, message) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &[Value]) -> View {
        let mut view = View { is_json: true, ..View::default() };
        for message in messages {
            view.take(message);
        }
        view
    }

    #[test]
    fn what_is_printed_is_the_output_however_often_the_connection_broke() {
        let running = json!({"id": "tsk_1", "status": 7, "status_text": "running", "output": null});
        let whole = |text: &str| json!({"id": "tsk_1", "status": 10, "status_text": "completed", "output": {"response": text}});
        let delta = |text: &str| json!({"event": "delta", "data": {"seq": 1, "delta": {"response": text}}});
        let heartbeat = json!({"type": "heartbeat"});
        let begun = [running.clone(), delta("He"), heartbeat, delta("llo")];
        assert_eq!(check(&begun).printed, "Hello");
        // Who comes again gets all the text first, also from a gateway that is behind.
        let again =
            [&begun[..], &[running.clone(), delta("Hell"), delta("o, world"), whole("Hello, world.")]];
        let view = check(&again.concat());
        assert!(view.has_ended());
        assert_eq!(view.printed, "Hello, world.");
        // A further try makes what came before void.
        assert_eq!(check(&[&begun[..], &[running.clone(), delta("Other")]].concat()).printed, "Other");
        assert_eq!(check(&[&begun[..], &[running, whole("Hell")]].concat()).printed, "Hell");
    }

    #[test]
    fn the_exit_status_is_the_outcome() {
        for (status, code) in [(10, None), (11, Some(output::FAILED)), (12, Some(output::CANCELLED))] {
            let view = check(&[json!({"id": "tsk_1", "status": status, "status_text": "", "error": "no"})]);
            assert_eq!(view.end("tsk_1").err().map(|failure| failure.code), code, "{status}");
        }
        let text = interrupted("tsk_1").message;
        assert!(text.contains("tidegate task cancel tsk_1"), "{text}");
    }
}
