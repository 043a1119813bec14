//! `tidegate usage`: tokens and money over a window, grouped.

use super::Shared;
use crate::api::{self, Api};
use crate::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// 24h, 7d, 30d, month.
    #[arg(long, default_value = "30d")]
    window: String,
    /// provider, model, mode, profile, key, project, environment, day, hour, …
    #[arg(long = "by", value_delimiter = ',')]
    group_by: Vec<String>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let mut path = format!("/v2/usage?window={}", api::escape(&options.window));
    if !options.group_by.is_empty() {
        path.push_str(&format!("&group_by={}", api::escape(&options.group_by.join(","))));
    }
    let usage = Api::connect(shared)?.get(&path)?;
    let mut columns: Vec<&str> = options.group_by.iter().map(String::as_str).collect();
    columns.extend([
        "requests",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_micros",
        "provider_cost_micros",
    ]);
    if shared.json {
        println!("{usage}");
    } else {
        output::list(false, &usage, &columns, "Nothing was used in this window.");
    }
    Ok(())
}
