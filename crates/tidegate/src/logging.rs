//! The log: one line per event on standard error, as text or as JSON.

use cli::output::{self, Failure};
use terminal::paint;
use tracing_subscriber::EnvFilter;

/// The reader of PDFs.
const SILENT: &str = "lopdf=off";

/// # Errors
/// The filter is invalid.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::new(output::USAGE, format!("log is \"{filter}\", which isn't a filter: {error}."))
    })?;
    // It logs what it can't read of documents, which are their owners' and belong into no log.
    let filter = match SILENT.parse() {
        Ok(silent) => filter.add_directive(silent),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that can't be written, on a full disk or to a closed pipe, is lost: to say so there would panic.
    let builder = builder.with_ansi(paint::is_wanted_on_error()).log_internal_errors(false);
    let started = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
    started.map_err(|error| Failure::new(output::FAILED, format!("the log could not be started: {error}")))
}
