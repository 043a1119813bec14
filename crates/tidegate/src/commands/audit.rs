//! `tidegate audit`: who did what, newest first.

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many entries, at most 1000.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Every entry, page after page.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

const COLUMNS: [&str; 5] = ["at", "actor", "action", "target", "detail"];

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let empty = "Nothing has been done yet.";
    if options.all {
        output::rows(shared, &api.get_all("/v2/audit")?, &COLUMNS, empty);
    } else {
        output::list(shared, &api.get(&format!("/v2/audit?limit={}", options.limit))?, &COLUMNS, empty);
    }
    Ok(())
}
