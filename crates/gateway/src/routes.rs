//! The table of all routes: method, path, dialect, what it does, and who may use it.

pub(crate) mod aliases;

use admit::Needs;
use conversation::request::Addressed;
use conversation::routes::RouteAction;
use domain::{Dialect, Fault, FileId, Modality, Operation, StoredObjectKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Uri};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::protocols::protocols;
use crate::upload_address;

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
pub const SERVED: &str = "Use POST /v1/chat/completions, /v1/responses, /v1/messages, \
    /v1beta/models/{model}:generateContent, /model/{model}/converse and /v1/run, GET /v1/models, or /v2.";

const BROWSER_KEY: &str = "openai-insecure-api-key.";

/// Who may use a route. A row can't be written without stating it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches the port; only for routes that reveal nothing, and for those whose address is a secret itself.
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
    /// What paths of a dialect do.
    Dialect(RouteAction),
    /// The apps that a key may run.
    App,
    /// Something about a task that ran.
    Task,
    /// Something about the files of a project.
    Files,
    /// The content of a file, which an address of its own takes.
    Upload,
    /// The content of a file, which a signed address shows for a time.
    Link,
    /// A message of an MCP client.
    Mcp,
    /// A request of an A2A client to an agent, and the agent's card.
    A2a,
    /// A model's answer under a quality of service.
    Respond,
    /// Something about such an answer that was stored.
    Response,
    /// Something about a conversation that the gateway keeps.
    Conversation,
    /// A message to an agent, and what is done with its chats.
    Agent,
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
    pub fn signed_for(&self, headers: &HeaderMap) -> Option<&'static str> {
        self.dialect.signed_for().filter(|_| admit::is_signed(headers))
    }
}

const REST: &str = "{rest}";
const CONTROL: &str = "/v2/{rest}";
const FILES: &str = "/files";
const MCP: &str = "/mcp";
const A2A: &str = "/a2a/{rest}";
/// The paths below which errors are written as those of tasks.
const RUN_ROOTS: [&str; 7] = ["/v1/tasks", "/v1/run", "/v1/apps", "/apps", "/files", "/agents", "/chats"];

/// Paths of the API that later releases fill, as opposed to typing errors.
const LATER: &[&str] = &["/v1/uploads", "/v1/tools"];

/// What is done with agents, their chats and the calls that wait in them.
const AGENTS: [(Method, &str); 9] = [
    (Method::POST, "/agents/{rest}"),
    (Method::POST, "/v1/agents/{rest}"),
    (Method::GET, "/chats/{rest}"),
    (Method::POST, "/chats/{rest}"),
    (Method::GET, "/v1/chats/{rest}"),
    (Method::POST, "/v1/chats/{rest}"),
    (Method::POST, "/tools/{rest}"),
    (Method::POST, "/v1/tools/{rest}"),
    (Method::POST, "/interrupts/{rest}"),
];

fn row(method: Method, path: &'static str, dialect: Dialect, does: Action, access: Access) -> Route {
    Route { method, path, dialect, action: does, access }
}

/// Every route of the gateway.
pub fn table() -> Vec<Route> {
    let inference = Access::Key(Needs::Inference);
    let of_dialect =
        |method, path, dialect, action| row(method, path, dialect, Action::Dialect(action), inference);
    let mut table: Vec<Route> = dialects::routes()
        .map(|(dialect, own)| of_dialect(own.method.clone(), own.path, dialect, own.action))
        .collect();
    table.extend([
        // Several dialects list models here, and one calls them below it.
        of_dialect(Method::GET, "/v1/models", Dialect::Chat, RouteAction::ListModels),
        of_dialect(Method::GET, "/v1/models/{rest}", Dialect::Chat, RouteAction::ShowModel),
        row(Method::POST, "/v1/conversations", Dialect::Responses, Action::Conversation, inference),
        row(Method::GET, "/v1/conversations/{rest}", Dialect::Responses, Action::Conversation, inference),
        row(Method::POST, "/v1/conversations/{rest}", Dialect::Responses, Action::Conversation, inference),
        row(Method::DELETE, "/v1/conversations/{rest}", Dialect::Responses, Action::Conversation, inference),
        row(Method::POST, MCP, Dialect::Native, Action::Mcp, inference),
        row(Method::GET, MCP, Dialect::Native, Action::Mcp, inference),
        row(Method::DELETE, MCP, Dialect::Native, Action::Mcp, inference),
        row(Method::GET, A2A, Dialect::Native, Action::A2a, inference),
        row(Method::POST, A2A, Dialect::Native, Action::A2a, inference),
        row(Method::POST, "/v2/responses", Dialect::Native, Action::Respond, inference),
        row(Method::GET, "/v2/responses/{rest}", Dialect::Native, Action::Response, inference),
        row(Method::POST, "/v2/responses/{rest}", Dialect::Native, Action::Response, inference),
        row(Method::DELETE, "/v2/responses/{rest}", Dialect::Native, Action::Response, inference),
        row(Method::POST, "/flowruns", Dialect::Run, Action::Control, Access::Control),
        row(Method::GET, "/flowruns/{rest}", Dialect::Run, Action::Control, Access::Control),
        row(Method::POST, "/flowruns/{rest}", Dialect::Run, Action::Control, Access::Control),
        row(Method::GET, "/health/live", Dialect::Native, Action::Live, Access::Open),
        row(Method::GET, "/health/ready", Dialect::Native, Action::Ready, Access::Open),
        row(Method::GET, "/metrics", Dialect::Native, Action::Metrics, Access::LoopbackOrKey(Needs::Admin)),
        row(Method::GET, "/", Dialect::Native, Action::Welcome, Access::Open),
    ]);
    table.extend(runs());
    table.extend(AGENTS.map(|(method, path)| row(method, path, Dialect::Run, Action::Agent, inference)));
    let console = |paths: &[&'static str], does| {
        paths
            .iter()
            .map(|path| row(Method::GET, path, Dialect::Native, does, Access::Open))
            .collect::<Vec<_>>()
    };
    table.push(row(Method::GET, "/.well-known/{rest}", Dialect::Native, Action::Control, Access::Control));
    table.extend(console(console::PAGES, Action::Page));
    table.extend(console(console::ASSETS, Action::Asset));
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        table.push(row(method.clone(), CONTROL, Dialect::Native, Action::Control, Access::Control));
        // Programs that people sign in to are given keys here.
        table.push(row(method.clone(), "/oauth/{rest}", Dialect::Native, Action::Control, Access::Control));
        // The paths of another product's client, which are translated to those.
        table.push(row(method, "/api/v1/{rest}", Dialect::Native, Action::Control, Access::Control));
    }
    // And those of a client whose runs are served as such. At some of them people find pages.
    for (method, path) in inferencesh::routes() {
        if !table.iter().any(|known| known.method == method && known.path == path) {
            table.push(row(method, path, Dialect::Run, Action::Control, Access::Control));
        }
    }
    table
}

/// Runs of apps, and what is done with their tasks and files.
fn runs() -> Vec<Route> {
    let inference = Access::Key(Needs::Inference);
    let call = Action::Dialect(RouteAction::Call(Operation::Run));
    let run = |path| row(Method::POST, path, Dialect::Run, call, inference);
    vec![
        run("/v1/run"),
        run("/run"),
        run("/v1/apps/run"),
        run("/apps/run"),
        row(Method::GET, "/v1/tasks", Dialect::Run, Action::Task, inference),
        row(Method::GET, "/tasks", Dialect::Run, Action::Task, inference),
        row(Method::GET, "/v1/apps", Dialect::Run, Action::App, inference),
        row(Method::GET, "/v1/apps/{rest}", Dialect::Run, Action::App, inference),
        row(Method::POST, "/v1/apps/{rest}", Dialect::Run, Action::App, inference),
        row(Method::GET, "/apps", Dialect::Run, Action::App, inference),
        row(Method::GET, "/apps/{rest}", Dialect::Run, Action::App, inference),
        row(Method::POST, "/apps/{rest}", Dialect::Run, Action::App, inference),
        row(Method::GET, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::POST, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::DELETE, "/v1/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::GET, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::POST, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::DELETE, "/tasks/{rest}", Dialect::Run, Action::Task, inference),
        row(Method::POST, FILES, Dialect::Run, Action::Files, inference),
        row(Method::GET, "/files/{rest}", Dialect::Run, Action::Files, inference),
        row(Method::POST, "/files/{rest}", Dialect::Run, Action::Files, inference),
        row(Method::DELETE, "/files/{rest}", Dialect::Run, Action::Files, inference),
        row(Method::PUT, "/files/{rest}", Dialect::Run, Action::Upload, Access::Open),
        row(Method::GET, "/file-links/{rest}", Dialect::Run, Action::Link, Access::Open),
    ]
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
                    Action::Live
                        | Action::Ready
                        | Action::Welcome
                        | Action::Page
                        | Action::Asset
                        | Action::Upload
                        | Action::Link
                )
            }
            Access::LoopbackOrKey(_) => route.action == Action::Metrics,
            Access::Control => route.action == Action::Control,
            Access::Key(_) => {
                matches!(
                    route.action,
                    Action::Dialect(_)
                        | Action::App
                        | Action::Task
                        | Action::Files
                        | Action::Mcp
                        | Action::A2a
                        | Action::Respond
                        | Action::Response
                        | Action::Conversation
                        | Action::Agent
                )
            }
        };
        if !fits {
            return Err(format!("the route {name} declares {:?}, which it must not have", route.access));
        }
    }
    Ok(())
}

/// The path that is meant where two dialects have the same one, or where it has another name.
pub fn meant_path(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let path = uri.path();
    if let Some(path) = stimulir::meant_path(path).or_else(|| file_path(method, path, headers)) {
        return Some(path);
    }
    dialects::meant_path(path, uri.query().unwrap_or_default(), headers)
}

/// The path of our own files that a path below `/v1` means: OpenAI's API has `/v1/files` too, where its clients send forms, and
/// its own ids.
fn file_path(method: &Method, path: &str, headers: &HeaderMap) -> Option<String> {
    let rest = path.strip_prefix("/v1/files")?;
    let is_ours = match rest.strip_prefix('/') {
        None => rest.is_empty() && *method == Method::POST && !is_form(headers),
        Some("list") => *method == Method::POST,
        Some(below) => below.split('/').next().is_some_and(|id| id.parse::<FileId>().is_ok()),
    };
    is_ours.then(|| format!("{FILES}{rest}"))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|content_type| content_type.to_str().ok());
    content_type.is_none_or(|content_type| !content_type.trim_start().starts_with("application/json"))
}

/// Finds the route of a request. `HEAD` is answered as `GET` without its body.
pub fn find<'t, 'p>(table: &'t [Route], method: &Method, path: &'p str) -> Found<'t, 'p> {
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others: Vec<&Route> = Vec::new();
    for route in table {
        let Some(rest) = rest_of(route.path, path) else { continue };
        // The control plane knows nothing of the paths below its root that are the gateway's.
        if route.path == CONTROL && others.iter().any(|other| other.path != CONTROL) {
            break;
        }
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

/// The address at which a dialect's clients ask a model for something, where one is usual.
pub fn usual_address(table: &[Route], dialect: Dialect, modality: Modality, model: &str) -> Option<String> {
    let model = utf8_percent_encode(model, NON_ALPHANUMERIC);
    let verb = match (dialect, modality) {
        (Dialect::Gemini, Modality::Embedding) => Some("embedContent"),
        (Dialect::Gemini, _) => Some("generateContent"),
        _ => None,
    };
    if let Some(verb) = verb {
        return Some(format!("/v1beta/models/{model}:{verb}"));
    }
    if matches!(dialect, Dialect::Converse | Dialect::Invoke) {
        return Some(format!("/model/{model}/{}", dialect.as_str()));
    }
    table.iter().filter(|route| route.dialect == dialect).find_map(|route| match route.action {
        Action::Dialect(RouteAction::Call(operation)) if operation.modality() == modality => {
            Some(route.path.to_owned())
        }
        Action::Dialect(RouteAction::Realtime) if modality == Modality::Realtime => {
            Some(format!("{}?model={model}", route.path))
        }
        _ => None,
    })
}

/// The dialect of a request at a route: the address tells the two that have the same path apart.
pub(crate) fn dialect_at(route: &Route, addressed: Option<&Addressed>) -> Dialect {
    if addressed.is_some_and(|addressed| addressed.is_invoked) { Dialect::Invoke } else { route.dialect }
}

/// What a request at a route of a dialect does, and what its address says.
pub(crate) fn operation_at(
    route: &Route,
    rest: &str,
    method: &Method,
    query: &str,
) -> Result<(Operation, Option<Box<Addressed>>), Box<Fault>> {
    let (operation, addressed) = match route.action {
        Action::Dialect(RouteAction::Call(Operation::File)) => {
            (Operation::File, Some(upload_address::read(query)))
        }
        Action::Dialect(RouteAction::Call(operation)) => (operation, None),
        Action::Dialect(RouteAction::Compact) => (Operation::Chat, None),
        Action::Dialect(RouteAction::StoredResponse) => {
            let face = dialects::client_face(route.dialect);
            (Operation::Stored, Some(face.read_response_address(method, rest, query)?))
        }
        Action::Dialect(RouteAction::StoredObject(kind)) => {
            let objects = dialects::stored_objects(StoredObjectKind::of(route.dialect, kind));
            let objects = objects.ok_or_else(|| Box::new(Fault::internal()))?;
            (kind.operation(), Some(objects.read_address(method, rest, query)?))
        }
        _ => {
            let face = dialects::client_face(route.dialect);
            let (addressed, operation) = face.read_address(rest, query)?;
            (operation, Some(addressed))
        }
    };
    Ok((operation, addressed.map(Box::new)))
}

/// `true` for a path that the API has, but this release does not.
pub fn is_planned(path: &str) -> bool {
    LATER
        .iter()
        .any(|later| path.strip_prefix(later).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The dialect in which an unknown path is answered.
pub fn dialect_of(path: &str) -> Dialect {
    let meant = stimulir::meant_path(path).or_else(|| aliases::meant(path).map(|alias| alias.path));
    let path = meant.as_deref().unwrap_or(path);
    let is_under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let roots = dialects::roots().chain(RUN_ROOTS.map(|root| (Dialect::Run, root)));
    let longest = roots.filter(|(_, root)| is_under(root)).max_by_key(|(_, root)| root.len());
    longest.map_or(Dialect::Native, |(dialect, _)| dialect)
}

/// The dialect of the model list at a path that several share: their SDKs differ in a header.
pub fn listing_dialect(route: &Route, headers: &HeaderMap) -> Dialect {
    match route.dialect {
        Dialect::Chat => dialects::sdk_dialect(headers).unwrap_or(Dialect::Chat),
        dialect => dialect,
    }
}

/// Copies a key in the query to its header, and passes it on only so: an address is shown in more places.
pub fn take_key(route: &Route, query: &str, headers: &mut HeaderMap) {
    if route.action == Action::Dialect(RouteAction::Realtime) {
        return take_key_of_browser(headers);
    }
    let facts = dialects::client_face(route.dialect).facts();
    let (Some(parameter), Some(header)) = (facts.key_parameter, facts.sdk_header) else { return };
    if headers.contains_key(header) {
        return;
    }
    let key = query.split('&').find_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('='));
    let Some(key) = key.and_then(|key| percent_encoding::percent_decode_str(key).decode_utf8().ok()) else {
        return;
    };
    if let Ok(mut value) = HeaderValue::from_str(&key) {
        value.set_sensitive(true);
        headers.insert(header, value);
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
    use domain::{StoredKind, StoredObjectKind};

    use super::*;

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
            ("POST", "/v1/chat/completions", "Dialect(Call(Chat)) "),
            ("GET", "/v1/chat/completions", "allow POST"),
            ("POST", "/v1/chat/completions/", "nothing"),
            ("POST", "/v1//chat/completions", "nothing"),
            ("POST", "/V1/chat/completions", "nothing"),
            ("POST", "/v1/chat%2fcompletions", "nothing"),
            ("POST", "/v1/../v1/chat/completions", "nothing"),
            ("POST", "/health/live/../../v1/chat/completions", "nothing"),
            ("GET", "/v1/models", "Dialect(ListModels) "),
            ("HEAD", "/v1/models", "Dialect(ListModels) "),
            ("GET", "/v1/models/", "nothing"),
            ("GET", "/v1/models/openai/gpt-4o", "Dialect(ShowModel) openai/gpt-4o"),
            ("DELETE", "/v1/models", "allow GET, HEAD"),
            ("POST", "/apps/run", "Dialect(Call(Run)) "),
            ("GET", "/apps", "App "),
            ("GET", "/v1/apps/openai/gpt-4o", "App openai/gpt-4o"),
            ("POST", "/apps/list", "App list"),
            ("GET", "/tasks/tsk_1/status", "Task tsk_1/status"),
            ("DELETE", "/v1/tasks/tsk_1", "Task tsk_1"),
            ("GET", "/file-links/ws_1/fil_1/2/x", "Link ws_1/fil_1/2/x"),
            ("DELETE", "/file-links/ws_1/fil_1/2/x", "allow GET, HEAD"),
            ("POST", "/mcp", "Mcp "),
            ("PUT", "/mcp", "allow POST, GET, DELETE, HEAD"),
            ("GET", "/mcp/x", "nothing"),
            ("POST", "/a2a/helper", "A2a helper"),
            ("GET", "/a2a/helper/.well-known/agent-card.json", "A2a helper/.well-known/agent-card.json"),
            ("PUT", "/a2a/helper", "allow GET, POST, HEAD"),
            ("POST", "/agents/run", "Agent run"),
            ("GET", "/chats/ses_1/stream", "Agent ses_1/stream"),
            ("POST", "/v1/tools/inv_1_0/invoke", "Agent inv_1_0/invoke"),
            ("POST", "/v2/responses", "Respond "),
            ("GET", "/v2/responses/rsp_1", "Response rsp_1"),
            ("POST", "/v2/responses/rsp_1/cancel", "Response rsp_1/cancel"),
            ("GET", "/v2/responses", "allow POST"),
            ("PUT", "/v2/responses", "allow POST"),
            ("PATCH", "/v2/responses/rsp_1", "allow GET, POST, DELETE, HEAD"),
            ("PUT", "/tasks/tsk_1", "allow GET, POST, DELETE, HEAD"),
            ("GET", "/v1beta/batches", "Dialect(ListObjects(Batch)) "),
            ("GET", "/v1beta/batches/b", "Dialect(StoredObject(Batch)) b"),
            ("POST", "/v1beta/batches/b:cancel", "Dialect(StoredObject(Batch)) b:cancel"),
            ("DELETE", "/v1beta/batches/b", "Dialect(StoredObject(Batch)) b"),
            ("PUT", "/v1beta/batches/b", "allow GET, POST, DELETE, HEAD"),
            ("POST", "/v1beta/cachedContents", "Dialect(Call(CachedContent)) "),
            ("PATCH", "/v1beta/cachedContents/c", "Dialect(StoredObject(CachedContent)) c"),
            ("PUT", "/v1beta/cachedContents/c", "allow GET, PATCH, DELETE, POST, HEAD"),
            (
                "POST",
                "/v1beta/models/m:batchGenerateContent",
                "Dialect(Addressed) models/m:batchGenerateContent",
            ),
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

    fn agent_addresses(path: &str, method: &str) -> &'static [&'static str] {
        match (path, method) {
            ("/agents/{rest}", _) => &["run"],
            ("/chats/{rest}", "GET") => {
                &["{chat_id}", "{chat_id}/status", "{chat_id}/messages", "{chat_id}/stream"]
            }
            ("/chats/{rest}", _) => {
                &["{chat_id}/stop", "{chat_id}/tools/{call_id}/always-allow", "messages/{message_id}/cancel"]
            }
            ("/tools/{rest}", _) => &["{call_id}", "{call_id}/invoke", "{call_id}/reject"],
            _ => &["{interrupt_id}/resolve"],
        }
    }

    /// A route's addresses as the document writes them.
    fn addresses(route: &Route) -> Vec<String> {
        let (method, dialect) = (route.method.as_str(), route.dialect);
        let below: &[&str] = match route.action {
            Action::App if method == "POST" => &["list"],
            Action::App => &["{app_name}"],
            Action::Task => match method {
                "GET" if !route.path.ends_with('}') => &[""],
                "GET" => &[
                    "{task_id}",
                    "{task_id}/status",
                    "{task_id}/logs",
                    "{task_id}/timings",
                    "{task_id}/stream",
                    "{task_id}/files",
                ],
                "POST" => &["list", "{task_id}/cancel", "{task_id}/retry", "{task_id}/rating"],
                _ => &["{task_id}", "{task_id}/files"],
            },
            Action::Conversation if route.path.ends_with('}') => match method {
                "GET" => {
                    &["{conversation_id}", "{conversation_id}/items", "{conversation_id}/items/{item_id}"]
                }
                "POST" => &["{conversation_id}", "{conversation_id}/items"],
                _ => &["{conversation_id}", "{conversation_id}/items/{item_id}"],
            },
            Action::Agent => agent_addresses(route.path.trim_start_matches("/v1"), method),
            Action::Response => match method {
                "POST" => &["{response_id}/cancel"],
                _ => &["{response_id}"],
            },
            Action::Dialect(RouteAction::StoredResponse) => match method {
                "GET" => &["{response_id}", "{response_id}/input_items"],
                "POST" => &["{response_id}/cancel"],
                _ => &["{response_id}"],
            },
            Action::Dialect(RouteAction::StoredObject(StoredKind::Batch)) => match (dialect, method) {
                (Dialect::Anthropic, "GET") => &["{message_batch_id}", "{message_batch_id}/results"],
                (Dialect::Converse, "GET") => &["{job_identifier}"],
                (Dialect::Converse, _) => &["{job_identifier}/stop"],
                (Dialect::Gemini, "POST") => &["{batch_id}:cancel"],
                (Dialect::Gemini, _) | (_, "GET") => &["{batch_id}"],
                (_, "DELETE") => &["{message_batch_id}"],
                (Dialect::Anthropic, _) => &["{message_batch_id}/cancel"],
                _ => &["{batch_id}/cancel"],
            },
            Action::Dialect(RouteAction::StoredObject(StoredKind::Video)) => match method {
                "GET" => &["{video_id}", "{video_id}/content"],
                "POST" => &["{video_id}/remix"],
                _ => &["{video_id}"],
            },
            Action::Dialect(RouteAction::StoredObject(StoredKind::CachedContent)) => &["{cached_content_id}"],
            Action::Files if method == "POST" => &["list"],
            Action::Files | Action::Dialect(RouteAction::StoredObject(_)) => match method {
                "GET" => &["{file_id}", "{file_id}/content"],
                _ => &["{file_id}"],
            },
            Action::Mcp => &[""],
            Action::A2a if method == "GET" => &["{agent_name}/.well-known/agent-card.json"],
            Action::A2a => &["{agent_name}"],
            Action::Upload => &["{file_id}/upload/{token}"],
            Action::Link => &["{workspace_id}/{file_id}/{until}/{signature}"],
            _ => &["{model}"],
        };
        // Clients know these paths by a name that another dialect has, too.
        let path = route.path.replace("/v1/messages/files", "/v1/files");
        below.iter().map(|below| path.replace(REST, below)).collect()
    }

    #[test]
    fn what_is_kept_is_addressed_as_its_kind_is() {
        let kinds = [
            (Dialect::Chat, StoredKind::File),
            (Dialect::Chat, StoredKind::Batch),
            (Dialect::Anthropic, StoredKind::Batch),
        ]
        .map(|(dialect, kind)| dialects::stored_objects(StoredObjectKind::of(dialect, kind)).unwrap());
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
            let read = kinds.map(|objects| objects.read_address(&method.parse().unwrap(), rest, "").is_ok());
            assert_eq!(read, by_kind, "{method} {rest}");
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
        assert!(is_planned("/v1/uploads/u_1"));
        assert!(!is_planned("/v1/image") && !is_planned("/v1/imagesx") && !is_planned("/v1/chat"));
    }
}
