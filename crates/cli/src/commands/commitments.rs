//! `tidegate commitments`: what is used of the commitments that credentials state, and a forecast.

use serde_json::Value;

use crate::api::Api;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

const COLUMNS: [&str; 9] = [
    "credential_id",
    "display_name",
    "period",
    "amount_micros",
    "used_micros",
    "left_micros",
    "forecast_micros",
    "exhausted_at",
    "status",
];

pub fn run(shared: &Shared) -> Result<(), Failure> {
    let commitments = Api::connect(shared)?.get("/v2/commitments")?;
    if shared.form() == Form::Json {
        println!("{commitments}");
        return Ok(());
    }
    let rows = commitments.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rows: Vec<Value> = rows.iter().map(flat).collect();
    let none =
        "No credential states a commitment. `tidegate credential set ID --commitment USD/PERIOD` states one.";
    output::rows(shared, &rows, &COLUMNS, none);
    Ok(())
}

/// With what a table shows of the forecast.
fn flat(commitment: &Value) -> Value {
    let mut flat = commitment.clone();
    let forecast = commitment.get("forecast").cloned().unwrap_or_default();
    if let Some(fields) = flat.as_object_mut() {
        for (name, from) in [("forecast_micros", "by_last_days_micros"), ("exhausted_at", "exhausted_at")] {
            fields.insert(name.to_owned(), forecast.get(from).cloned().unwrap_or_default());
        }
    }
    flat
}
