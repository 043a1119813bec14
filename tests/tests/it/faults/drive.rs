//! Runs the official SDKs as programs: which calls each makes, and what the application saw.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use domain::{Dialect, Grammar};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::command::workspace;

/// Far longer than all calls take together.
const WITHIN: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Python,
    Node,
}

/// An official SDK, with one of its APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sdk {
    pub language: Language,
    pub grammar: Grammar,
}

/// One call by an application.
#[derive(Debug, Clone, Serialize)]
pub struct SdkCall {
    pub id: usize,
    pub sdk: &'static str,
    pub surface: &'static str,
    pub base_url: String,
    pub api_key: String,
    pub model: &'static str,
    pub stream: bool,
    pub timeout_s: u64,
    /// An SDK that still waits after this is abandoned.
    pub patience_s: u64,
}

/// The result of a call.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Report {
    pub id: usize,
    pub raised: Option<String>,
    pub status: Option<u16>,
    pub code: Option<String>,
    pub pieces: usize,
    /// The answer ended normally.
    pub whole: bool,
}

pub const SDKS: [Sdk; 8] = {
    use Grammar::{Anthropic, Chat, Gemini, Responses};
    use Language::{Node, Python};
    [
        Sdk { language: Python, grammar: Chat },
        Sdk { language: Node, grammar: Chat },
        Sdk { language: Python, grammar: Responses },
        Sdk { language: Node, grammar: Responses },
        Sdk { language: Python, grammar: Anthropic },
        Sdk { language: Node, grammar: Anthropic },
        Sdk { language: Python, grammar: Gemini },
        Sdk { language: Node, grammar: Gemini },
    ]
};

impl Sdk {
    /// Its package, its API's name in the drivers, and the dialect that it speaks.
    const fn facts(self) -> (&'static str, &'static str, Dialect) {
        match self.grammar {
            Grammar::Chat => ("openai", "chat", Dialect::Chat),
            Grammar::Responses => ("openai", "responses", Dialect::Responses),
            Grammar::Anthropic => ("anthropic", "messages", Dialect::Anthropic),
            Grammar::Gemini => ("google", "gemini", Dialect::Gemini),
            // No SDK in these tests uses it.
            Grammar::Converse => unreachable!(),
        }
    }

    pub const fn package(self) -> &'static str {
        self.facts().0
    }

    pub const fn surface(self) -> &'static str {
        self.facts().1
    }

    pub const fn dialect(self) -> Dialect {
        self.facts().2
    }

    pub fn name(self) -> String {
        let language = match self.language {
            Language::Python => "py",
            Language::Node => "js",
        };
        format!("{language} {}", self.surface())
    }
}

impl Language {
    fn command(self) -> (PathBuf, PathBuf) {
        match self {
            Self::Python => (workspace().join(".venv/bin/python"), workspace().join("tests/sdk/faults.py")),
            Self::Node => ("node".into(), workspace().join("tests/node/faults.mjs")),
        }
    }
}

/// Makes all calls through the SDKs of one language.
pub async fn drive(language: Language, requests: Vec<SdkCall>) -> Vec<Report> {
    let (program, script) = language.command();
    let mut command = Command::new(program);
    command.arg(script).env("NO_PROXY", "*").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{language:?}: {error}; run make setup first"));
    let lines: String = requests.iter().map(|ask| serde_json::to_string(ask).unwrap() + "\n").collect();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(WITHIN, child.wait_with_output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let reports: Vec<Report> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), requests.len(), "{}", String::from_utf8_lossy(&output.stderr));
    reports
}
