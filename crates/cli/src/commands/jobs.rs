//! `tidegate jobs`: the state of the gateway's job queue, and the jobs that it gave up on.

use serde_json::Value;

use crate::api::Api;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

const COLUMNS: [&str; 6] = ["id", "kind", "workspace_id", "attempts", "last_error", "created_at"];

pub fn run(shared: &Shared) -> Result<(), Failure> {
    let jobs = Api::connect(shared)?.get("/v2/jobs")?;
    if shared.form() == Form::Json {
        println!("{jobs}");
        return Ok(());
    }
    let given_up = jobs.get("dead_jobs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if shared.form() == Form::Table {
        let counts = ["waiting", "ready", "running", "dead"].map(|state| {
            format!("{} {}", output::cell(&jobs, state), if state == "dead" { "given up" } else { state })
        });
        println!("{}", counts.join("   "));
    }
    output::rows(shared, given_up, &COLUMNS, "Nothing was given up.");
    Ok(())
}
