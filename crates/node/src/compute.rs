//! `/v1/compute/workers`: machines and processes on which this node starts others.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use domain::{Fault, FaultClass};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Deserialize;
use workers::{Fleet, WorkersConfig};

use crate::body::NodeBody;
use crate::json_body::json_response;
use crate::train::Query;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerOperation<'p> {
    List,
    Order,
    One(&'p str),
    Logs(&'p str),
    Destroy(&'p str),
    /// What a service says of a worker that it started.
    Callback(&'p str),
}

/// The table `[workers]` of the node's configuration.
///
/// # Errors
/// The file can't be read, or says something that can't be used.
pub fn read_workers(path: &Path) -> Result<Option<WorkersConfig>, String> {
    #[derive(Deserialize)]
    struct Config {
        workers: Option<WorkersConfig>,
    }
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place} can't be read: {error}."))?;
    let config: Config =
        toml::from_str(&text).map_err(|error| format!("{place} is wrong: {}.", error.message()))?;
    let checked = config.workers.map(WorkersConfig::checked).transpose();
    checked.map_err(|error| format!("{place} is wrong: {error}."))
}

/// Answers an operation, if the node is configured to start workers.
pub(crate) async fn answer(
    fleet: Option<&Arc<Fleet>>,
    operation: WorkerOperation<'_>,
    head: &Parts,
    body: &Bytes,
) -> Result<Response<NodeBody>, Box<Fault>> {
    let fleet = fleet.ok_or_else(|| {
        let message = "This node is configured to start no workers.";
        let fault = Fault::new(FaultClass::NotFound, "worker_provider_missing", message);
        Box::new(fault.fix("Add [workers] to the file of --config."))
    })?;
    match operation {
        WorkerOperation::List => json_response(StatusCode::OK, &fleet.list()),
        WorkerOperation::Order => {
            let mut query = Query::of(head.uri.query());
            let (provider, is_rehearsal) = (query.text("provider"), query.flag("dry_run")?);
            query.end()?;
            if is_rehearsal == Some(true) {
                return json_response(StatusCode::OK, &fleet.rehearse(provider, body)?);
            }
            json_response(StatusCode::ACCEPTED, &fleet.order(provider, body)?)
        }
        WorkerOperation::One(id) => json_response(StatusCode::OK, &fleet.show(id)?),
        WorkerOperation::Logs(id) => json_response(StatusCode::OK, &fleet.logs(id).await?),
        WorkerOperation::Destroy(id) => json_response(StatusCode::ACCEPTED, &fleet.destroy(id)?),
        WorkerOperation::Callback(id) => {
            json_response(StatusCode::OK, &fleet.callback(id, &head.headers, body)?)
        }
    }
}
