//! `tidegate agent`: agents that a project defines, and talking with them.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::body::Body;
use crate::collection::Collection;
use crate::named_file::instead_of_file;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates an agent from a JSON file with its definition.
    Create {
        /// The name that messages address it by.
        name: String,
        /// {"model": …, "instructions": …, "tools": […]}
        file: PathBuf,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists agents.
    List,
    /// Shows an agent with its newest definition.
    Get { id: String },
    /// Lists the versions of an agent.
    Versions { id: String },
    /// Creates a new version of an agent from a JSON file with fields of its definition; omitted fields don't change.
    Update { id: String, file: PathBuf },
    /// Deletes an agent with all its versions.
    Remove { id: String },
    /// Sends one message to an agent and prints its answer as it arrives.
    Run {
        /// NAME, or NAME@VERSION.
        agent: String,
        message: Vec<String>,
        /// Continues this chat.
        #[arg(long)]
        chat: Option<String>,
    },
    /// Starts a conversation with an agent, in which you approve its tool calls.
    Chat {
        /// NAME, or NAME@VERSION.
        agent: String,
        /// Continues this chat.
        #[arg(long)]
        chat: Option<String>,
    },
}

const PATH: &str = "/v2/agents";
/// How often a chat is looked at whose calls were answered.
const LOOK_EVERY: Duration = Duration::from_millis(300);

fn document(file: &Path) -> Result<Value, Failure> {
    let wrong =
        |why: String| Failure::new(output::USAGE, format!("{} can't be read: {why}.", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| output::unreadable(file.display(), &error))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let agents = Collection::connect(shared, PATH)?;
    match command {
        Command::Create { name, file, project } => {
            let body = Body::new().with("name", name).with("definition", document(&file)?);
            agents.create(&body.with_some("project_id", project).build())
        }
        Command::List => agents.list(
            &["id", "name", "version", "created_at"],
            "No agents. `tidegate agent create NAME FILE` defines one.",
        ),
        Command::Get { id } => agents.show(&id),
        Command::Versions { id } => {
            let versions = agents.api.get(&format!("{}/versions", agents.at(&id)))?;
            output::list(shared, &versions, &["version", "created_at"], "It has no versions.");
            Ok(())
        }
        Command::Update { id, file } => agents.change(&id, &json!({"definition": document(&file)?})),
        Command::Remove { id } => agents.remove(&id),
        Command::Run { agent, message, chat } => {
            let mut talk = Talk::new(shared, agent, chat)?;
            talk.say(&words(&message)?)?;
            talk.tell_waiting()
        }
        Command::Chat { agent, chat } => Talk::new(shared, agent, chat)?.take_turns(),
    }
}

fn words(message: &[String]) -> Result<String, Failure> {
    let given = message.join(" ");
    if !given.is_empty() && given != "-" {
        return Ok(given);
    }
    if std::io::stdin().is_terminal() && given.is_empty() {
        let how = "Say something: tidegate agent run AGENT \"a message\", or pipe it in.";
        return Err(Failure::new(output::USAGE, how));
    }
    Ok(std::io::read_to_string(std::io::stdin())?)
}

/// A chat with an agent.
struct Talk<'a> {
    api: Api,
    shared: &'a Shared,
    agent: String,
    chat: Option<String>,
}

impl<'a> Talk<'a> {
    fn new(shared: &'a Shared, agent: String, chat: Option<String>) -> Result<Self, Failure> {
        Ok(Self { api: Api::connect(shared)?, shared, agent, chat })
    }

    /// Sends a message, and prints the answer as it comes.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let body = json!({
            "agent": self.agent, "chat_id": self.chat, "input": {"text": text}, "stream": true,
        });
        let (mut chat, mut error) = (self.chat.clone(), None);
        let (mut printed, mut whole) = (String::new(), String::new());
        let streamed = self.api.stream("/v1/agents/run", &body, |event| {
            let data = event.get("data").unwrap_or(event);
            match event.get("event").and_then(Value::as_str) {
                Some("chats") => {
                    chat = Some(field(data, "id"));
                    error = data.pointer("/active_run/error").and_then(Value::as_str).map(str::to_owned);
                }
                Some("delta") => {
                    let words = data.pointer("/delta/response").and_then(Value::as_str).unwrap_or_default();
                    printed.push_str(words);
                    if !self.shared.json {
                        print_words(words);
                    }
                }
                // The last message is the answer to this one.
                Some("chat_messages") if field(data, "role") == "assistant" => whole = text_of(data),
                _ => {}
            }
            if self.shared.json {
                println!("{event}");
            }
        });
        streamed.map_err(|failure| {
            let stores = format!("`tidegate agent create NAME {}` stores it", self.agent);
            instead_of_file(failure, &self.agent, &stores)
        })?;
        self.chat = chat;
        if !self.shared.json {
            // What came before its words could be followed.
            print_words(whole.strip_prefix(printed.as_str()).unwrap_or_default());
            println!();
            eprintln!("  chat {}", output::printable(self.chat.as_deref().unwrap_or_default()));
        }
        error.map_or(Ok(()), |error| Err(Failure::new(output::UNAVAILABLE, output::printable(&error))))
    }

    fn read(&self) -> Result<Value, Failure> {
        let path = format!("/v1/chats/{}", self.chat.as_deref().unwrap_or_default());
        let answer = self.api.get(&path)?;
        Ok(answer.get("data").cloned().unwrap_or(answer))
    }

    fn waiting(&self) -> Result<Vec<Value>, Failure> {
        let chat = self.read()?;
        Ok(chat.get("pending_interrupts").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Says what the chat waits for, and how it is answered.
    fn tell_waiting(&self) -> Result<(), Failure> {
        for call in self.waiting()? {
            let id = field(&call, "resource_id");
            let act = if field(&call, "reason") == "client_tool" { "" } else { "/invoke" };
            eprintln!("  {} waits: tidegate api POST /v1/tools/{id}{act}", described(&call));
        }
        Ok(())
    }

    /// Reads message after message, until the user leaves.
    fn take_turns(&mut self) -> Result<(), Failure> {
        let stdin = std::io::stdin();
        let mut input = stdin.lock();
        loop {
            let Some(line) = ask(&mut input, ">>> ")? else { return Ok(()) };
            match line.trim() {
                "" => {}
                "/exit" | "/quit" => return Ok(()),
                text => {
                    if let Err(failure) = self.say(text) {
                        // The exit code is for commands that end with the failure.
                        let _ = failure.report();
                        continue;
                    }
                    self.answer_calls(&mut input)?;
                }
            }
        }
    }

    /// Asks about the calls that wait, until none does.
    fn answer_calls(&self, input: &mut impl BufRead) -> Result<(), Failure> {
        loop {
            let waiting = self.waiting()?;
            if waiting.is_empty() {
                return Ok(());
            }
            for call in &waiting {
                let path = format!("/v1/tools/{}", field(call, "resource_id"));
                if field(call, "reason") == "client_tool" {
                    let result = ask(input, &format!("  the result of {}: ", described(call)))?;
                    self.api.post(&path, &json!({"result": result.unwrap_or_default().trim()}))?;
                    continue;
                }
                let allowed = ask(input, &format!("  allow {}? [y/N] ", described(call)))?;
                let is_allowed = allowed.is_some_and(|word| matches!(word.trim(), "y" | "Y" | "yes"));
                let act = if is_allowed { "invoke" } else { "reject" };
                self.api.post(&format!("{path}/{act}"), &json!({}))?;
            }
            let chat = self.settled()?;
            let last = chat.get("chat_messages").and_then(Value::as_array).and_then(|all| all.last());
            println!("{}", output::printable(&last.map(text_of).unwrap_or_default()));
        }
    }

    /// The chat, once it is busy no more.
    fn settled(&self) -> Result<Value, Failure> {
        loop {
            self.api.pause(LOOK_EVERY);
            let chat = self.read()?;
            if field(&chat, "status") != "busy" {
                return Ok(chat);
            }
        }
    }
}

/// The text of a message.
fn text_of(message: &Value) -> String {
    let parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
    parts.map(|part| field(part, "text")).collect()
}

fn print_words(text: &str) {
    print!("{}", output::printable(text));
    // A closed terminal is reported by the next print; it is not an error of the stream.
    let _ = std::io::stdout().flush();
}

fn described(call: &Value) -> String {
    let meta = call.get("meta").unwrap_or(call);
    let arguments = meta.get("arguments").map(Value::to_string).unwrap_or_default();
    output::printable(&format!("{} {arguments}", field(meta, "tool_name")))
}

/// A line of the user's; `None` at the end.
fn ask(input: &mut impl BufRead, prompt: &str) -> Result<Option<String>, Failure> {
    eprint!("{prompt}");
    let mut line = String::new();
    Ok((input.read_line(&mut line)? > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_described_in_one_line() {
        let call = json!({"meta": {"tool_name": "add", "arguments": {"a": "1"}}});
        assert_eq!(described(&call), r#"add {"a":"1"}"#);
        assert_eq!(ask(&mut "y\n".as_bytes(), "").unwrap().as_deref(), Some("y\n"));
        assert_eq!(ask(&mut "".as_bytes(), "").unwrap(), None);
    }
}
