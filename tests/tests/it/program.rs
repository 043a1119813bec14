//! A program beside the test that writes lines of JSON, and reads such lines if it is asked.

use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Dropping it kills the process.
pub struct Program {
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = piped.spawn().unwrap_or_else(|error| panic!("{error}; run make setup first"));
        let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { questions, answers: BufReader::new(answers).lines(), _process: process }
    }

    /// The next line that it writes.
    pub async fn next(&mut self, within: Duration) -> Value {
        let line = tokio::time::timeout(within, self.answers.next_line()).await;
        let line = line.expect("the program is silent").unwrap().expect("the program ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Its answer to one line.
    pub async fn ask(&mut self, question: &impl Serialize, within: Duration) -> Value {
        let line = format!("{}\n", serde_json::to_string(question).unwrap());
        self.questions.write_all(line.as_bytes()).await.unwrap();
        self.questions.flush().await.unwrap();
        self.next(within).await
    }
}
