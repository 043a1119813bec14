//! `tidegate content`: what projects keep of their requests, and what they kept.

use serde_json::{Value, json};

use crate::api::{Api, at, escape};
use crate::body::Body;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;
use terminal::paint::{Style, paint};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows which content a project keeps of its requests.
    Profile {
        /// The project, by name or id; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Sets which content a project keeps of its requests; omitted fields don't change.
    Keep {
        /// The project, by name or id; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
        /// metadata, tokenized (the shape of requests), or `encrypted_full_fidelity` (requests and answers, encrypted).
        #[arg(long)]
        mode: Option<String>,
        /// The number of days to keep it.
        #[arg(long)]
        days: Option<u32>,
        /// The percentage of requests to keep.
        #[arg(long)]
        sample: Option<u32>,
    },
    /// Shows a request's prompt and its answer. The audit log records it.
    Show { id: String },
    /// Sends a kept request again, to another model, and compares the answers. It is billed like any request.
    Replay {
        id: String,
        #[arg(long)]
        model: String,
    },
    /// Prints kept conversations as JSON lines, the format for training. The audit log records it.
    Dataset {
        /// Only this project's requests, by name or id.
        #[arg(long)]
        project: Option<String>,
        /// Only conversations that this model answered.
        #[arg(long)]
        model: Option<String>,
        /// Only requests that began at this time or later.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only requests that began before this time.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only conversations with a score of this name.
        #[arg(long)]
        score: Option<String>,
        /// Only conversations whose score is at least this.
        #[arg(long, requires = "score", allow_negative_numbers = true)]
        score_min: Option<f64>,
    },
}

const PROFILE: &str = "/v2/retention-profile";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Profile { project } => {
            let query = project.map(|id| format!("?project_id={}", escape(&id))).unwrap_or_default();
            output::object(shared, &api.get(&format!("{PROFILE}{query}"))?);
        }
        Command::Keep { project, mode, days, sample } => {
            let body = Body::new()
                .with_some("project_id", project)
                .with_some("trace_mode", mode)
                .with_some("default_retention_days", days)
                .with_some("sample_percent", sample);
            output::object(shared, &api.post(PROFILE, &body.build())?);
        }
        Command::Show { id } => {
            output::object(shared, &api.get(&format!("{}/content", at("/v2/requests", &id)))?)
        }
        Command::Replay { id, model } => {
            let replay =
                api.post(&format!("{}/replay", at("/v2/requests", &id)), &json!({"model": model}))?;
            show(shared, &replay);
        }
        Command::Dataset { project, model, since, until, score, score_min } => {
            let score_min = score_min.map(|least| least.to_string());
            let mut query = String::new();
            for (name, value) in [
                ("project_id", project),
                ("model", model),
                ("since", since),
                ("until", until),
                ("score", score),
                ("score_min", score_min),
            ] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", escape(&value)));
                }
            }
            dataset(&api, &query)?;
        }
    }
    Ok(())
}

/// Every page, line by line.
fn dataset(api: &Api, query: &str) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = api.get(&format!("/v2/datasets?limit=200{query}{after}"))?;
        for example in page.get("data").and_then(Value::as_array).into_iter().flatten() {
            let mut line = json!({"messages": example.get("messages")});
            if let (Some(fields), Some(tools)) =
                (line.as_object_mut(), example.get("tools").filter(|tools| !tools.is_null()))
            {
                fields.insert("tools".to_owned(), tools.clone());
            }
            println!("{line}");
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => after = format!("&cursor={}", escape(cursor)),
            None => return Ok(()),
        }
    }
}

/// Replays the requests of the session at a path.
pub(crate) fn replay_all(shared: &Shared, api: &Api, session: &str, model: &str) -> Result<(), Failure> {
    let replays = api.post(&format!("{session}/replay"), &json!({"model": model}))?;
    if shared.form() != Form::Table {
        output::object(shared, &replays);
        return Ok(());
    }
    for replay in replays.get("data").and_then(Value::as_array).into_iter().flatten() {
        show(shared, replay);
    }
    let count = |name: &str| output::cell(&replays, name);
    println!("{} the same, {} not kept", count("same"), count("not_kept"));
    Ok(())
}

/// A replay: the two sides, and the words that changed.
fn show(shared: &Shared, replay: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, replay);
    }
    for name in ["baseline", "candidate"] {
        let side = replay.get(name).unwrap_or(&Value::Null);
        let part = |field: &str| output::printable(&output::cell(side, field));
        let cost = output::money(side, "cost_nanos");
        println!(
            "{name:9}  {} {} in {} out {} {cost} {} us {}",
            part("model"),
            part("status"),
            part("input_tokens"),
            part("output_tokens"),
            part("latency_us"),
            part("request_id"),
        );
    }
    if replay.get("same") == Some(&Value::Bool(true)) {
        println!("The answers are the same.");
        return;
    }
    let mut text = String::new();
    for change in replay.get("diff").and_then(Value::as_array).into_iter().flatten() {
        let piece = output::printable(&output::cell(change, "text"));
        match change.get("change").and_then(Value::as_str) {
            Some("removed") => text.push_str(&paint(Style::Bad, &format!("[-{piece}-]"))),
            Some("added") => text.push_str(&paint(Style::Good, &format!("{{+{piece}+}}"))),
            _ => text.push_str(&piece),
        }
    }
    println!("{text}");
}
