//! `tidegate request`: one request's timeline, plan, attempts and cost, by the id that SDKs show.

use serde_json::Value;

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The request id (`trc_…`); lists the latest requests where left out.
    id: Option<String>,
    /// How many to list.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let Some(id) = &options.id else {
        output::list(
            shared.json,
            &api.get(&format!("/v2/requests?limit={}", options.limit))?,
            &[
                "id",
                "started_at",
                "status",
                "outcome",
                "resolved_model",
                "profile",
                "provider",
                "input_tokens",
                "output_tokens",
                "cost_micros",
            ],
            "No requests yet.",
        );
        return Ok(());
    };
    let request = api.get(&format!("/v2/requests/{id}"))?;
    if shared.json {
        println!("{request}");
    } else {
        explain(&request);
    }
    Ok(())
}

fn explain(request: &Value) {
    let field = |name: &str| output::printable(&output::cell(request, name));
    println!("{}  {}  {}  {}", field("id"), field("started_at"), field("status"), field("outcome"));
    println!("model     {} -> {}", field("requested_model"), field("resolved_model"));
    println!("served by {} {} {}", field("profile"), field("provider"), field("principal"));
    println!(
        "tokens    in {} cached {} out {}{}",
        field("input_tokens"),
        field("cached_tokens"),
        field("output_tokens"),
        if request.get("estimated").and_then(Value::as_bool) == Some(true) { " (estimated)" } else { "" }
    );
    let money = |name: &str| output::dollars(request.get(name).and_then(Value::as_i64).unwrap_or(0));
    println!("cost      owed {}  provider bills {}", money("cost_micros"), money("provider_cost_micros"));
    if let Some(timeline) = request.get("timeline").and_then(Value::as_object) {
        let steps: Vec<_> = timeline.iter().map(|(step, us)| format!("{step} {us}")).collect();
        println!("timeline  {}", steps.join("  "));
    }
    for attempt in request.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let part = |name: &str| output::printable(&output::cell(attempt, name));
        println!(
            "attempt {} {} {} status {} fault {} {} us",
            part("number"),
            part("principal"),
            part("provider"),
            part("status"),
            part("fault"),
            part("duration_us")
        );
    }
    for rejected in request.pointer("/plan/rejected").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
    {
        let part = |name: &str| output::printable(&output::cell(rejected, name));
        println!("rejected  {} {}: {}", part("principal"), part("provider"), part("detail"));
    }
}
