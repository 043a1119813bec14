//! The paths that a node serves, and the methods of each.

use domain::{Dialect, Operation};
use http::Method;

use crate::adapters::Asked;
use crate::train::Asked as Training;

/// The dialects that a node serves.
pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Anthropic];

/// The operation behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does<'p> {
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
    Adapters(Asked<'p>),
    Train(Training<'p>),
    /// Clears the prefix cache.
    Purge,
    /// A path that the product defines and this version does not serve.
    Later(&'static str),
    /// A known path; it takes these methods instead.
    Other(&'static str),
    Nothing,
}

impl Does<'_> {
    /// The dialect of error responses.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Generate(dialect, _) | Self::Count(dialect) => dialect,
            _ => Dialect::Chat,
        }
    }

    pub(crate) const fn takes_a_form(self) -> bool {
        matches!(self, Self::Train(Training::Bring))
    }
}

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Does<'p> {
    let asks = match path {
        "/v1/chat/completions" => Some(Does::Generate(Dialect::Chat, Operation::Chat)),
        "/v1/completions" => Some(Does::Generate(Dialect::Chat, Operation::Complete)),
        "/v1/responses" => Some(Does::Generate(Dialect::Responses, Operation::Chat)),
        "/v1/messages" => Some(Does::Generate(Dialect::Anthropic, Operation::Chat)),
        "/v1/embeddings" => Some(Does::Embed),
        "/v1/rerank" => Some(Does::Rank),
        "/v1/responses/input_tokens" => Some(Does::Count(Dialect::Responses)),
        "/v1/messages/count_tokens" => Some(Does::Count(Dialect::Anthropic)),
        "/v1/cache/purge" => Some(Does::Purge),
        "/v1/adapters/warmup" => Some(Does::Adapters(Asked::WarmUp)),
        _ => None,
    };
    if let Some(asks) = asks {
        return if *method == Method::POST { asks } else { Does::Other("POST") };
    }
    let found = adapters(method, path).or_else(|| later(path)).or_else(|| training(method, path));
    if let Some(found) = found {
        return found;
    }
    let found = match path {
        "/v1/models" => Does::Models,
        "/v1/health" => Does::Health,
        "/v1/capabilities" => Does::Capabilities,
        "/metrics" => Does::Metrics,
        "/v1/usage" => Does::Usage,
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => Does::Model(id),
            None => return Does::Nothing,
        },
    };
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads { found } else { Does::Other("GET, HEAD") }
}

fn adapters<'p>(method: &Method, path: &'p str) -> Option<Does<'p>> {
    let rest = path.strip_prefix("/v1/adapters")?;
    let asked = match (method.as_str(), rest.strip_prefix('/').unwrap_or_default()) {
        ("GET" | "HEAD", "") if rest.is_empty() => Asked::List,
        ("POST", "") if rest.is_empty() => Asked::Register,
        (_, "") if rest.is_empty() => return Some(Does::Other("GET, HEAD, POST")),
        (_, "") => return None,
        ("GET" | "HEAD", "status") => Asked::Status,
        (_, "status") => return Some(Does::Other("GET, HEAD")),
        (method, named) => match named.split_once('/') {
            None if matches!(method, "GET" | "HEAD") => Asked::One(named),
            None if method == "DELETE" => Asked::Unload(named),
            None => return Some(Does::Other("GET, HEAD, DELETE")),
            Some((id, "load")) if method == "POST" => Asked::Load(id),
            Some((id, "unload")) if method == "POST" => Asked::Unload(id),
            Some((_, "load" | "unload")) => return Some(Does::Other("POST")),
            Some(_) => return None,
        },
    };
    Some(Does::Adapters(asked))
}

/// Training jobs, in this node's own API and in OpenAI's, and training files.
fn training<'p>(method: &Method, path: &'p str) -> Option<Does<'p>> {
    let is_read = matches!(method.as_str(), "GET" | "HEAD");
    let (is_post, is_delete) = (method == Method::POST, method == Method::DELETE);
    let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    let asked = match parts.as_slice() {
        ["train", "sft"] if is_post => Training::Begin,
        ["train", "sft"] => return Some(Does::Other("POST")),
        ["train", "jobs"] if is_read => Training::Jobs,
        ["train", "jobs"] => return Some(Does::Other("GET, HEAD")),
        ["train", "jobs", id] if is_read => Training::Job(id),
        ["train", "jobs", id] if is_delete => Training::CallOff(id),
        ["train", "jobs", _] => return Some(Does::Other("GET, HEAD, DELETE")),
        ["train", "jobs", id, "events"] if is_read => Training::Events(id),
        ["train", "jobs", id, "checkpoints"] if is_read => Training::Checkpoints(id),
        ["train", "jobs", _, "events" | "checkpoints"] => return Some(Does::Other("GET, HEAD")),
        ["train", "jobs", id, "pause"] if is_post => Training::Pause(id),
        ["train", "jobs", id, "resume"] if is_post => Training::Resume(id),
        ["train", "jobs", _, "pause" | "resume"] => return Some(Does::Other("POST")),
        ["fine_tuning", "jobs"] if is_read => Training::Tunings,
        ["fine_tuning", "jobs"] if is_post => Training::Tune,
        ["fine_tuning", "jobs"] => return Some(Does::Other("GET, HEAD, POST")),
        ["fine_tuning", "jobs", id] if is_read => Training::Tuning(id),
        ["fine_tuning", "jobs", id, "events"] if is_read => Training::TuningEvents(id),
        ["fine_tuning", "jobs", id, "checkpoints"] if is_read => Training::TuningCheckpoints(id),
        ["fine_tuning", "jobs", _] | ["fine_tuning", "jobs", _, "events" | "checkpoints"] => {
            return Some(Does::Other("GET, HEAD"));
        }
        ["fine_tuning", "jobs", id, "cancel"] if is_post => Training::TuningCallOff(id),
        ["fine_tuning", "jobs", id, "pause"] if is_post => Training::TuningPause(id),
        ["fine_tuning", "jobs", id, "resume"] if is_post => Training::TuningResume(id),
        ["fine_tuning", "jobs", _, "cancel" | "pause" | "resume"] => return Some(Does::Other("POST")),
        ["files"] if is_read => Training::Files,
        ["files"] if is_post => Training::Bring,
        ["files"] => return Some(Does::Other("GET, HEAD, POST")),
        ["files", id] if is_read => Training::File(id),
        ["files", id] if is_delete => Training::Remove(id),
        ["files", _] => return Some(Does::Other("GET, HEAD, DELETE")),
        ["files", id, "content"] if is_read => Training::Content(id),
        ["files", _, "content"] => return Some(Does::Other("GET, HEAD")),
        _ => return None,
    };
    Some(Does::Train(asked))
}

/// Paths reserved for later versions.
fn later(path: &str) -> Option<Does<'_>> {
    let is_under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        _ if is_under("/v1/peers") => Some(Does::Later("Peers")),
        "/v1/train/d2l" | "/v1/d2l/internalize" => Some(Does::Later("Adapters that are made of documents")),
        "/v1/train/rl" => Some(Does::Later("Jobs that learn from rewards")),
        _ if is_under("/v1/compute") => Some(Does::Later("Compute that is hired")),
        _ => None,
    }
}
