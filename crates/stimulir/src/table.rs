//! The table of this API: each path with what does it, or with what to use instead.

use std::future::Future;
use std::pin::Pin;

use http::Method;

use crate::answer::{Answer, Refusal};
use crate::call::Call;
use crate::{accounts, credentials, devices, export, keys, nodes, runtimes, usage};

/// What a handler returns.
pub(crate) type Handled<'a> = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send + 'a>>;
pub(crate) type Handler = for<'a> fn(&'a Call<'a>) -> Handled<'a>;

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
const ASSETS: &str = "Store the data with POST /v2/artifacts, and export answers with GET /v2/requests/datasets; docs/training.md says how to train on it.";
const EVALS: &str =
    "Score answers with POST /v2/requests/{id}/scores and compare models with replays: POST /v2/replays.";
const TRAIN: &str =
    "Send the conversations themselves: POST /v2/train/jobs, or `tidegate train start` (docs/training.md).";
const OBJECTS: &str = "Store files with POST /v1/files, and what agents make with POST /v2/artifacts.";
const MACHINES: &str = "Rent the machine yourself, start `tidegate node` on it, and join it: `tidegate nodes invite` (docs/node.md).";
const AGENTS: &str = "Run the loop in your application, or call an app with POST /v1/run.";
const PRIVACY: &str = "Write a policy whose checks redact or block personal data in every request: PUT /v2/policies (docs/policies.md).";
const VOICE: &str = "Open a realtime session at /v1/realtime?model=…, or transcribe a file with POST /v1/audio/transcriptions.";

fn instead(table: &mut Vec<Row>, paths: &[&'static str], what: &'static str) {
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        table.extend(paths.iter().map(|path| (method.clone(), *path, Does::Instead(what))));
    }
}

/// Every route below the root. Of two that fit, the first counts.
fn table() -> Vec<Row> {
    let get = |path, handler| (Method::GET, path, Does::Call(handler));
    let post = |path, handler| (Method::POST, path, Does::Call(handler));
    let patch = |path, handler| (Method::PATCH, path, Does::Call(handler));
    let delete = |path, handler| (Method::DELETE, path, Does::Call(handler));
    let open = |path, handler| (Method::POST, path, Does::Open(handler));
    let mut table = vec![
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
    ];
    for root in ["hybrie/train/jobs", "lab/train/jobs"] {
        let one: &'static str =
            if root.starts_with("lab") { "lab/train/jobs/{id}" } else { "hybrie/train/jobs/{id}" };
        table.extend([get(root, runtimes::jobs), get(one, runtimes::job), delete(one, runtimes::cancel)]);
    }
    instead(&mut table, &["workspace/prompts", "workspace/prompts/{rest}"], PROMPTS);
    instead(&mut table, &["workspace/data-assets", "workspace/data-assets/{rest}"], ASSETS);
    let evals = [
        "lab/evals/{rest}",
        "lab/rsi/{rest}",
        "workspace/proposals",
        "workspace/proposals/{rest}",
        "hybrie/eval/{rest}",
    ];
    instead(&mut table, &evals, EVALS);
    let training = [
        "lab/train",
        "lab/train/{rest}",
        "lab/projectors/{rest}",
        "hybrie/train/{rest}",
        "hybrie/compute/train/{rest}",
        "hybrie/compute/d2l/{rest}",
    ];
    instead(&mut table, &training, TRAIN);
    let objects = ["tenant-objects", "tenant-objects/{rest}"];
    instead(&mut table, &objects, OBJECTS);
    instead(&mut table, &["hybrie/compute/{rest}"], MACHINES);
    let agents = [
        "client-skills",
        "client-skills/{rest}",
        "dedicated-tasks",
        "dedicated-tasks/{rest}",
        "capabilities/{rest}",
        "chat-sessions",
        "chat-sessions/{rest}",
        "agent-executor/{rest}",
        "cli/runtime/{rest}",
        "tunnels",
        "tunnels/{rest}",
    ];
    instead(&mut table, &agents, AGENTS);
    instead(&mut table, &["privacy/{rest}", "hybrie/privacy/{rest}"], PRIVACY);
    let voice = ["inference/audio/transcriptions/stream", "rooms", "rooms/{rest}", "compute/{rest}"];
    instead(&mut table, &voice, VOICE);
    table
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
        if matches!(does, Does::Call(_) | Does::Open(_)) {
            others.push(known);
        }
    }
    if others.is_empty() {
        return Found::Nothing;
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
