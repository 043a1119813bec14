//! `tidegate tariff`: the operator's charges besides tokens.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::{Api, at};
use crate::body::Body;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows the tariff in force, all versions, and which workspace has which.
    Show,
    /// Sets a version from a JSON or TOML file, in the format of `in_force` in `show --json`.
    Set { file: PathBuf },
    /// Assigns a tariff to a workspace.
    Assign {
        workspace: String,
        tariff: String,
        /// The first day of a month, such as 2026-12-01; by default the current month.
        #[arg(long)]
        from: Option<String>,
    },
}

const PATH: &str = "/v2/tariff";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Show => show(shared, &api.get(PATH)?),
        Command::Set { file } => output::object(shared, &api.put(PATH, &read(&file)?)?),
        Command::Assign { workspace, tariff, from } => {
            let body = Body::new().with("tariff", tariff).with_some("effective_from", from).build();
            output::object(shared, &api.put(&at(&format!("{PATH}/assignments"), &workspace), &body)?);
        }
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Value, Failure> {
    let path = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| output::unreadable(&path, &error))?;
    let value = if file.extension().is_some_and(|extension| extension == "toml") {
        toml::from_str::<Value>(&text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    value.map_err(|error| Failure::new(output::USAGE, format!("{path} can't be used: {error}")))
}

fn show(shared: &Shared, tariffs: &Value) {
    if shared.json {
        println!("{tariffs}");
        return;
    }
    output::object(shared, tariffs.get("in_force").unwrap_or(&Value::Null));
    let of = |name: &str| json!({"data": tariffs.get(name).cloned().unwrap_or_default()});
    let columns = ["name", "effective_from", "monthly_base_micros"];
    output::list(shared, &of("versions"), &columns, "No tariff was set: nothing is charged beside tokens.");
    let none = "Every workspace has the default tariff.";
    output::list(shared, &of("assignments"), &["workspace_id", "tariff", "effective_from"], none);
}
