//! `tidegate config`: every setting, its value, and where it came from.

use cli::output::{self, Failure};
use cli::shared::Shared;
use serde_json::json;

use super::serve::SettingFlags;
use crate::settings::{DEFINITIONS, Settings};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists every setting with its value, origin and meaning.
    Explain(SettingFlags),
}

pub fn run(shared: &Shared, command: &Command) -> Result<(), Failure> {
    let Command::Explain(flags) = command;
    let layers = flags.layers()?;
    let rows: Vec<_> = DEFINITIONS
        .iter()
        .map(|definition| {
            let value = match layers.text(definition.key) {
                "" => String::new(),
                _ if definition.secret => "(set)".into(),
                text => text.to_owned(),
            };
            (definition, value, layers.origin(definition.key).to_string())
        })
        .collect();
    if shared.json {
        for (definition, value, origin) in &rows {
            println!(
                "{}",
                json!({"key": definition.key, "value": value, "origin": origin, "env": definition.env, "help": definition.help})
            );
        }
    } else {
        let cells: Vec<_> = rows
            .iter()
            .map(|(definition, value, origin)| {
                vec![
                    definition.key.into(),
                    value.clone(),
                    origin.clone(),
                    definition.env.into(),
                    definition.help.into(),
                ]
            })
            .collect();
        output::table(&["setting", "value", "from", "environment", "meaning"], &cells);
    }
    Settings::check(&layers).map(|_| ()).map_err(|error| Failure::new(output::USAGE, error.to_string()))
}
