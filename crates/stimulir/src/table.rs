//! The table of this API: each path with what does it, or with what to use instead.

use http::Method;

use crate::call::Handler;
use crate::{accounts, credentials, devices, export, keys, nodes, runtimes, usage};

/// What a path does.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    Call(Handler),
    /// For a caller who has no key yet.
    Open(Handler),
    /// It has no counterpart here: what to use.
    Instead(&'static str),
}

pub(crate) enum Found {
    Route(Does, Vec<String>),
    /// The methods that the path takes.
    OtherMethods(String),
    Nothing,
}

type Row = (Method, &'static str, Does);

const REST: &str = "{rest}";

const PROMPTS: &str = "Keep prompts beside your code, and send them in the request; artifacts (POST /v2/artifacts) store them with versions.";
const ASSETS: &str = "Store the data with POST /v2/artifacts, and read what contents are kept with GET /v2/datasets; docs/training.md says how to train on it.";
const EVALS: &str = "Score answers with POST /v2/scores, and have another model answer the same with POST /v2/requests/{id}/replay.";
const TRAIN: &str =
    "Send the conversations themselves: POST /v2/train/jobs, or `tidegate train start` (docs/training.md).";
const OBJECTS: &str = "Store files with POST /v1/files, and what agents make with POST /v2/artifacts.";
const MACHINES: &str = "Rent the machine yourself, start `tidegate node` on it, and join it: `tidegate nodes invite` (docs/node.md).";
const AGENTS: &str = "Run the loop in your application, or call an app with POST /v1/run.";
const PRIVACY: &str = "Write a policy whose checks redact or block personal data in every request: POST /v2/policies (docs/policies.md).";
const VOICE: &str = "Open a realtime session at /v1/realtime?model=…, or transcribe a file with POST /v1/audio/transcriptions.";

/// What has no counterpart, whatever the method, with what to use.
const INSTEAD: &[(&[&str], &str)] = &[
    (&["workspace/prompts", "workspace/prompts/{rest}"], PROMPTS),
    (&["workspace/data-assets", "workspace/data-assets/{rest}"], ASSETS),
    (
        &[
            "lab/evals/{rest}",
            "lab/rsi/{rest}",
            "workspace/proposals",
            "workspace/proposals/{rest}",
            "hybrie/eval/{rest}",
        ],
        EVALS,
    ),
    (
        &[
            "lab/train",
            "lab/train/{rest}",
            "lab/projectors/{rest}",
            "hybrie/train/{rest}",
            "hybrie/compute/train/{rest}",
            "hybrie/compute/d2l/{rest}",
        ],
        TRAIN,
    ),
    (&["tenant-objects", "tenant-objects/{rest}"], OBJECTS),
    (&["hybrie/compute/{rest}"], MACHINES),
    (
        &[
            "client-skills",
            "client-skills/{rest}",
            "dedicated-tasks",
            "dedicated-tasks/{rest}",
            "capabilities/{rest}",
            "chat-sessions",
            "chat-sessions/{rest}",
            "agent-executor/{rest}",
            "cli/runtime/{rest}",
        ],
        AGENTS,
    ),
    (&["privacy/{rest}", "hybrie/privacy/{rest}"], PRIVACY),
    (&["inference/audio/transcriptions/stream", "rooms", "rooms/{rest}", "compute/{rest}"], VOICE),
];

/// Every route below the root that does something.
fn table() -> Vec<Row> {
    let get = |path, handler| (Method::GET, path, Does::Call(handler));
    let post = |path, handler| (Method::POST, path, Does::Call(handler));
    let patch = |path, handler| (Method::PATCH, path, Does::Call(handler));
    let delete = |path, handler| (Method::DELETE, path, Does::Call(handler));
    let open = |path, handler| (Method::POST, path, Does::Open(handler));
    vec![
        get("users/me", accounts::me as Handler),
        get("business-profiles", accounts::workspaces),
        get("projects", accounts::projects),
        post("projects", accounts::make_project),
        get("workspace/api-keys", keys::list),
        post("workspace/api-keys", keys::make),
        patch("workspace/api-keys/{id}", keys::change),
        delete("workspace/api-keys/{id}", keys::revoke),
        get("workspace/byok", credentials::list),
        post("workspace/byok", credentials::add),
        post("workspace/byok/{id}/verify", credentials::verify),
        delete("workspace/byok/{id}", credentials::remove),
        get("usage/summary", usage::summary),
        get("usage/events", usage::events),
        get("billing/hybrie/snapshot", usage::snapshot),
        get("workspace/traces", export::list),
        get("workspace/traces/export", export::export),
        open("cli/device/code", devices::begin),
        open("cli/device/token", devices::poll),
        get("cli/tokens", devices::tokens),
        delete("cli/tokens/{id}", devices::revoke_token),
        post("cli/inference/session-key", keys::make_session_key),
        post("cli/inference/session-key/revoke", keys::revoke_session_key),
        post("devices/register", nodes::register),
        post("devices/{id}/heartbeat", nodes::beat),
        get("hybrie/models", runtimes::models),
        get("hybrie/adapters", runtimes::adapters),
        get("hybrie/adapters/{id}", runtimes::adapter),
        post("hybrie/adapters/{id}/load", runtimes::load),
        post("hybrie/adapters/{id}/unload", runtimes::unload),
        get("hybrie/compute/peers", nodes::list),
        post("hybrie/compute/peers", nodes::add),
        delete("hybrie/compute/peers/{id}", nodes::remove),
        get("hybrie/train/jobs", runtimes::jobs),
        get("hybrie/train/jobs/{id}", runtimes::job),
        delete("hybrie/train/jobs/{id}", runtimes::cancel),
        get("lab/train/jobs", runtimes::jobs),
        get("lab/train/jobs/{id}", runtimes::job),
        delete("lab/train/jobs/{id}", runtimes::cancel),
    ]
}

/// Finds the route of a path below the root.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others: Vec<Method> = Vec::new();
    for (known, pattern, does) in table() {
        let Some(parameters) = parameters(pattern, path) else { continue };
        if known == *method {
            return Found::Route(does, parameters);
        }
        others.push(known);
    }
    if others.is_empty() {
        let fits = |paths: &[&str]| paths.iter().any(|pattern| parameters(pattern, path).is_some());
        let found = INSTEAD.iter().find(|(paths, _)| fits(paths));
        return found.map_or(Found::Nothing, |(_, instead)| Found::Route(Does::Instead(instead), Vec::new()));
    }
    Found::OtherMethods(others.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
}

fn parameters(pattern: &str, path: &str) -> Option<Vec<String>> {
    if let Some(prefix) = pattern.strip_suffix(REST) {
        return path.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(|_| Vec::new());
    }
    let mut found = Vec::new();
    let mut given = path.split('/');
    for wanted in pattern.split('/') {
        let have = given.next()?;
        if wanted.starts_with('{') && !have.is_empty() {
            found.push(have.to_owned());
        } else if wanted != have {
            return None;
        }
    }
    given.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Refusal;

    fn found(method: &str, path: &str) -> String {
        match find(&method.parse().unwrap(), path) {
            Found::Route(Does::Call(_), parameters) => format!("call {}", parameters.join(" ")),
            Found::Route(Does::Open(_), _) => "open".to_owned(),
            Found::Route(Does::Instead(_), _) => "instead".to_owned(),
            Found::OtherMethods(allowed) => format!("allow {allowed}"),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_path_works_or_says_what_to_use() {
        for (method, path, expected) in [
            ("GET", "users/me", "call "),
            ("HEAD", "users/me", "call "),
            ("POST", "users/me", "allow GET"),
            ("DELETE", "workspace/api-keys/key_1", "call key_1"),
            ("DELETE", "workspace/api-keys/", "nothing"),
            ("POST", "cli/device/code", "open"),
            ("GET", "lab/train/jobs", "call "),
            ("POST", "lab/train/sft", "instead"),
            ("GET", "workspace/prompts/a/3/label", "instead"),
            ("GET", "hybrie/compute/offers", "instead"),
            ("GET", "hybrie/compute/peers", "call "),
            ("GET", "workspaces", "nothing"),
        ] {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_a_501() {
        let refusal = Refusal::instead("workspace/prompts", PROMPTS);
        assert_eq!((refusal.status.as_u16(), &*refusal.code), (501, "no_counterpart"));
    }
}
