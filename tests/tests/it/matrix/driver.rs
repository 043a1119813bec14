//! A program that drives the SDKs of one language: it reads one command per line and writes one result per
//! line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::WITHIN;
use crate::command::workspace;
use crate::program::Program;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

/// The call that an SDK makes.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    pub id: &'a str,
    pub client: &'a str,
    pub base_url: &'a str,
    pub api_key: &'a str,
    pub model: &'a str,
    pub stream: bool,
    pub case: &'a str,
}

/// What the SDK's user saw.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    pub id: String,
    pub rounds: Vec<Round>,
    pub error: Option<Thrown>,
    /// The request bodies that were sent, with the model's name replaced by a star.
    pub sent: Vec<String>,
}

/// One model call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    pub text: String,
    pub thought: String,
    pub calls: Vec<Call>,
    pub finish: String,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub name: String,
    pub arguments: String,
}

/// Tokens: of the whole prompt and of everything generated, and how many of each were cached or reasoning
/// tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    pub reasoning: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by whoever reads a failed cell")]
pub struct Thrown {
    pub class: String,
    pub status: Option<u16>,
    pub code: Option<String>,
    pub message: String,
    /// Whether it is one of the SDK's own exceptions.
    pub foreseen: bool,
}

pub struct Driver {
    pub language: Language,
    program: Program,
}

impl Driver {
    pub fn start(language: Language) -> Self {
        let (program, script): (PathBuf, &str) = match language {
            Language::Python => (workspace().join(".venv/bin/python"), "tests/sdk/matrix.py"),
            Language::Node => ("node".into(), "tests/node/matrix.mjs"),
        };
        let packages = workspace().join("tests/node/node_modules/@google/genai");
        let made = if language == Language::Python { program.exists() } else { packages.exists() };
        assert!(made, "run scripts/python-env.sh and scripts/node-env.sh first");
        let mut command = Command::new(program);
        command.arg(workspace().join(script)).env("NO_PROXY", "*");
        Self { language, program: Program::start(&mut command) }
    }

    pub async fn ask(&mut self, request: &Request<'_>) -> Seen {
        let answer = self.program.ask(request, WITHIN * 3).await;
        let seen: Seen =
            serde_json::from_value(answer).unwrap_or_else(|error| panic!("{error} at {request:?}"));
        assert_eq!(seen.id, request.id);
        seen
    }
}
