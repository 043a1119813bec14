//! `tidegate flow`: flows of a project, and their runs.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::node_costs::nanos;
use crate::body::Body;
use crate::collection::Collection;
use crate::named_file::instead_of_file;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Checks a flow in JSON or YAML without storing it.
    Validate {
        /// The document; `-` reads it from standard input.
        file: String,
    },
    /// Declares a flow, or a new version of it if the project already has a flow of that name.
    Add {
        /// The document, in JSON or YAML; `-` reads it from standard input.
        file: String,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Starts a run, and shows its steps until it ends.
    Run {
        /// The flow's name or id.
        flow: String,
        /// The run's input, as JSON.
        #[arg(long, short, default_value = "{}")]
        input: String,
        /// The number of a version; by default the newest.
        #[arg(long, value_name = "NUMBER")]
        flow_version: Option<u64>,
        /// Starts no further step once the steps have cost this much, in USD, such as 0.50.
        #[arg(long, value_name = "USD")]
        max_cost: Option<String>,
        /// The same in billionths of a dollar.
        #[arg(long, hide = true, conflicts_with = "max_cost")]
        budget: Option<i64>,
        /// Doesn't wait for the run to end.
        #[arg(long)]
        detach: bool,
    },
    /// Lists flows, or runs.
    List {
        /// Lists runs, newest first.
        #[arg(long)]
        runs: bool,
    },
    /// Shows a flow, or a run with its steps.
    Show { id: String },
    /// Cancels a run.
    Cancel { run: String },
    /// Pauses a run.
    Pause { run: String },
    /// Resumes a paused run.
    Resume { run: String },
    /// Reruns a run that has ended, from a step or from the failed steps.
    Retry {
        run: String,
        /// The step to start from.
        #[arg(long)]
        from: Option<String>,
    },
    /// Approves or refuses a step that is waiting for approval.
    Approve {
        run: String,
        step: String,
        #[arg(long)]
        refuse: bool,
        #[arg(long)]
        comment: Option<String>,
    },
    /// Deletes a flow. Its runs stay.
    Remove { id: String },
}

const FLOWS: &str = "/v2/flows";
const RUNS: &str = "/v2/flow-runs";
/// How often a run is looked at that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(300);

fn document(file: &str) -> Result<String, Failure> {
    let read = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(Path::new(file))
    };
    read.map_err(|error| output::unreadable(file, &error))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let flows = Collection::connect(shared, FLOWS)?;
    let runs = Collection::connect(shared, RUNS)?;
    let act = |id: &str, act: &str, body: &Value| {
        let run = runs.api.post(&format!("{}/{act}", runs.at(id)), body)?;
        output::object(shared, &run);
        Ok(())
    };
    match command {
        Command::Validate { file } => validate(shared, &flows, &file),
        Command::Add { file, project } => add(shared, &flows, &file, project),
        Command::Run { flow, input, flow_version, max_cost, budget, detach } => {
            let input: Value = serde_json::from_str(&input)
                .map_err(|error| Failure::new(output::USAGE, format!("The input isn't JSON: {error}.")))?;
            let named = flow.clone();
            let budget = max_cost.as_deref().map(nanos).transpose()?.or(budget.map(Value::from));
            let body = Body::new()
                .with("flow", flow)
                .with("input", input)
                .with_some("version", flow_version)
                .with_some("budget_nano_usd", budget);
            let started = runs.api.post(RUNS, &body.build()).map_err(|failure| {
                instead_of_file(failure, &named, &format!("`tidegate flow add {named}` stores it"))
            })?;
            if detach {
                output::object(shared, &started);
                return Ok(());
            }
            follow(shared, &runs, started.get("id").and_then(Value::as_str).unwrap_or_default())
        }
        Command::List { runs: false } => flows.list(
            &["id", "name", "version", "updated_at"],
            "No flows. `tidegate flow add FILE` declares one.",
        ),
        Command::List { runs: true } => runs.list(
            &["id", "name", "version", "status", "state", "cost_nano_usd", "created_at", "ended_at"],
            "No runs. `tidegate flow run NAME` starts one.",
        ),
        Command::Show { id } if id.starts_with("flr_") => runs.show(&id),
        Command::Show { id } => flows.show(&id),
        Command::Cancel { run } => act(&run, "cancel", &json!({})),
        Command::Pause { run } => act(&run, "pause", &json!({})),
        Command::Resume { run } => act(&run, "resume", &json!({})),
        Command::Retry { run, from } => act(&run, "retry", &Body::new().with_some("from", from).build()),
        Command::Approve { run, step, refuse, comment } => {
            let body = Body::new().with("step", step).with("approved", !refuse).with_some("comment", comment);
            act(&run, "approvals", &body.build())
        }
        Command::Remove { id } => flows.remove(&id),
    }
}

fn validate(shared: &Shared, flows: &Collection<'_>, file: &str) -> Result<(), Failure> {
    let checked = flows.api.post(&format!("{FLOWS}/validate"), &json!({"document": document(file)?}))?;
    let errors = checked.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    if checked.get("valid") == Some(&Value::Bool(true)) {
        output::object(
            shared,
            &json!({"valid": true, "steps": checked.get("graph").and_then(Value::as_array).map(Vec::len)}),
        );
        return Ok(());
    }
    for error in &errors {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        eprintln!("{}: {}", text("pointer"), text("message"));
    }
    Err(Failure::new(output::USAGE, format!("{file} has {} errors.", errors.len())))
}

fn add(shared: &Shared, flows: &Collection<'_>, file: &str, project: Option<String>) -> Result<(), Failure> {
    let text = document(file)?;
    let body = Body::new().with("document", text.clone()).with_some("project_id", project);
    let checked = flows.api.post(&format!("{FLOWS}/validate"), &json!({"document": text}));
    let name = checked.ok().and_then(|_| name_of(&text));
    let listed = flows.api.get(&format!("{FLOWS}?limit=200"))?;
    let rows = listed.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = rows
        .into_iter()
        .find(|row| name.is_some() && row.get("name").and_then(Value::as_str) == name.as_deref());
    let id = known.as_ref().and_then(|row| row.get("id")).and_then(Value::as_str);
    let made = match id {
        Some(id) => flows.api.post(&format!("{}/versions", flows.at(id)), &body.build())?,
        None => flows.api.post(FLOWS, &body.build())?,
    };
    let of = |name: &str| made.get(name).cloned().unwrap_or_default();
    output::object(shared, &json!({"id": of("id"), "name": of("name"), "version": of("version")}));
    Ok(())
}

/// The name in a document: as JSON has it, or on its own line of YAML.
fn name_of(text: &str) -> Option<String> {
    if let Ok(document) = serde_json::from_str::<Value>(text) {
        return document.get("name")?.as_str().map(str::to_owned);
    }
    let line = text.lines().find_map(|line| line.strip_prefix("name:"))?;
    let name = line.split(" #").next().unwrap_or(line).trim();
    Some(name.trim_matches(['"', '\'']).to_owned())
}

/// Shows each change of a step until the run has ended, or waits for somebody.
fn follow(shared: &Shared, runs: &Collection<'_>, id: &str) -> Result<(), Failure> {
    let mut seen: HashMap<String, String> = HashMap::new();
    loop {
        let run = runs.api.get(&runs.at(id))?;
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for step in run.get("steps").and_then(Value::as_array).into_iter().flatten() {
            let (name, status) = (text(step, "id"), text(step, "status"));
            if !["pending", "ready"].contains(&status.as_str())
                && seen.insert(name.clone(), status.clone()) != Some(status.clone())
            {
                let lasted = step.get("duration_ms").and_then(Value::as_u64).map(|ms| format!(" {ms} ms"));
                eprintln!("{name}: {status}{}", lasted.unwrap_or_default());
            }
        }
        match text(&run, "state").as_str() {
            "ended" if text(&run, "status") == "completed" => {
                output::object(shared, &run);
                return Ok(());
            }
            "ended" => {
                let why = text(&run, "error_code");
                return Err(Failure::new(
                    output::FAILED,
                    format!("The run {id} {}: {why}.", text(&run, "status")),
                ));
            }
            "paused" => {
                output::object(shared, &run);
                return Ok(());
            }
            _ => runs.api.pause(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_document_is_found_in_either_form() {
        for (text, name) in [
            ("{\"name\": \"a\", \"steps\": {}}", Some("a")),
            ("name: b\nsteps: {}\n", Some("b")),
            ("description: x\nname: \"c\" # the third\n", Some("c")),
            ("steps: {}\n", None),
        ] {
            assert_eq!(name_of(text).as_deref(), name, "{text}");
        }
    }
}
