//! `tidegate logs tail`: requests as they settle, under the name that other tools have for it.

use super::request;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows the latest requests, then each new one as it settles, like `request --follow`.
    Tail {
        /// A filter, as in the console: 'status:error model:gpt-4o* cost:>0.01'.
        #[arg(long, allow_hyphen_values = true)]
        filter: Option<String>,
        /// The number of requests to start with.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
    },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let Command::Tail { filter, limit } = command;
    request::list(shared, &request::Latest::followed(filter, limit))
}
