//! The paths that a node serves, and the methods of each.

use domain::{Dialect, Operation};
use http::Method;

use crate::adapters::AdapterOperation;
use crate::compute::WorkerOperation;
use crate::peers::PeerOperation;
use crate::train::TrainingOperation as Training;

/// The dialects that a node serves.
pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Anthropic];

/// The operation behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint<'p> {
    /// Generation.
    Generate(Dialect, Operation),
    /// Counts a prompt's tokens.
    Count(Dialect),
    /// Embeds texts.
    Embed,
    /// Reranks documents.
    Rank,
    Models,
    Model(&'p str),
    Health,
    Capabilities,
    Metrics,
    Usage,
    Adapters(AdapterOperation<'p>),
    Train(Training<'p>),
    /// Clears the prefix cache.
    Purge,
    Workers(WorkerOperation<'p>),
    /// The mesh of peers.
    Peers(PeerOperation<'p>),
    /// A path that the product defines and this version does not serve.
    Unsupported(&'static str),
    /// A known path; it takes these methods instead.
    Other(&'static str),
    Nothing,
}

impl Endpoint<'_> {
    /// The dialect of error responses.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Generate(dialect, _) | Self::Count(dialect) => dialect,
            _ => Dialect::Chat,
        }
    }

    pub(crate) const fn takes_a_form(self) -> bool {
        matches!(self, Self::Train(Training::UploadFile))
    }
}

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Endpoint<'p> {
    let endpoint = match path {
        "/v1/chat/completions" => Some(Endpoint::Generate(Dialect::Chat, Operation::Chat)),
        "/v1/completions" => Some(Endpoint::Generate(Dialect::Chat, Operation::Complete)),
        "/v1/responses" => Some(Endpoint::Generate(Dialect::Responses, Operation::Chat)),
        "/v1/messages" => Some(Endpoint::Generate(Dialect::Anthropic, Operation::Chat)),
        "/v1/embeddings" => Some(Endpoint::Embed),
        "/v1/rerank" => Some(Endpoint::Rank),
        "/v1/responses/input_tokens" => Some(Endpoint::Count(Dialect::Responses)),
        "/v1/messages/count_tokens" => Some(Endpoint::Count(Dialect::Anthropic)),
        "/v1/cache/purge" => Some(Endpoint::Purge),
        "/v1/adapters/warmup" => Some(Endpoint::Adapters(AdapterOperation::WarmUp)),
        "/v1/peers/register" => Some(Endpoint::Peers(PeerOperation::Register)),
        _ => None,
    };
    if let Some(endpoint) = endpoint {
        return if *method == Method::POST { endpoint } else { Endpoint::Other("POST") };
    }
    let found = adapters(method, path)
        .or_else(|| workers(method, path))
        .or_else(|| compute_peers(method, path))
        .or_else(|| later(path))
        .or_else(|| training(method, path));
    if let Some(found) = found {
        return found;
    }
    let found = match path {
        "/v1/models" => Endpoint::Models,
        "/v1/health" => Endpoint::Health,
        "/v1/capabilities" => Endpoint::Capabilities,
        "/metrics" => Endpoint::Metrics,
        "/v1/usage" => Endpoint::Usage,
        "/v1/peers" => Endpoint::Peers(PeerOperation::List),
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => Endpoint::Model(id),
            None => return Endpoint::Nothing,
        },
    };
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads { found } else { Endpoint::Other("GET, HEAD") }
}

fn adapters<'p>(method: &Method, path: &'p str) -> Option<Endpoint<'p>> {
    let rest = path.strip_prefix("/v1/adapters")?;
    let operation = match (method.as_str(), rest.strip_prefix('/').unwrap_or_default()) {
        ("GET" | "HEAD", "") if rest.is_empty() => AdapterOperation::List,
        ("POST", "") if rest.is_empty() => AdapterOperation::Register,
        (_, "") if rest.is_empty() => return Some(Endpoint::Other("GET, HEAD, POST")),
        (_, "") => return None,
        ("GET" | "HEAD", "status") => AdapterOperation::Status,
        (_, "status") => return Some(Endpoint::Other("GET, HEAD")),
        (method, named) => match named.split_once('/') {
            None if matches!(method, "GET" | "HEAD") => AdapterOperation::One(named),
            None if method == "DELETE" => AdapterOperation::Unload(named),
            None => return Some(Endpoint::Other("GET, HEAD, DELETE")),
            Some((id, "load")) if method == "POST" => AdapterOperation::Load(id),
            Some((id, "unload")) if method == "POST" => AdapterOperation::Unload(id),
            Some((_, "load" | "unload")) => return Some(Endpoint::Other("POST")),
            Some(_) => return None,
        },
    };
    Some(Endpoint::Adapters(operation))
}

/// Training jobs, in this node's own API and in OpenAI's, and training files.
fn training<'p>(method: &Method, path: &'p str) -> Option<Endpoint<'p>> {
    let is_read = matches!(method.as_str(), "GET" | "HEAD");
    let (is_post, is_delete) = (method == Method::POST, method == Method::DELETE);
    let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    let operation = match parts.as_slice() {
        ["train", "sft"] if is_post => Training::Begin,
        ["train", "sft"] => return Some(Endpoint::Other("POST")),
        ["train", "jobs"] if is_read => Training::Jobs,
        ["train", "jobs"] => return Some(Endpoint::Other("GET, HEAD")),
        ["train", "jobs", id] if is_read => Training::Job(id),
        ["train", "jobs", id] if is_delete => Training::Cancel(id),
        ["train", "jobs", _] => return Some(Endpoint::Other("GET, HEAD, DELETE")),
        ["train", "jobs", id, "events"] if is_read => Training::Events(id),
        ["train", "jobs", id, "checkpoints"] if is_read => Training::Checkpoints(id),
        ["train", "jobs", _, "events" | "checkpoints"] => return Some(Endpoint::Other("GET, HEAD")),
        ["train", "jobs", id, "pause"] if is_post => Training::Pause(id),
        ["train", "jobs", id, "resume"] if is_post => Training::Resume(id),
        ["train", "jobs", _, "pause" | "resume"] => return Some(Endpoint::Other("POST")),
        ["fine_tuning", "jobs"] if is_read => Training::Tunings,
        ["fine_tuning", "jobs"] if is_post => Training::Tune,
        ["fine_tuning", "jobs"] => return Some(Endpoint::Other("GET, HEAD, POST")),
        ["fine_tuning", "jobs", id] if is_read => Training::Tuning(id),
        ["fine_tuning", "jobs", id, "events"] if is_read => Training::TuningEvents(id),
        ["fine_tuning", "jobs", id, "checkpoints"] if is_read => Training::TuningCheckpoints(id),
        ["fine_tuning", "jobs", _] | ["fine_tuning", "jobs", _, "events" | "checkpoints"] => {
            return Some(Endpoint::Other("GET, HEAD"));
        }
        ["fine_tuning", "jobs", id, "cancel"] if is_post => Training::CancelTuning(id),
        ["fine_tuning", "jobs", id, "pause"] if is_post => Training::TuningPause(id),
        ["fine_tuning", "jobs", id, "resume"] if is_post => Training::TuningResume(id),
        ["fine_tuning", "jobs", _, "cancel" | "pause" | "resume"] => return Some(Endpoint::Other("POST")),
        ["files"] if is_read => Training::Files,
        ["files"] if is_post => Training::UploadFile,
        ["files"] => return Some(Endpoint::Other("GET, HEAD, POST")),
        ["files", id] if is_read => Training::File(id),
        ["files", id] if is_delete => Training::Remove(id),
        ["files", _] => return Some(Endpoint::Other("GET, HEAD, DELETE")),
        ["files", id, "content"] if is_read => Training::Content(id),
        ["files", _, "content"] => return Some(Endpoint::Other("GET, HEAD")),
        _ => return None,
    };
    Some(Endpoint::Train(operation))
}

/// Workers; also where clients poll jobs of any kind.
fn workers<'p>(method: &Method, path: &'p str) -> Option<Endpoint<'p>> {
    let is_read = matches!(method.as_str(), "GET" | "HEAD");
    if let Some(id) =
        path.strip_prefix("/v1/train/jobs/").filter(|id| id.starts_with("worker-") && !id.contains('/'))
    {
        let operation = match method.as_str() {
            "DELETE" => WorkerOperation::Destroy(id),
            _ if is_read => WorkerOperation::One(id),
            _ => return Some(Endpoint::Other("GET, HEAD, DELETE")),
        };
        return Some(Endpoint::Workers(operation));
    }
    let rest = path.strip_prefix("/v1/compute/workers")?;
    let operation = match (method.as_str(), rest.strip_prefix('/')) {
        ("POST", None) if rest.is_empty() => WorkerOperation::Order,
        (_, None) if rest.is_empty() && is_read => WorkerOperation::List,
        (_, None) if rest.is_empty() => return Some(Endpoint::Other("GET, HEAD, POST")),
        (_, None | Some("")) => return None,
        (method, Some(named)) => match named.split_once('/') {
            None if is_read => WorkerOperation::One(named),
            None if method == "DELETE" => WorkerOperation::Destroy(named),
            None => return Some(Endpoint::Other("GET, HEAD, DELETE")),
            Some((id, "logs")) if is_read => WorkerOperation::Logs(id),
            Some((_, "logs")) => return Some(Endpoint::Other("GET, HEAD")),
            Some((id, "callback")) if method == "POST" => WorkerOperation::Callback(id),
            Some((_, "callback")) => return Some(Endpoint::Other("POST")),
            Some(_) => return None,
        },
    };
    Some(Endpoint::Workers(operation))
}

/// The peers of a node as places that compute.
fn compute_peers<'p>(method: &Method, path: &'p str) -> Option<Endpoint<'p>> {
    let rest = path.strip_prefix("/v1/compute/peers")?;
    let operation = match (method.as_str(), rest.strip_prefix('/')) {
        ("GET" | "HEAD", None) if rest.is_empty() => PeerOperation::Compute,
        ("POST", None) if rest.is_empty() => PeerOperation::AddCompute,
        (_, None) if rest.is_empty() => return Some(Endpoint::Other("GET, HEAD, POST")),
        (_, None | Some("")) => return None,
        (_, Some(id)) if id.contains('/') => return None,
        ("DELETE", Some(id)) => PeerOperation::RemoveCompute(id),
        (_, Some(_)) => return Some(Endpoint::Other("DELETE")),
    };
    Some(Endpoint::Peers(operation))
}

/// Paths reserved for later versions.
fn later(path: &str) -> Option<Endpoint<'_>> {
    let is_under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        "/v1/train/d2l" | "/v1/d2l/internalize" => {
            Some(Endpoint::Unsupported("Adapters that are made of documents"))
        }
        "/v1/train/rl" => Some(Endpoint::Unsupported("Jobs that learn from rewards")),
        _ if is_under("/v1/compute") => Some(Endpoint::Unsupported("Compute that is hired")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_workers_are_found_with_their_methods() {
        let found = |method: &Method, path| workers(method, path);
        let one = Endpoint::Workers(WorkerOperation::One("worker-1"));
        assert_eq!(found(&Method::GET, "/v1/compute/workers/worker-1"), Some(one));
        assert_eq!(found(&Method::GET, "/v1/train/jobs/worker-1"), Some(one));
        assert_eq!(found(&Method::GET, "/v1/train/jobs/ftjob-1"), None);
        assert_eq!(found(&Method::GET, "/v1/train/jobs/worker-1/events"), None);
        let order = Endpoint::Workers(WorkerOperation::Order);
        assert_eq!(found(&Method::POST, "/v1/compute/workers"), Some(order));
        assert_eq!(found(&Method::PUT, "/v1/compute/workers"), Some(Endpoint::Other("GET, HEAD, POST")));
        let logs = Endpoint::Workers(WorkerOperation::Logs("a"));
        assert_eq!(found(&Method::GET, "/v1/compute/workers/a/logs"), Some(logs));
        assert_eq!(found(&Method::DELETE, "/v1/compute/workers/a/logs"), Some(Endpoint::Other("GET, HEAD")));
        let callback = Endpoint::Workers(WorkerOperation::Callback("a"));
        assert_eq!(found(&Method::POST, "/v1/compute/workers/a/callback"), Some(callback));
        assert_eq!(found(&Method::GET, "/v1/compute/workers/a/callback"), Some(Endpoint::Other("POST")));
        assert_eq!(found(&Method::GET, "/v1/compute/workers/"), None);
        assert_eq!(found(&Method::GET, "/v1/compute/workersx"), None);
        assert_eq!(found(&Method::GET, "/v1/compute/offers"), None);
    }

    #[test]
    fn paths_of_peers_that_compute_are_found_with_their_methods() {
        let found = |method: &Method, path| compute_peers(method, path);
        let peers = |operation| Some(Endpoint::Peers(operation));
        assert_eq!(found(&Method::GET, "/v1/compute/peers"), peers(PeerOperation::Compute));
        assert_eq!(found(&Method::POST, "/v1/compute/peers"), peers(PeerOperation::AddCompute));
        assert_eq!(found(&Method::PUT, "/v1/compute/peers"), Some(Endpoint::Other("GET, HEAD, POST")));
        assert_eq!(found(&Method::DELETE, "/v1/compute/peers/5d"), peers(PeerOperation::RemoveCompute("5d")));
        assert_eq!(found(&Method::GET, "/v1/compute/peers/5d"), Some(Endpoint::Other("DELETE")));
        for path in ["/v1/compute/peersx", "/v1/compute/peers/", "/v1/compute/peers/a/b"] {
            assert_eq!(found(&Method::GET, path), None, "{path}");
        }
    }
}
