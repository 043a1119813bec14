//! `tidegate chat`, also `tidegate run`: one question to a model or a conversation, with streamed answers and
//! their cost; with an input, an app of any kind.

use std::io::{BufRead, IsTerminal, Read, Write};

use serde_json::{Value, json};

use crate::api::Api;
use crate::body::Body;
use crate::commands::app::{self, AppOutcome};
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    model: String,
    /// The prompt; `-` reads standard input. Without it, a terminal starts a conversation, and piped input is the prompt.
    prompt: Vec<String>,
    /// A system message.
    #[arg(long)]
    system: Option<String>,
    #[arg(long)]
    max_tokens: Option<u64>,
    /// Runs it as an app with this input: JSON, or FIELD=VALUE, which may be repeated; @FILE sends a file.
    #[arg(long, value_name = "INPUT", conflicts_with_all = ["prompt", "system", "max_tokens"])]
    input: Vec<String>,
    /// The directory for the files that the app produces.
    #[arg(long, value_name = "DIR", requires = "input")]
    save: Option<std::path::PathBuf>,
    /// Runs it as a task, which continues if you interrupt the command.
    #[arg(long, requires = "input")]
    follow: bool,
}

/// What was said so far, and where to say more.
struct Conversation<'a> {
    api: Api,
    shared: &'a Shared,
    options: &'a Options,
    messages: Vec<Value>,
}

/// What a person at the terminal wants next.
#[derive(Debug, PartialEq, Eq)]
enum UserInput {
    Message(String),
    Clear,
    Help,
    Exit,
}

const HELP: &str = "/exit ends, /clear forgets what was said, Ctrl-D ends too.";

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    if !options.input.is_empty() {
        let outcome = AppOutcome { save: options.save.as_deref(), is_followed: options.follow };
        return app::run(shared, &options.model, &options.input, outcome);
    }
    let stdin = std::io::stdin();
    if options.prompt.is_empty() && stdin.is_terminal() && !shared.no_input {
        let mut talk = Conversation::begin(shared, options)?;
        eprintln!("{HELP}");
        return take_turns(&mut stdin.lock(), |turn| talk.take(turn));
    }
    let prompt = prompt_of(options)?;
    Conversation::begin(shared, options)?.say(&prompt)
}

/// Reads turn after turn, until the user leaves.
fn take_turns(input: &mut impl BufRead, mut act: impl FnMut(UserInput)) -> Result<(), Failure> {
    loop {
        eprint!(">>> ");
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            eprintln!();
            return Ok(());
        }
        match turn_of(&line) {
            None => {}
            Some(UserInput::Exit) => return Ok(()),
            Some(turn) => act(turn),
        }
    }
}

fn turn_of(line: &str) -> Option<UserInput> {
    match line.trim() {
        "" => None,
        "/exit" | "/bye" | "/quit" => Some(UserInput::Exit),
        "/clear" => Some(UserInput::Clear),
        "/help" | "/?" => Some(UserInput::Help),
        text => Some(UserInput::Message(text.to_owned())),
    }
}

fn opening(options: &Options) -> Vec<Value> {
    options.system.iter().map(|system| json!({"role": "system", "content": system})).collect()
}

impl<'a> Conversation<'a> {
    fn begin(shared: &'a Shared, options: &'a Options) -> Result<Self, Failure> {
        Ok(Self { api: Api::connect_open(shared)?, shared, options, messages: opening(options) })
    }

    /// A failed answer does not end the conversation.
    fn take(&mut self, turn: UserInput) {
        match turn {
            UserInput::Clear => self.messages = opening(self.options),
            UserInput::Help | UserInput::Exit => eprintln!("{HELP}"),
            UserInput::Message(text) => {
                if let Err(failure) = self.say(&text) {
                    // The exit code is for commands that end with the failure.
                    let _ = failure.report();
                }
            }
        }
    }

    /// Prints the answer as it arrives. Both messages are added to the conversation, unless it fails.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.messages.push(json!({"role": "user", "content": text}));
        match self.answer() {
            Ok(answer) => {
                self.messages.push(json!({"role": "assistant", "content": answer}));
                Ok(())
            }
            Err(failure) => {
                self.messages.pop();
                Err(failure)
            }
        }
    }

    fn answer(&self) -> Result<String, Failure> {
        let body = Body::new()
            .with("model", &self.options.model)
            .with("messages", &self.messages)
            .with("stream", true)
            .with("stream_options", json!({"include_usage": true}))
            .with_some("max_tokens", self.options.max_tokens)
            .build();
        let (mut usage, mut answer) = (Value::Null, String::new());
        let head = self.api.stream("/v1/chat/completions", &body, |event| {
            if let Some(reported) = event.get("usage").filter(|usage| usage.is_object()) {
                usage = reported.clone();
            }
            let text = event.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default();
            answer.push_str(text);
            if self.shared.json {
                println!("{event}");
            } else if !text.is_empty() {
                print!("{}", output::printable(text));
                // A closed terminal is reported by the next print; it is not an error of the stream.
                let _ = std::io::stdout().flush();
            }
        })?;
        if !self.shared.json {
            println!();
            eprintln!("{}", receipt(&head, &usage));
        }
        Ok(answer)
    }
}

fn prompt_of(options: &Options) -> Result<String, Failure> {
    let given = options.prompt.join(" ");
    if !given.is_empty() && given != "-" {
        return Ok(given);
    }
    if std::io::stdin().is_terminal() && given.is_empty() {
        return Err(Failure::new(
            output::USAGE,
            "Say something: tidegate chat MODEL \"a question\", or pipe it in.",
        ));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    // It would be sent, answered and paid for.
    if text.trim().is_empty() {
        let fix = "Write it: tidegate chat MODEL \"a question\", or pipe it in.";
        return Err(Failure::new(output::USAGE, "The prompt is empty.").fix(fix));
    }
    Ok(text)
}

/// What served the answer, and its token counts, as far as the headers say: a node that is called directly
/// names no profile.
fn receipt(head: &http::HeaderMap, usage: &Value) -> String {
    let header = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    let served_by: Vec<&str> =
        ["agent-execution-profile", "agent-resolved-provider"].into_iter().filter_map(header).collect();
    let served_by = if served_by.is_empty() {
        header("x-hybrie-selected-mode").map(str::to_owned)
    } else {
        Some(served_by.join(" "))
    };
    let counted = format!(
        "in {} out {}",
        output::cell(usage, "prompt_tokens"),
        output::cell(usage, "completion_tokens")
    );
    let parts = [
        served_by,
        header("agent-resolved-model").map(str::to_owned),
        Some(counted),
        header("agent-trace-id").or_else(|| header("x-request-id")).map(str::to_owned),
    ];
    format!("  {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_or_obeyed() {
        for (line, turn) in [
            ("\n", None),
            (" /exit \n", Some(UserInput::Exit)),
            ("/clear\n", Some(UserInput::Clear)),
            ("/help\n", Some(UserInput::Help)),
            ("/usr/bin is what?\n", Some(UserInput::Message("/usr/bin is what?".into()))),
            ("hello\n", Some(UserInput::Message("hello".into()))),
        ] {
            assert_eq!(turn_of(line), turn, "{line}");
        }
    }

    #[test]
    fn a_receipt_says_what_is_known() {
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 27});
        let receipt_of = |headers: &[(&'static str, &'static str)]| {
            let value = http::HeaderValue::from_static;
            let name = http::HeaderName::from_static;
            receipt(&headers.iter().map(|(key, text)| (name(key), value(text))).collect(), &usage)
        };
        let gateway = [
            ("agent-execution-profile", "byoc"),
            ("agent-resolved-provider", "byoc"),
            ("agent-resolved-model", "echo"),
            ("agent-trace-id", "trc_01"),
        ];
        assert_eq!(receipt_of(&gateway), "  byoc byoc · echo · in 3 out 27 · trc_01");
        assert_eq!(receipt_of(&[("x-hybrie-selected-mode", "local")]), "  local · in 3 out 27");
        assert_eq!(receipt_of(&[]), "  in 3 out 27");
    }

    #[test]
    fn a_talk_goes_on_until_it_is_left() {
        for (typed, count) in [("one\n\ntwo\n/exit\nthree\n", 2), ("one", 1), ("", 0), ("/clear\nagain\n", 2)]
        {
            let mut turns = Vec::new();
            take_turns(&mut typed.as_bytes(), |turn| turns.push(turn)).unwrap();
            assert_eq!(turns.len(), count, "{typed}");
        }
    }
}
