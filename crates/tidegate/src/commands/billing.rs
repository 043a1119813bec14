//! `tidegate billing`: this month by mode.

use serde_json::Value;

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub struct Options {}

pub fn run(shared: &Shared, _options: &Options) -> Result<(), Failure> {
    let snapshot = Api::connect(shared)?.get("/v2/billing/snapshot")?;
    if shared.json {
        println!("{snapshot}");
        return Ok(());
    }
    println!("{} to {}", output::cell(&snapshot, "period_start"), output::cell(&snapshot, "period_end"));
    let rows = snapshot.pointer("/mtd/by_mode").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let money =
        |row: &Value, field: &str| output::dollars(row.get(field).and_then(Value::as_i64).unwrap_or(0));
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let counts = ["mode", "requests", "input_tokens", "output_tokens", "cached_tokens"]
                .map(|f| output::cell(row, f));
            counts
                .into_iter()
                .chain([money(row, "cost_micros"), money(row, "provider_cost_micros")])
                .collect()
        })
        .collect();
    output::table(&["mode", "requests", "input", "output", "cached", "owed", "provider bills"], &cells);
    println!(
        "unmetered events: {}   unpriced events: {}",
        output::cell(&snapshot, "unmetered_event_count"),
        output::cell(&snapshot, "unpriced_event_count")
    );
    Ok(())
}
