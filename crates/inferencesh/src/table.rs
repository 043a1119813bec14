//! The calls, each with what does it, or with what to use instead.

use compat::table::{Instead, Row, delete, get, instead, post, put};
use http::Method;

use crate::{agents, chats, engines, flows, keys, projects, secrets, servers, sessions, teams};

const OF_APPS: &str = "Declare a server as an app with POST /v2/apps; models, tools, agents and flows are already apps (docs/apps.md).";
const PRIVATE: &str = "Everything belongs to its project, and its workspace's roles say who may read it: PATCH /v2/members/{id}.";
const VERSIONS: &str =
    "Models have no versions here: point an alias at one and move it, POST /v2/model-aliases.";
const COPY: &str = "Read it, and make a new one from it with POST.";
const TELEMETRY: &str =
    "GET /tasks/{id}/timings says how long each step took, and GET /v2/requests what each cost.";
const FLOWS: &str =
    "Flows have documents of another form here: POST /v2/flows, or `tidegate flow` (docs/flows.md).";
const RUN_TASKS: &str = "GET /flowruns/{id}/stream shows each step with its task.";
const RUNS: &str =
    "A run does not change: POST /flowruns starts another one, POST /flowruns/{id}/cancel ends this one.";
const CHATS: &str = "GET /chats/{id} shows the chat's agent, its messages, and the calls that wait.";
const MESSAGES: &str = "POST /agents/run sends a message, and begins a chat if there is none yet.";
const CARD: &str = "GET /agents/{id} shows what an agent does.";
const SECRETS: &str = "A secret is sealed on arrival and never shown. PUT /secrets/{name} replaces it.";
const CREDENTIALS: &str =
    "POST /v2/provider-credentials stores a provider's credential, and POST /v2/tools a tool's.";
const STORE: &str =
    "Declare the server for the project: POST /v2/mcp-servers. Models call its tools with `Agent-Tools`.";
const MACHINES: &str =
    "Start `tidegate node` on the machine, and join it: `tidegate nodes invite` (docs/node.md).";
const SKILLS: &str = "Write what an agent must know into its instructions: POST /v2/agents. POST /v2/artifacts stores documents.";
const ARTIFACTS: &str = "POST /v2/artifacts stores what agents make; nothing shows it as a page.";
const SEARCH: &str = "POST /apps/list with a search term lists apps.";
const SOCKETS: &str = "Open a realtime session at /v1/realtime?model=….";
const TEAMS: &str = "The operator makes and removes workspaces: POST /v2/workspaces.";

/// What has no counterpart, whatever the method, with what to use.
pub(crate) const INSTEAD: &[Instead] = &[
    (
        &[
            "apps/{id}/duplicate",
            "apps/{namespace}/{id}/duplicate",
            "apps/{id}/status",
            "apps/{namespace}/{id}/status",
            "apps/{id}/license",
            "apps/{namespace}/{id}/license",
            "agents/{id}/duplicate",
            "flows/{id}/duplicate",
        ],
        COPY,
    ),
    (
        &[
            "apps/{id}/transfer",
            "apps/{namespace}/{id}/transfer",
            "apps/{id}/visibility",
            "apps/{namespace}/{id}/visibility",
            "tasks/{id}/visibility",
            "tasks/{id}/featured",
            "tasks/featured",
            "agents/{id}/visibility",
            "agents/{id}/transfer",
            "flows/{id}/visibility",
            "flows/{id}/transfer",
            "flowruns/{id}/visibility",
        ],
        PRIVATE,
    ),
    (
        &[
            "apps/{id}/versions/list",
            "apps/{namespace}/{id}/versions/list",
            "apps/{id}/versions/{version}",
            "apps/{namespace}/{id}/versions/{version}",
            "apps/{id}/versions/{version}/current",
            "apps/{namespace}/{id}/versions/{version}/current",
        ],
        VERSIONS,
    ),
    (&["tasks/{id}/telemetry"], TELEMETRY),
    (&["flows/{id}/app"], OF_APPS),
    (&["flowruns/{id}/tasks/stream"], RUN_TASKS),
    (&["chats/{id}/agent", "chats/{id}/trace", "agent-runs/{rest}"], CHATS),
    (&["secrets/reveal/{name}"], SECRETS),
    (&["credentials", "credentials/{rest}"], CREDENTIALS),
    (&["mcps/{rest}"], STORE),
    (&["engines", "engines/resources", "engines/{id}/{act}"], MACHINES),
    (&["knowledge", "knowledge/{rest}", "skills", "skills/{rest}", "store/{rest}"], SKILLS),
    (&["artifacts", "artifacts/{rest}"], ARTIFACTS),
    (&["search", "suggest"], SEARCH),
    (&["sockets/{rest}"], SOCKETS),
];

/// Every call that does something, and those of which another method is served.
pub(crate) const ROWS: &[Row] = &[
    get("me", &teams::me),
    get("teams", &teams::list),
    instead(Method::POST, "teams", TEAMS),
    instead(Method::GET, "teams/check-username", TEAMS),
    get("teams/{id}", &teams::read),
    instead(Method::POST, "teams/{id}", TEAMS),
    instead(Method::DELETE, "teams/{id}", TEAMS),
    get("teams/{id}/members", &teams::members),
    post("teams/{id}/members", &teams::add),
    delete("teams/{id}/members/{member}", &teams::remove),
    post("teams/{id}/members/{member}/role", &teams::change_role),
    get("teams/{id}/invites", &teams::invites),
    post("teams/{id}/invites", &teams::add),
    delete("teams/{id}/invites/{member}", &teams::remove),
    post("apikeys/list", &keys::list),
    post("apikeys", &keys::make),
    delete("apikeys/{id}", &keys::revoke),
    post("secrets/list", &secrets::list),
    post("secrets", &secrets::make),
    put("secrets/{name}", &secrets::change),
    delete("secrets/{name}", &secrets::remove),
    post("projects/list", &projects::list),
    post("projects", &projects::make),
    get("projects/{id}", &projects::read),
    post("projects/{id}", &projects::change),
    delete("projects/{id}", &projects::remove),
    post("mcp-servers/list", &servers::list),
    post("mcp-servers", &servers::make),
    get("mcp-servers/{id}", &servers::read),
    put("mcp-servers/{id}", &servers::change),
    delete("mcp-servers/{id}", &servers::remove),
    post("engines/list", &engines::list),
    get("engines/{id}", &engines::read),
    instead(Method::POST, "engines/{id}", MACHINES),
    delete("engines/{id}", &engines::remove),
    post("agents/list", &agents::list),
    post("agents", &agents::make),
    instead(Method::GET, "agents/internal-tools", CARD),
    instead(Method::GET, "agents/{id}/card", CARD),
    get("agents/{id}", &agents::read),
    post("agents/{id}", &agents::change),
    delete("agents/{id}", &agents::remove),
    post("agents/{id}/versions/list", &agents::versions),
    get("agents/{id}/versions/{version}", &agents::version),
    get("agents/{namespace}/{name}", &agents::read),
    get("sessions", &sessions::list),
    get("sessions/{id}", &sessions::read),
    post("sessions/{id}/keepalive", &sessions::keep_alive),
    delete("sessions/{id}", &sessions::end),
    post("chats/list", &chats::list),
    delete("chats/{id}", &chats::remove),
    instead(Method::POST, "chats", MESSAGES),
    instead(Method::POST, "chats/{id}", CHATS),
    instead(Method::POST, "chats/{id}/messages", MESSAGES),
    post("flows/list", &flows::list),
    instead(Method::POST, "flows", FLOWS),
    get("flows/{id}", &flows::read),
    instead(Method::POST, "flows/{id}", FLOWS),
    delete("flows/{id}", &flows::remove),
    post("flows/{id}/versions/list", &flows::versions),
    post("flowruns/list", &flows::runs),
    post("flowruns/{id}/clone", &flows::clone_run),
    instead(Method::POST, "flowruns/{id}", RUNS),
    instead(Method::POST, "apps", OF_APPS),
    instead(Method::POST, "apps/{id}", OF_APPS),
    instead(Method::DELETE, "apps/{id}", OF_APPS),
    instead(Method::POST, "apps/{namespace}/{id}", OF_APPS),
    instead(Method::DELETE, "apps/{namespace}/{id}", OF_APPS),
];

macro_rules! paths {
    ($($name:literal),* $(,)?) => {
        [$(
            concat!("/", $name), concat!("/", $name, "/{rest}"),
            concat!("/v1/", $name), concat!("/v1/", $name, "/{rest}"),
        )*]
    };
}

/// The paths below which there are these calls alone, in the form of the gateway's route table.
const OWN: [&str; 76] = paths![
    "me",
    "teams",
    "apikeys",
    "projects",
    "mcp-servers",
    "mcps",
    "engines",
    "agent-runs",
    "flows",
    "secrets",
    "credentials",
    "knowledge",
    "skills",
    "store",
    "artifacts",
    "search",
    "suggest",
    "sockets",
    "sessions",
];

/// Methods that these calls have alone at paths where `run` serves others. Where both have one, `takes` tells them apart.
const BESIDE: [(Method, [&str; 2]); 8] = [
    (Method::POST, ["/agents", "/v1/agents"]),
    (Method::GET, ["/agents/{rest}", "/v1/agents/{rest}"]),
    (Method::DELETE, ["/agents/{rest}", "/v1/agents/{rest}"]),
    (Method::POST, ["/chats", "/v1/chats"]),
    (Method::DELETE, ["/chats/{rest}", "/v1/chats/{rest}"]),
    (Method::POST, ["/apps", "/v1/apps"]),
    (Method::PUT, ["/apps/{rest}", "/v1/apps/{rest}"]),
    (Method::DELETE, ["/apps/{rest}", "/v1/apps/{rest}"]),
];
/// The first segments of the paths that `run` has too.
const SHARED: [&str; 5] = ["agents", "apps", "chats", "flowruns", "tasks"];

/// The routes of these calls, for the gateway's table.
pub fn routes() -> impl Iterator<Item = (Method, &'static str)> {
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let own = methods.into_iter().flat_map(|method| OWN.map(|path| (method.clone(), path)));
    own.chain(BESIDE.into_iter().flat_map(|(method, paths)| paths.map(|path| (method.clone(), path))))
}

/// Whether paths that begin with this segment are theirs, or `run`'s as well.
pub(crate) fn has_segment(segment: &str) -> bool {
    SHARED.contains(&segment) || OWN.iter().any(|path| path.strip_prefix('/') == Some(segment))
}
