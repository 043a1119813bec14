//! `tidegate replay`: stored requests are sent to a candidate, and a signed report tells how it did.

use std::path::PathBuf;

use cli::api::{Api, at, field};
use cli::body::{Body, json_of_file};
use cli::commands::budget::micros_or;
use cli::output::{self, Failure};
use cli::shared::Shared;
use serde_json::{Value, json};

const RUNS: &str = "/v2/replay-runs";
const GATES: &str = "/v2/replay-gates";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Sends stored requests to a candidate.
    Run(Box<Run>),
    /// Lists the runs.
    List,
    /// Shows a run's progress and result.
    Show { id: String },
    /// Prints a run's signed report, for `tidegate receipt verify`.
    Report { id: String },
    /// Cancels a run that hasn't ended.
    Cancel { id: String },
    /// Shows or sets the gates that a candidate must pass before traffic moves to it.
    Gates {
        /// A JSON file with the gates; omitted gates have their defaults.
        #[arg(long)]
        set: Option<PathBuf>,
        /// gated: traffic moves to nodes only with evidence; open: it needs none.
        #[arg(long)]
        activation: Option<String>,
    },
    /// Shows for which models your own hardware would be cheaper than their providers.
    Escalation {
        /// What a machine that serves the model would cost per hour, in USD, such as 1.90.
        #[arg(long, value_name = "USD", required_unless_present = "cost_per_hour_micros")]
        cost_per_hour: Option<String>,
        /// The same in millionths of a dollar.
        #[arg(long, hide = true, conflicts_with = "cost_per_hour")]
        cost_per_hour_micros: Option<u64>,
        /// The tokens of prompts and answers that it handles per second.
        #[arg(long)]
        tokens_per_second: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// The candidate's model: one of the node's, or any model, alias or release of an alias.
    #[arg(long)]
    model: String,
    /// The node to try, regardless of routes.
    #[arg(long)]
    node: Option<String>,
    /// What its hardware costs per hour, in USD, such as 1.20.
    #[arg(long, value_name = "USD")]
    cost_per_hour: Option<String>,
    /// The same in millionths of a dollar.
    #[arg(long, hide = true, conflicts_with = "cost_per_hour")]
    cost_per_hour_micros: Option<u64>,
    /// Only requests of this model.
    #[arg(long, help_heading = "Requests")]
    from_model: Option<String>,
    /// Only requests that named this alias.
    #[arg(long, help_heading = "Requests")]
    from_alias: Option<String>,
    /// Only requests of this project.
    #[arg(long, help_heading = "Requests")]
    from_project: Option<String>,
    /// Only requests of this key.
    #[arg(long, help_heading = "Requests")]
    from_key: Option<String>,
    /// Only requests that this route applied to.
    #[arg(long, help_heading = "Requests")]
    from_route: Option<String>,
    /// chat, complete or embed.
    #[arg(long, help_heading = "Requests")]
    from_operation: Option<String>,
    /// The number of past days that requests are taken from.
    #[arg(long, help_heading = "Requests")]
    days: Option<u32>,
    /// The most requests to send.
    #[arg(long, help_heading = "Requests")]
    requests: Option<u32>,
    /// The content to send: synthetic, or kept.
    #[arg(long, help_heading = "Requests")]
    content: Option<String>,
    /// A model that embeds kept and replayed answers, to compare them; it needs `--content kept`.
    #[arg(long, help_heading = "Comparison")]
    embedding_model: Option<String>,
    /// A model that judges which of the two answers is better; it needs `--content kept`.
    #[arg(long, help_heading = "Comparison")]
    judge_model: Option<String>,
    /// max, or a multiple of the speed at which the requests came in.
    #[arg(long)]
    speed: Option<String>,
    /// The number of concurrent requests.
    #[arg(long)]
    concurrency: Option<u32>,
    /// A JSON file with gates, instead of the workspace's.
    #[arg(long)]
    gates: Option<PathBuf>,
    /// When it starts; by default now.
    #[arg(long)]
    at: Option<String>,
    /// The number of days that its report is valid.
    #[arg(long)]
    valid_days: Option<u32>,
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let one = |id: &str| at(RUNS, id);
    match command {
        Command::Run(options) => output::object(shared, &api.post(RUNS, &body(*options)?)?),
        Command::List => {
            let columns = ["id", "status", "verdict", "requests", "created_at", "expires_at"];
            let empty = "There is no run. `tidegate replay run --model M --node NODE` makes one.";
            output::list(shared, &api.get(RUNS)?, &columns, empty);
        }
        Command::Show { id } => output::object(shared, &api.get(&one(&id))?),
        Command::Report { id } => {
            println!("{}", api.text(&format!("{}/report", one(&id)))?.trim_end());
        }
        Command::Cancel { id } => {
            let run = api.post(&format!("{}/cancel", one(&id)), &json!({}))?;
            shared.report(&format!("{} is {}.", field(&run, "id"), field(&run, "status")));
        }
        Command::Gates { set, activation } => gates(shared, &api, set, activation)?,
        Command::Escalation { cost_per_hour, cost_per_hour_micros, tokens_per_second } => {
            let cost = micros_or(cost_per_hour.as_deref(), cost_per_hour_micros)?.unwrap_or_default();
            let speed =
                tokens_per_second.map_or_else(String::new, |speed| format!("&tokens_per_second={speed}"));
            let path = format!("/v2/diagnostics/escalation?cost_per_hour_micros={cost}{speed}");
            let columns = ["model", "requests", "break_even_bps", "next_step", "sentence"];
            output::list(shared, &api.get(&path)?, &columns, "Nothing was served by others than nodes.");
        }
    }
    Ok(())
}

/// What is not named stays as it is.
fn gates(
    shared: &Shared,
    api: &Api,
    set: Option<PathBuf>,
    activation: Option<String>,
) -> Result<(), Failure> {
    let current = api.get(GATES)?;
    let settings = if set.is_none() && activation.is_none() {
        current
    } else {
        let kept = |name: &str| current.get(name).cloned().unwrap_or(Value::Null);
        let gates = set.map_or_else(|| Ok(kept("gates")), |file| json_of_file(&file))?;
        let activation = activation.map_or_else(|| kept("byoc_activation"), Value::from);
        api.put(GATES, &json!({"byoc_activation": activation, "gates": gates}))?
    };
    output::object(shared, &settings);
    Ok(())
}

fn body(options: Run) -> Result<Value, Failure> {
    let from = Body::new()
        .with_some("model", options.from_model)
        .with_some("alias", options.from_alias)
        .with_some("project_id", options.from_project)
        .with_some("key_id", options.from_key)
        .with_some("route_id", options.from_route)
        .with_some("operation", options.from_operation)
        .with_some("days", options.days)
        .with_some("requests_max", options.requests);
    let cost_per_hour = micros_or(options.cost_per_hour.as_deref(), options.cost_per_hour_micros)?;
    let candidate = Body::new()
        .with("model", options.model)
        .with_some("node_id", options.node)
        .with_some("cost_per_hour_micros", cost_per_hour);
    let comparison = Body::new()
        .with_some("embedding_model", options.embedding_model)
        .with_some("judge_model", options.judge_model)
        .build();
    let is_compared = comparison.as_object().is_some_and(|fields| !fields.is_empty());
    let speed = options.speed.map(|text| text.parse::<f64>().map_or_else(|_| Value::from(text), Value::from));
    let gates = options.gates.map(|file| json_of_file(&file)).transpose()?;
    let body = Body::new()
        .with("from", from.build())
        .with("candidate", candidate.build())
        .with_some("content", options.content)
        .with_some("comparison", is_compared.then_some(comparison))
        .with_some("speed", speed)
        .with_some("concurrency_max", options.concurrency)
        .with_some("gates", gates)
        .with_some("scheduled_for", options.at)
        .with_some("valid_days", options.valid_days);
    Ok(body.build())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    #[test]
    fn an_hour_costs_dollars_or_as_many_millionths() {
        for cost in [["--cost-per-hour", "1.20"], ["--cost-per-hour-micros", "1200000"]] {
            let line = Line::try_parse_from(["run", "--model", "qwen/qwen3-8b", cost[0], cost[1]]).unwrap();
            let body = body(line.run).unwrap();
            assert_eq!(body["candidate"]["cost_per_hour_micros"], 1_200_000, "{cost:?}");
        }
        let both = ["run", "--model", "m", "--cost-per-hour", "1", "--cost-per-hour-micros", "1"];
        assert!(Line::try_parse_from(both).is_err());
    }
}
