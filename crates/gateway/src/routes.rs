//! The table of all routes: method, path, dialect, what it does, and who may use it.

use admit::Needs;
use domain::{Dialect, Operation, StoredObjectKind};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::realtime::protocols;

/// The body of `GET /`.
pub const WELCOME: &str = concat!(
    "Tidegate ",
    env!("CARGO_PKG_VERSION"),
    ": an AI gateway.\n\n",
    "Chat:   POST /v1/chat/completions, /v1/responses, /v1/messages, /v1beta/models/{model}:generateContent, /model/{model}/converse\n",
    "Models: GET /v1/models\nRun:    POST /v1/run\n",
    "Manage: /v2 (see docs/ in the source, or `tidegate --help`), or this address in a browser\nHealth: GET /health/ready\n"
);
/// The methods that some path accepts.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// The hint in the 404 for an unknown path.
pub const SERVED: &str = "This release serves POST /v1/chat/completions, /v1/responses, /v1/messages, \
    /v1beta/models/{model}:generateContent, /model/{model}/converse and /v1/run, GET /v1/models, and /v2.";

const GOOGLE_KEY: &str = "x-goog-api-key";
const BROWSER_KEY: &str = "openai-insecure-api-key.";

/// Who may use a route. A row can't be written without stating it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches the port; only for routes that reveal nothing.
    Open,
    /// A key that may do this.
    Key(Needs),
    /// A peer on the loopback, or a key that may do this.
    LoopbackOrKey(Needs),
    /// The control plane's own table declares it for each of its routes.
    Control,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A call through the pipeline.
    Trip(Operation),
    /// A call whose address names the model and the operation.
    Addressed,
    /// A call whose address names a stored answer and the operation on it.
    Stored,
    /// A session, each response of which is a call.
    Realtime,
    /// A call whose address names another stored object.
    Kept(Operation),
    /// A list of such objects.
    KeptList(StoredObjectKind),
    /// Something about a task that ran.
    Task,
    Models,
    Model,
    Control,
    Live,
    Ready,
    Metrics,
    Welcome,
    /// A page of the console, for a browser.
    Page,
    /// A file of the console.
    Asset,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    /// Exact, or with a last segment `{rest}` that takes whatever follows, slashes too.
    pub path: &'static str,
    pub dialect: Dialect,
    pub action: Action,
    pub access: Access,
}

/// The outcome of a look-up; `'p` is the request's path.
#[derive(Debug)]
pub enum Found<'t, 'p> {
    Route(&'t Route, &'p str),
    /// The path is known, the method is not: the value of `Allow`, and the dialect for the error.
    OtherMethods(String, Dialect),
    Nothing,
}

impl Route {
    /// The service that the request is signed for, if its dialect has signatures and it is signed.
    #[must_use]
    pub fn signed_for(&self, headers: &HeaderMap) -> Option<&'static str> {
        self.dialect.signed_for().filter(|_| admit::is_signed(headers))
    }
}

const REST: &str = "{rest}";

/// Paths of the API that later releases fill, as opposed to typing errors.
const LATER: &[&str] = &[
    "/v1/conversations",
    "/v1/uploads",
    "/v1/apps",
    "/v1/agents",
    "/v1/flows",
    "/v1/tools",
    "/v1/sessions",
    "/apps",
    "/agents",
    "/flows",
    "/mcp",
];

fn row(method: Method, path: &'static str, dialect: Dialect, does: Action, access: Access) -> Route {
    Route { method, path, dialect, action: does, access }
}

/// A stored kind of object: made and listed at one path, and read or acted upon by its id below it.
struct Kept {
    path: &'static str,
    /// It is made elsewhere, where its model is addressed.
    is_only_listed: bool,
    named: &'static str,
    dialect: Dialect,
    kind: StoredObjectKind,
    of: Operation,
    acts: &'static [Method],
}

impl Kept {
    fn rows(&self) -> Vec<Route> {
        let inference = Access::Key(Needs::Inference);
        let at = |method: Method, path, does| row(method, path, self.dialect, does, inference);
        let mut rows = vec![at(Method::GET, self.path, Action::KeptList(self.kind))];
        if !self.is_only_listed {
            rows.push(at(Method::POST, self.path, Action::Trip(self.of)));
        }
        rows.extend(self.acts.iter().map(|act| at(act.clone(), self.named, Action::Kept(self.of))));
        rows
    }
}

/// Jobs are listed at another path than they are made at.
fn jobs() -> [Route; 4] {
    let at = |method, path, does| row(method, path, Dialect::Converse, does, Access::Key(Needs::Inference));
    let (made, named) = ("/model-invocation-job", "/model-invocation-job/{rest}");
    [
        at(Method::POST, made, Action::Trip(Operation::Batch)),
        at(Method::GET, "/model-invocation-jobs", Action::KeptList(StoredObjectKind::StoredBatch)),
        at(Method::GET, named, Action::Kept(Operation::Batch)),
        at(Method::POST, named, Action::Kept(Operation::Batch)),
    ]
}

const KEPT: &[Kept] = &[
    Kept {
        path: "/v1/files",
        is_only_listed: false,
        named: "/v1/files/{rest}",
        dialect: Dialect::Chat,
        kind: StoredObjectKind::File,
        of: Operation::File,
        acts: &[Method::GET, Method::DELETE],
    },
    Kept {
        path: "/v1/batches",
        is_only_listed: false,
        named: "/v1/batches/{rest}",
        dialect: Dialect::Chat,
        kind: StoredObjectKind::Batch,
        of: Operation::Batch,
        acts: &[Method::GET, Method::POST],
    },
    Kept {
        path: "/v1/videos",
        is_only_listed: false,
        named: "/v1/videos/{rest}",
        dialect: Dialect::Chat,
        kind: StoredObjectKind::Video,
        of: Operation::Video,
        acts: &[Method::GET, Method::DELETE, Method::POST],
    },
    Kept {
        path: "/v1/messages/batches",
        is_only_listed: false,
        named: "/v1/messages/batches/{rest}",
        dialect: Dialect::Anthropic,
        kind: StoredObjectKind::MessageBatch,
        of: Operation::Batch,
        acts: &[Method::GET, Method::POST, Method::DELETE],
    },
    Kept {
        path: "/v1beta/batches",
        is_only_listed: true,
        named: "/v1beta/batches/{rest}",
        dialect: Dialect::Gemini,
        kind: StoredObjectKind::ContentBatch,
        of: Operation::Batch,
        acts: &[Method::GET, Method::POST, Method::DELETE],
    },
];

/// Every route of the gateway.
#[must_use]
pub fn table() -> Vec<Route> {
    let inference = Access::Key(Needs::Inference);
    let trip = |path, dialect, of| row(Method::POST, path, dialect, Action::Trip(of), inference);
    let mut table = vec![
        trip("/v1/chat/completions", Dialect::Chat, Operation::Chat),
        trip("/v1/completions", Dialect::Chat, Operation::Complete),
        trip("/v1/embeddings", Dialect::Chat, Operation::Embed),
        trip("/v1/moderations", Dialect::Chat, Operation::Moderate),
        trip("/v1/images/generations", Dialect::Chat, Operation::Images),
        trip("/v1/images/edits", Dialect::Chat, Operation::ImageEdits),
        trip("/v1/images/variations", Dialect::Chat, Operation::ImageVariations),
        trip("/v1/audio/speech", Dialect::Chat, Operation::Speech),
        trip("/v1/audio/transcriptions", Dialect::Chat, Operation::Transcribe),
        trip("/v1/audio/translations", Dialect::Chat, Operation::Translate),
        trip("/v1/rerank", Dialect::Chat, Operation::Rerank),
        trip("/v1/responses", Dialect::Responses, Operation::Chat),
        trip("/v1/responses/input_tokens", Dialect::Responses, Operation::Count),
        trip("/v1/messages", Dialect::Anthropic, Operation::Chat),
        trip("/v1/messages/count_tokens", Dialect::Anthropic, Operation::Count),
        row(Method::GET, "/v1/responses/{rest}", Dialect::Responses, Action::Stored, inference),
        row(Method::DELETE, "/v1/responses/{rest}", Dialect::Responses, Action::Stored, inference),
        row(Method::POST, "/v1/responses/{rest}", Dialect::Responses, Action::Stored, inference),
        row(Method::POST, "/v1/models/{rest}", Dialect::Gemini, Action::Addressed, inference),
        row(Method::POST, "/model/{rest}", Dialect::Converse, Action::Addressed, inference),
        row(Method::GET, "/v1beta/models", Dialect::Gemini, Action::Models, inference),
        row(Method::GET, "/v1beta/models/{rest}", Dialect::Gemini, Action::Model, inference),
        row(Method::GET, "/v1/realtime", Dialect::Chat, Action::Realtime, inference),
        row(Method::GET, "/v1/models", Dialect::Chat, Action::Models, inference),
        row(Method::GET, "/v1/models/{rest}", Dialect::Chat, Action::Model, inference),
        trip("/v1/run", Dialect::Run, Operation::Run),
        trip("/run", Dialect::Run, Operation::Run),
        trip("/v1/apps/run", Dialect::Run, Operation::Run),
        trip("/apps/run", Dialect::Run, Operation::Run),
        row(Method::GET, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::POST, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::DELETE, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::GET, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::POST, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::DELETE, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::GET, "/health/live", Dialect::Native, Action::Live, Access::Open),
        row(Method::GET, "/health/ready", Dialect::Native, Action::Ready, Access::Open),
        row(Method::GET, "/metrics", Dialect::Native, Action::Metrics, Access::LoopbackOrKey(Needs::Admin)),
        row(Method::GET, "/", Dialect::Native, Action::Welcome, Access::Open),
    ];
    let console = |paths: &[&'static str], does| {
        paths
            .iter()
            .map(|path| row(Method::GET, path, Dialect::Native, does, Access::Open))
            .collect::<Vec<_>>()
    };
    table.extend(KEPT.iter().flat_map(Kept::rows));
    table.extend(jobs());
    // After the routes that have paths of their own there.
    table.push(row(Method::POST, "/v1beta/{rest}", Dialect::Gemini, Action::Addressed, inference));
    table.extend(console(console::PAGES, Action::Page));
    table.extend(console(console::ASSETS, Action::Asset));
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        table.push(row(method, "/v2/{rest}", Dialect::Native, Action::Control, Access::Control));
    }
    table
}

/// Refuses a table that is ambiguous or that opens what must be closed.
///
/// # Errors
/// Names the row; the process does not start.
pub fn check(table: &[Route]) -> Result<(), String> {
    for (at, route) in table.iter().enumerate() {
        let name = format!("{} {}", route.method, route.path);
        let twice =
            table.iter().take(at).any(|other| other.method == route.method && other.path == route.path);
        if twice {
            return Err(format!("the route {name} is declared twice"));
        }
        let fits = match route.access {
            Access::Open => {
                matches!(
                    route.action,
                    Action::Live | Action::Ready | Action::Welcome | Action::Page | Action::Asset
                )
            }
            Access::LoopbackOrKey(_) => route.action == Action::Metrics,
            Access::Control => route.action == Action::Control,
            Access::Key(_) => {
                let trips = matches!(
                    route.action,
                    Action::Trip(_) | Action::Addressed | Action::Stored | Action::Kept(_)
                );
                let more = matches!(
                    route.action,
                    Action::Models | Action::Model | Action::KeptList(_) | Action::Realtime
                );
                trips || more || route.action == Action::Task
            }
        };
        if !fits {
            return Err(format!("the route {name} declares {:?}, which it must not have", route.access));
        }
    }
    Ok(())
}

/// The path that is meant where two vendors have the same one: their SDKs differ in where they put the key.
#[must_use]
pub fn disambiguated_path(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let rest = uri.path().strip_prefix("/v1/batches")?;
    let has_key = || uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("key="));
    let is_google = headers.contains_key(GOOGLE_KEY) || has_key();
    let is_below = rest.is_empty() || rest.starts_with('/');
    (is_below && is_google).then(|| format!("/v1beta/batches{rest}"))
}

/// Finds the route of a request. `HEAD` is answered as `GET` without its body.
#[must_use]
pub fn find<'t, 'p>(table: &'t [Route], method: &Method, path: &'p str) -> Found<'t, 'p> {
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others: Vec<&Route> = Vec::new();
    for route in table {
        let Some(rest) = rest_of(route.path, path) else { continue };
        if route.method == *wanted {
            return Found::Route(route, rest);
        }
        others.push(route);
    }
    let Some(first) = others.first() else { return Found::Nothing };
    let mut allowed: Vec<&str> = Vec::new();
    for route in &others {
        if !allowed.contains(&route.method.as_str()) {
            allowed.push(route.method.as_str());
        }
    }
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    Found::OtherMethods(allowed.join(", "), first.dialect)
}

fn rest_of<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.strip_suffix(REST) {
        None => (pattern == path).then_some(""),
        Some(prefix) => path.strip_prefix(prefix).filter(|rest| !rest.is_empty()),
    }
}

/// `true` for a path that the API has, but this release does not.
#[must_use]
pub fn is_planned(path: &str) -> bool {
    LATER
        .iter()
        .any(|later| path.strip_prefix(later).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The dialect in which an unknown path is answered.
#[must_use]
pub fn dialect_of(path: &str) -> Dialect {
    let is_under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match () {
        () if is_under("/v1/messages") => Dialect::Anthropic,
        () if is_under("/v1/responses") => Dialect::Responses,
        () if is_under("/v1beta") => Dialect::Gemini,
        () if ["/model", "/model-invocation-job", "/model-invocation-jobs"].into_iter().any(is_under) => {
            Dialect::Converse
        }
        () if ["/v1/tasks", "/v1/run", "/v1/apps"].into_iter().any(is_under) => Dialect::Run,
        () if is_under("/v1") => Dialect::Chat,
        () => Dialect::Native,
    }
}

/// The dialect of the model list at a path that several share: their SDKs differ in a header.
#[must_use]
pub fn listing_dialect(route: &Route, headers: &HeaderMap) -> Dialect {
    match route.dialect {
        Dialect::Chat if headers.contains_key("anthropic-version") => Dialect::Anthropic,
        Dialect::Chat if headers.contains_key(GOOGLE_KEY) => Dialect::Gemini,
        dialect => dialect,
    }
}

/// Copies a key in the query to its header, and passes it on only so: an address is shown in more places.
pub fn take_key(route: &Route, query: &str, headers: &mut HeaderMap) {
    if route.action == Action::Realtime {
        return take_key_of_browser(headers);
    }
    if route.dialect != Dialect::Gemini || headers.contains_key(GOOGLE_KEY) {
        return;
    }
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    let Some(key) = key.and_then(|key| percent_encoding::percent_decode_str(key).decode_utf8().ok()) else {
        return;
    };
    if let Ok(mut value) = HeaderValue::from_str(&key) {
        value.set_sensitive(true);
        headers.insert(GOOGLE_KEY, value);
    }
}

/// Browsers can't set headers on a WebSocket: their key is in the subprotocols, which are echoed and shown.
fn take_key_of_browser(headers: &mut HeaderMap) {
    let key = protocols(headers).find_map(|name| name.strip_prefix(BROWSER_KEY).map(str::to_owned));
    let Some(key) = key else { return };
    let others: Vec<String> =
        protocols(headers).filter(|name| !name.starts_with(BROWSER_KEY)).map(str::to_owned).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(others) = HeaderValue::try_from(others.join(", ")) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    }
    if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {key}"))
        && !headers.contains_key(AUTHORIZATION)
    {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
}

#[cfg(test)]
mod tests {
    use conversation::request::StoredAct;

    use super::*;
    use crate::addresses;

    fn action_at(method: &str, path: &str) -> String {
        match find(&table(), &method.parse().unwrap(), path) {
            Found::Route(route, rest) => format!("{:?} {rest}", route.action),
            Found::OtherMethods(allowed, _) => format!("allow {allowed}"),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_are_matched_as_they_are_written() {
        let cases = [
            ("POST", "/v1/chat/completions", "Trip(Chat) "),
            ("GET", "/v1/chat/completions", "allow POST"),
            ("POST", "/v1/chat/completions/", "nothing"),
            ("POST", "/v1//chat/completions", "nothing"),
            ("POST", "/V1/chat/completions", "nothing"),
            ("POST", "/v1/chat%2fcompletions", "nothing"),
            ("POST", "/v1/../v1/chat/completions", "nothing"),
            ("POST", "/health/live/../../v1/chat/completions", "nothing"),
            ("GET", "/v1/models", "Models "),
            ("HEAD", "/v1/models", "Models "),
            ("GET", "/v1/models/", "nothing"),
            ("GET", "/v1/models/openai/gpt-4o", "Model openai/gpt-4o"),
            ("DELETE", "/v1/models", "allow GET, HEAD"),
            ("POST", "/apps/run", "Trip(Run) "),
            ("GET", "/tasks/tsk_1/status", "Task tsk_1/status"),
            ("DELETE", "/v1/tasks/tsk_1", "Task tsk_1"),
            ("PUT", "/tasks/tsk_1", "allow GET, POST, DELETE, HEAD"),
            ("GET", "/v1beta/batches", "KeptList(ContentBatch) "),
            ("GET", "/v1beta/batches/b", "Kept(Batch) b"),
            ("POST", "/v1beta/batches/b:cancel", "Kept(Batch) b:cancel"),
            ("DELETE", "/v1beta/batches/b", "Kept(Batch) b"),
            ("PUT", "/v1beta/batches/b", "allow GET, POST, DELETE, HEAD"),
            ("POST", "/v1beta/models/m:batchGenerateContent", "Addressed models/m:batchGenerateContent"),
            ("GET", "/v2/usage", "Control usage"),
            ("GET", "/v2/", "nothing"),
            ("TRACE", "/v2/usage", "allow GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD"),
            ("POST", "/", "allow GET, HEAD"),
            ("GET", "/health", "nothing"),
            ("GET", "/requests", "Page "),
            ("GET", "/requests/trc_1", "Page trc_1"),
            ("POST", "/requests", "allow GET, HEAD"),
            ("GET", "/assets/a.js", "Asset a.js"),
            ("GET", "/assets", "nothing"),
        ];
        for (method, path, expected) in cases {
            assert_eq!(action_at(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_table_is_sound_and_an_open_trip_is_not() {
        assert_eq!(check(&table()), Ok(()));
        let mut open = table();
        open[0].access = Access::Open;
        assert!(check(&open).unwrap_err().contains("POST /v1/chat/completions"));
        let mut twice = table();
        twice.push(twice[0].clone());
        assert!(check(&twice).is_err());
    }

    /// A route's addresses as the document writes them.
    fn addresses(route: &Route) -> Vec<String> {
        let below = match (&route.action, route.method.as_str()) {
            (Action::Stored, "GET") => &["{response_id}", "{response_id}/input_items"][..],
            (Action::Stored, "POST") => &["{response_id}/cancel"],
            (Action::Stored, _) => &["{response_id}"],
            (Action::Kept(Operation::Batch), "GET") if route.dialect == Dialect::Anthropic => {
                &["{message_batch_id}", "{message_batch_id}/results"]
            }
            (Action::Kept(Operation::Batch), "GET") if route.dialect == Dialect::Converse => {
                &["{job_identifier}"]
            }
            (Action::Kept(Operation::Batch), _) if route.dialect == Dialect::Converse => {
                &["{job_identifier}/stop"]
            }
            (Action::Kept(Operation::Batch), "POST") if route.dialect == Dialect::Gemini => {
                &["{batch_id}:cancel"]
            }
            (Action::Kept(Operation::Batch), _) if route.dialect == Dialect::Gemini => &["{batch_id}"],
            (Action::Kept(Operation::Batch), "DELETE") => &["{message_batch_id}"],
            (Action::Kept(Operation::Batch), _) if route.dialect == Dialect::Anthropic => {
                &["{message_batch_id}/cancel"]
            }
            (Action::Kept(Operation::Batch), "GET") => &["{batch_id}"],
            (Action::Kept(Operation::Batch), _) => &["{batch_id}/cancel"],
            (Action::Kept(Operation::Video), "GET") => &["{video_id}", "{video_id}/content"],
            (Action::Kept(Operation::Video), "POST") => &["{video_id}/remix"],
            (Action::Kept(Operation::Video), _) => &["{video_id}"],
            (Action::Task, "GET") => &["{task_id}", "{task_id}/status", "{task_id}/stream"],
            (Action::Task, "POST") => &["{task_id}/cancel"],
            (Action::Task, _) => &["{task_id}"],
            (Action::Kept(_), "GET") => &["{file_id}", "{file_id}/content"],
            (Action::Kept(_), _) => &["{file_id}"],
            _ => &["{model}"],
        };
        below.iter().map(|below| route.path.replace(REST, below)).collect()
    }

    #[test]
    fn an_answer_is_addressed_by_its_id() {
        let read = |method: &str, rest| {
            let read = addresses::read_stored(&method.parse().unwrap(), rest, "limit=1");
            read.map(|read| read.stored.map(|stored| (stored.id, stored.act, stored.query))).ok().flatten()
        };
        for (method, rest, act) in [
            ("GET", "resp_1", StoredAct::Read),
            ("HEAD", "resp_1", StoredAct::Read),
            ("DELETE", "resp_1", StoredAct::Delete),
            ("POST", "resp_1/cancel", StoredAct::Cancel),
            ("GET", "resp_1/input_items", StoredAct::ListInput),
        ] {
            let expected = Some(("resp_1".to_owned(), act, "limit=1".to_owned()));
            assert_eq!(read(method, rest), expected, "{method} {rest}");
        }
        for (method, rest) in [
            ("POST", "resp_1"),
            ("GET", "resp_1/cancel"),
            ("DELETE", "resp_1/cancel"),
            ("POST", "resp_1/input_items"),
            ("GET", "resp_1/"),
            ("GET", "resp_1/input_items/more"),
        ] {
            assert_eq!(read(method, rest), None, "{method} {rest}");
        }
    }

    #[test]
    fn a_film_is_addressed_by_its_name() {
        let read = |method: &str, rest: &str, query: &str| {
            let read =
                addresses::read_object(Some(StoredObjectKind::Video), &method.parse().unwrap(), rest, query)
                    .ok()?;
            read.stored.map(|stored| (stored.id, stored.act, stored.query))
        };
        for (method, rest, query, act, variant) in [
            ("GET", "v_1", "variant=thumbnail", StoredAct::Read, ""),
            ("DELETE", "v_1", "", StoredAct::Delete, ""),
            ("GET", "v_1/content", "", StoredAct::Content, ""),
            ("GET", "v_1/content", "a=b&variant=thumbnail&c", StoredAct::Content, "variant=thumbnail"),
            ("POST", "v_1/remix", "variant=x", StoredAct::Make, ""),
        ] {
            let expected = Some(("v_1".to_owned(), act, variant.to_owned()));
            assert_eq!(read(method, rest, query), expected, "{method} {rest} {query}");
        }
        for (method, rest) in
            [("POST", "v_1"), ("POST", "edits"), ("POST", "v_1/content"), ("GET", "characters/c_1")]
        {
            assert_eq!(read(method, rest, ""), None, "{method} {rest}");
        }
    }

    #[test]
    fn what_is_kept_is_addressed_as_its_kind_is() {
        let kinds = [StoredObjectKind::File, StoredObjectKind::Batch, StoredObjectKind::MessageBatch];
        let (file, batch, messages) = ([true, false, false], [false, true, true], [false, false, true]);
        for (method, rest, by_kind) in [
            ("GET", "a", [true; 3]),
            ("HEAD", "a", [true; 3]),
            ("GET", "a/content", file),
            ("GET", "a/results", messages),
            ("DELETE", "a", [true, false, true]),
            ("POST", "a/cancel", batch),
            ("POST", "a", [false; 3]),
            ("POST", "a/results", [false; 3]),
            ("DELETE", "a/results", [false; 3]),
            ("GET", "a/results/more", [false; 3]),
        ] {
            let read = kinds
                .map(|kind| addresses::read_object(Some(kind), &method.parse().unwrap(), rest, "").is_ok());
            assert_eq!(read, by_kind, "{method} {rest}");
        }
    }

    #[test]
    fn a_job_is_addressed_by_its_name_or_the_end_of_it() {
        let read = |method: &str, rest: &str| {
            let read = addresses::read_object(
                Some(StoredObjectKind::StoredBatch),
                &method.parse().unwrap(),
                rest,
                "",
            )
            .ok()?;
            read.stored.map(|stored| (stored.id, stored.act))
        };
        let name = format!("{}0123456789ab", StoredObjectKind::StoredBatch.prefix());
        let escaped = name.replace(':', "%3A").replace('/', "%2F");
        for rest in [&name, &escaped, "0123456789ab"] {
            assert_eq!(read("GET", rest), Some((name.clone(), StoredAct::Read)), "{rest}");
            let stop = format!("{rest}/stop");
            assert_eq!(read("POST", &stop), Some((name.clone(), StoredAct::Cancel)), "{rest}");
            assert_eq!((read("POST", rest), read("GET", &stop), read("DELETE", rest)), (None, None, None));
        }
    }

    #[test]
    fn a_content_batch_is_addressed_by_its_name_and_a_verb() {
        let read = |method: &str, rest: &str| {
            let read = addresses::read_object(
                Some(StoredObjectKind::ContentBatch),
                &method.parse().unwrap(),
                rest,
                "key=k",
            )
            .ok()?;
            read.stored.map(|stored| (stored.id, stored.act, stored.query))
        };
        for (method, rest, act) in [
            ("GET", "b", StoredAct::Read),
            ("HEAD", "b", StoredAct::Read),
            ("DELETE", "b", StoredAct::Delete),
            ("POST", "b:cancel", StoredAct::Cancel),
        ] {
            assert_eq!(read(method, rest), Some(("b".to_owned(), act, String::new())), "{method} {rest}");
        }
        for (method, rest) in [
            ("POST", "b"),
            ("GET", "b:cancel"),
            ("POST", "b:pause"),
            ("DELETE", "b:cancel"),
            ("POST", "b/cancel"),
        ] {
            assert_eq!(read(method, rest), None, "{method} {rest}");
        }
    }

    #[test]
    fn a_path_of_two_vendors_means_that_of_the_key() {
        let meant = |path: &str, key: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = key {
                headers.insert(name, HeaderValue::from_static("k"));
            }
            disambiguated_path(&path.parse().unwrap(), &headers)
        };
        let google = Some(GOOGLE_KEY);
        for (path, key, expected) in [
            ("/v1/batches", google, Some("/v1beta/batches")),
            ("/v1/batches?pageSize=1", google, Some("/v1beta/batches")),
            ("/v1/batches/b:cancel?alt=json&key=k", None, Some("/v1beta/batches/b:cancel")),
            ("/v1/batches/b", Some("authorization"), None),
            ("/v1/batches?after=key=", None, None),
            ("/v1/batchesx", google, None),
            ("/v1/models", google, None),
            ("/v1beta/batches", google, None),
        ] {
            assert_eq!(meant(path, key).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn every_client_route_is_in_the_document() {
        let pages = [Action::Welcome, Action::Page, Action::Asset, Action::Control];
        let described = control::described();
        for route in table().into_iter().filter(|route| !pages.contains(&route.action)) {
            for path in addresses(&route) {
                assert!(described.contains(&(route.method.clone(), path.clone())), "{} {path}", route.method);
            }
        }
    }

    #[test]
    fn later_paths_are_known_by_whole_segments() {
        assert!(is_planned("/v1/conversations") && is_planned("/v1/uploads/u_1"));
        assert!(!is_planned("/v1/image") && !is_planned("/v1/imagesx") && !is_planned("/v1/chat"));
    }
}
