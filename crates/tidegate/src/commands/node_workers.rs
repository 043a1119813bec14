//! The workers that a node starts, if its configuration says so.

use std::path::Path;
use std::sync::Arc;

use cli::api;
use cli::output::{self, Failure};
use egress::Client;
use node::{Service, read_workers};
use tasks::Task;
use workers::Fleet;
use world::World;

/// Reads the table `[workers]` of the configuration. A strictly local node starts workers on its own machine alone.
///
/// # Errors
/// The configuration or the directory of workers can't be used.
pub fn open(
    service: &Service,
    config: Option<&Path>,
    data_dir: Option<&Path>,
    is_strict: bool,
) -> Result<Option<Arc<Fleet>>, Failure> {
    let wrong = |error: String| Failure::new(output::USAGE, error);
    let Some(config) = config.map(read_workers).transpose().map_err(wrong)?.flatten() else {
        return Ok(None);
    };
    let Some(data_dir) = data_dir else {
        let message =
            "[workers] of the configuration needs a directory to keep their state in: add --data-dir.";
        return Err(Failure::new(output::USAGE, message));
    };
    let config = if is_strict { config.local() } else { config };
    let fleet = Fleet::open(config, data_dir, World::system())?;
    service.employ(Arc::clone(&fleet));
    Ok(Some(fleet))
}

/// Works on them until the task is dropped; they outlive it. Use it inside a `LocalSet`.
///
/// # Errors
/// The TLS root certificates can't be read.
pub fn start(fleet: Arc<Fleet>) -> Result<Task, Failure> {
    let client = Client::new(Arc::new(api::egress_settings()?))?;
    Ok(Task::spawn_local("workers", fleet.run(client)))
}
