//! `tidegate chat`: one question to a model, the answer as it arrives, and what it cost.

use std::io::{IsTerminal, Read, Write};

use serde_json::{Value, json};

use super::Shared;
use crate::api::Api;
use crate::body::Body;
use crate::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub struct Options {
    model: String,
    /// What to say; `-` or nothing reads standard input.
    prompt: Vec<String>,
    /// A system message.
    #[arg(long)]
    system: Option<String>,
    #[arg(long)]
    max_tokens: Option<u64>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let prompt = prompt_of(options)?;
    let mut messages = Vec::new();
    if let Some(system) = &options.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.push(json!({"role": "user", "content": prompt}));
    let body = Body::new()
        .with("model", &options.model)
        .with("messages", messages)
        .with("stream", true)
        .with("stream_options", json!({"include_usage": true}))
        .with_some("max_tokens", options.max_tokens)
        .done();
    let mut usage = Value::Null;
    let head = Api::connect(shared)?.stream("/v1/chat/completions", &body, |event| {
        if let Some(told) = event.get("usage").filter(|usage| usage.is_object()) {
            usage = told.clone();
        }
        if shared.json {
            println!("{event}");
        } else if let Some(text) = event.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            print!("{}", output::printable(text));
            // A terminal that went away is told by the next print; the stream itself is not at fault.
            let _ = std::io::stdout().flush();
        }
    })?;
    if !shared.json {
        println!();
        eprintln!("{}", receipt(&head, &usage));
    }
    Ok(())
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
    Ok(text)
}

fn receipt(head: &http::HeaderMap, usage: &Value) -> String {
    let header = |name: &str| head.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    format!(
        "  {} {} · {} · in {} out {} · {}",
        header("agent-execution-profile"),
        header("agent-resolved-provider"),
        header("agent-resolved-model"),
        output::cell(usage, "prompt_tokens"),
        output::cell(usage, "completion_tokens"),
        header("agent-trace-id"),
    )
}
