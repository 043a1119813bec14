//! Wrong inputs over the API and the command line, each judged by a checklist: its answer says what is wrong, where it is and how
//! to mend it. The table is `docs/wrong-inputs.md`.

use std::fmt::Write as _;

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, with};
use crate::command::workspace;
use crate::gateway::Gateway;

const JSON: (&str, &str) = ("content-type", "application/json");
/// A message without `max_tokens`.
const UNBOUNDED: &str = r#"{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"hi"}]}"#;
const NOWHERE: &str = "/nonexistent.json";
const AZURE_KEY: &str = "0123456789abcdef0123456789abcdef";
/// With what a fix begins that tells its reader to do something.
const IMPERATIVES: &str = "Add|Ask|Begin|Change|Check|Choose|Connect|Copy|Correct|Create|Declare|\
    Did you mean|Each|Get|Give|Leave|Make|Name|Open|Pass|Pipe|Put|Raise|Remove|Replace|Rotate|Run|Send|\
    Set|Shorten|Sign|Spell|Start|Take|Try|Use|Wait|Write";

/// An input, what is wrong in it, and the field, path, option or line where it is.
struct Case {
    input: Input,
    wrong: &'static str,
    place: &'static str,
}

enum Input {
    Api(Method, &'static str, Value),
    Raw(&'static str, &'static str),
    Chat(Value),
    /// A chat with these headers: with the project's key, or without any.
    Headed(Headers),
    Bare(Headers),
    Command(&'static [&'static str], &'static str),
}

type Headers = &'static [(&'static str, &'static str)];

fn api(method: Method, path: &'static str, body: Value, wrong: &'static str, place: &'static str) -> Case {
    Case { input: Input::Api(method, path, body), wrong, place }
}

fn post(path: &'static str, body: Value, wrong: &'static str, place: &'static str) -> Case {
    api(Method::POST, path, body, wrong, place)
}

fn get(path: &'static str, wrong: &'static str, place: &'static str) -> Case {
    api(Method::GET, path, Value::Null, wrong, place)
}

fn chat(more: Value, wrong: &'static str, place: &'static str) -> Case {
    Case { input: Input::Chat(more), wrong, place }
}

fn raw(path: &'static str, body: &'static str, wrong: &'static str, place: &'static str) -> Case {
    Case { input: Input::Raw(path, body), wrong, place }
}

fn command(arguments: &'static [&'static str], wrong: &'static str, place: &'static str) -> Case {
    piped(arguments, "", wrong, place)
}

fn piped(
    arguments: &'static [&'static str],
    stdin: &'static str,
    wrong: &'static str,
    place: &'static str,
) -> Case {
    Case { input: Input::Command(arguments, stdin), wrong, place }
}

fn bare(headers: Headers, wrong: &'static str, place: &'static str) -> Case {
    Case { input: Input::Bare(headers), wrong, place }
}

fn with_headers(headers: Headers, wrong: &'static str, place: &'static str) -> Case {
    Case { input: Input::Headed(headers), wrong, place }
}

/// Names and ids of what isn't there.
fn nothing_there() -> Vec<Case> {
    vec![
        get("/v2/api-keys/ci", "\"ci\"", "key"),
        api(Method::DELETE, "/v2/budgets/nope", Value::Null, "\"nope\"", "budget"),
        get("/v2/projects/nope", "\"nope\"", "project"),
        get("/v2/provider-credentials/nope", "\"nope\"", "credential"),
        get("/v2/subscription-credentials/nope", "\"nope\"", "subscription"),
        get("/v2/accounts/nope", "\"nope\"", "account"),
        get("/v2/byoc/nodes/attic", "\"attic\"", "node"),
        get("/v2/policies/nope", "\"nope\"", "policy"),
        get("/v2/webhooks/nope", "\"nope\"", "webhook"),
        get("/v2/members/ada@example.com", "ada@example.com", "member"),
        get("/v2/agents/nope", "\"nope\"", "agent"),
        get("/v2/tools/nope", "\"nope\"", "tool"),
        get("/v2/apps/nope", "\"nope\"", "app"),
        get("/v2/flows/nope", "\"nope\"", "flow"),
        get("/v2/secrets/nope", "\"nope\"", "secret"),
        get("/v2/data-planes/nope", "\"nope\"", "data plane"),
        get("/v2/projects/prj_01900000000070008000000000000000", "prj_0190", "project"),
        get("/v2/requests/trc_01900000000070008000000000000000", "trc_0190", "request"),
        get("/v2/api-key", "/v2/api-key", "/v2"),
        get("/v2/requests/list", "\"list\"", "/v2/requests"),
        get("/v2/api-keys?project_id=nope", "\"nope\"", "project_id"),
        get("/v2/usage?key_id=nope", "\"nope\"", "key_id"),
        get("/v2/requests/chatcmpl-123", "chatcmpl-123", "request"),
        get("/v2/billing/invoices/2026-13", "2026-13", "invoice"),
        get("/v2/sessions/nope", "nope", "session"),
    ]
}

/// Fields of `/v2` that are wrong.
fn wrong_fields() -> Vec<Case> {
    let secret = "sk-0123456789abcdef";
    let own = |more: Value, wrong, place| {
        let body = with(json!({"provider": "openai", "secret": secret}), more);
        post("/v2/provider-credentials", body, wrong, place)
    };
    vec![
        post("/v2/api-keys", json!({"name": ""}), "name", "name"),
        post("/v2/api-keys", json!({"nmae": "x"}), "nmae", "nmae"),
        post("/v2/api-keys", json!({"name": 4}), "4", "name"),
        post("/v2/api-keys", json!({"name": "x", "project_id": "checkout"}), "\"checkout\"", "project_id"),
        post("/v2/api-keys", json!({"name": "x", "scopes": ["root"]}), "root", "scopes"),
        post("/v2/api-keys", json!({"name": "x", "expires_in_days": 0}), "0", "expires_in_days"),
        post("/v2/api-keys", json!({"name": "x", "ip_allowlist": ["nowhere"]}), "nowhere", "ip_allowlist"),
        post("/v2/api-keys", json!({"name": "x", "limits": {"rpm": -1}}), "unknown field", "limits.rpm"),
        post("/v2/api-keys", json!({"name": "x", "limits": {"rpms": 1}}), "rpms", "limits.rpms"),
        post("/v2/api-keys", json!({"name": "x", "limits": {"requests_per_minute": "5"}}), "5", "limits"),
        post("/v2/projects", json!({"name": "x", "enviroment": "production"}), "enviroment", "enviroment"),
        post("/v2/projects", json!({}), "name", "name"),
        post("/v2/projects", json!({"name": "default"}), "default", "project"),
        post("/v2/projects", json!({"name": "x", "environment": "Live!"}), "environment", "environment"),
        own(json!({"provider": "opneai"}), "opneai", "provider"),
        own(json!({"provider": null}), "provider", "provider"),
        own(json!({"secret": null}), "secret", "secret"),
        own(json!({"base_url": "not a url"}), "base_url", "base_url"),
        own(json!({"auth": "password"}), "password", "auth"),
        post("/v2/byoc/nodes", json!({"name": "attic"}), "base_url", "base_url"),
        post("/v2/byoc/nodes", json!({"name": "attic", "base_url": "ftp://x"}), "ftp", "base_url"),
    ]
}

/// Fields of budgets, routes and webhooks that are wrong.
fn wrong_rules() -> Vec<Case> {
    let budget = |more: Value, wrong, place| {
        post("/v2/budgets", with(json!({"workspace": true, "limit_micros": 9}), more), wrong, place)
    };
    let webhook = |body: Value, wrong, place| post("/v2/webhooks", body, wrong, place);
    vec![
        post("/v2/budgets", json!({"workspace": true}), "limit_micros", "limit_micros"),
        post("/v2/budgets", json!({"limit_micros": 1_000}), "budget", "workspace"),
        post("/v2/budgets", json!({"workspace": true, "limit_micros": "9"}), "9", "limit_micros"),
        post("/v2/routes", json!({"scope": {"model": 5}}), "5", "scope.model"),
        post("/v2/budgets", json!({"workspace": true, "limit_micros": 0}), "0", "limit_micros"),
        budget(json!({"period": "fortnight"}), "fortnight", "period"),
        budget(json!({"on_reached": "explode"}), "explode", "on_reached"),
        budget(json!({"alerts": [0]}), "alert", "alerts"),
        post("/v2/budgets", json!({"project_id": "nope", "limit_micros": 9}), "\"nope\"", "project_id"),
        post("/v2/routes", json!({"scope": {"modle": "x"}}), "modle", "scope.modle"),
        post("/v2/routes", json!({"profiles": ["manged"]}), "manged", "profiles"),
        post("/v2/routes", json!({"byok_fallback": "sometimes"}), "sometimes", "byok_fallback"),
        post("/v2/routes", json!({"credential_ids": ["nope"]}), "\"nope\"", "credential_ids[0]"),
        post("/v2/routes", json!({"strategy": "luck"}), "luck", "strategy"),
        post("/v2/policies", json!({"project_id": "nope"}), "\"nope\"", "project_id"),
        webhook(json!({"url": "nowhere"}), "url", "url"),
        webhook(json!({"url": "https://example.com", "events": ["budget.x"]}), "budget.x", "events"),
    ]
}

/// Fields of members, and queries, that are wrong.
fn wrong_queries() -> Vec<Case> {
    vec![
        post("/v2/members", json!({"email": "nobody", "role": "admin"}), "email", "email"),
        post("/v2/members", json!({"email": "a@example.com", "role": "king"}), "king", "role"),
        post("/v2/plan", json!({}), "model", "model"),
        get("/v2/usage?group_by=modle", "modle", "group_by"),
        get("/v2/usage?window=fortnight", "fortnight", "window"),
        get("/v2/usage?by=model", "by", "by"),
        get("/v2/usage?limit=1&limit=2", "limit", "limit"),
        get("/v2/requests?limit=0", "0", "limit"),
        get("/v2/requests?cursor=x", "cursor", "cursor"),
        get("/v2/requests?filter=modle:x", "modle", "filter"),
        get("/v2/requests?filter=since:soon", "soon", "filter"),
        api(Method::PUT, "/v2/usage", json!({}), "PUT", "/v2/usage"),
        raw("/v2/api-keys", "{\"name\": ", "EOF", "line 1"),
        raw("/v2/api-keys", "{\"name\":\"a\"} x", "goes on", "body"),
        raw("/v2/api-keys", "[]", "object", "body"),
    ]
}

/// Requests of models that are wrong.
fn wrong_requests() -> Vec<Case> {
    vec![
        chat(json!({"model": null}), "model", "model"),
        chat(json!({"model": "gpt-4o-mni"}), "gpt-4o-mni", "model"),
        chat(json!({"model": "nothing-like-it"}), "nothing-like-it", "model"),
        chat(json!({"model": 4}), "model", "model"),
        chat(json!({"messages": null}), "messages", "messages"),
        chat(json!({"messages": []}), "messages", "messages"),
        chat(json!({"messages": "hi"}), "messages", "messages"),
        chat(json!({"messages": [{"content": "x"}]}), "role", "messages[0].role"),
        chat(json!({"messages": [{"role": "boss", "content": "x"}]}), "boss", "messages[0].role"),
        chat(json!({"temperature": "hot"}), "temperature", "temperature"),
        chat(json!({"temperature": 9}), "temperature", "temperature"),
        chat(json!({"max_tokens": -1}), "max_tokens", "max_tokens"),
        chat(json!({"max_tokens": "many"}), "max_tokens", "max_tokens"),
        chat(json!({"n": 0}), "n", "n"),
        chat(json!({"stream": "yes"}), "stream", "stream"),
        chat(json!({"model": "tide-1", "tempreature": 0.5}), "tempreature", "tempreature"),
        chat(json!({"model": "tide-1", "max_tokns": 5}), "max_tokns", "max_tokns"),
        raw(CHAT, "{\"model\":\"x\",}", "byte", "byte"),
        raw(CHAT, "", "no body", "body"),
        raw("/v1/chat/completion", "{}", "/v1/chat/completion", "/v1/chat/completion"),
        raw("/v1/embeddings", "{\"model\":\"text-embedding-3-small\"}", "input", "input"),
        raw("/v1/messages", UNBOUNDED, "max_tokens", "max_tokens"),
        raw("/v1/responses", "{\"model\":\"gpt-4o-mini\"}", "input", "input"),
    ]
}

fn wrong_commands() -> Vec<Case> {
    vec![
        command(&["key", "revoke", "ci", "--yes"], "ci", "key"),
        command(&["key", "show", "nope"], "nope", "key"),
        command(&["key", "create"], "name", "name"),
        command(&["key", "create", "x", "--project", "nope"], "nope", "project"),
        command(&["key", "crate"], "crate", "crate"),
        command(&["budget", "remove", "nope", "--yes"], "nope", "budget"),
        command(&["budget", "show", "nope"], "nope", "budget"),
        command(&["budget", "add", "--workspace", "--limit", "x"], "x", "--limit"),
        command(&["nodes", "show", "attic"], "attic", "node"),
        command(&["nodes", "drain", "attic"], "attic", "node"),
        command(&["project", "show", "nope"], "nope", "project"),
        command(&["project", "remove", "nope", "--yes"], "nope", "project"),
        command(&["credential", "show", "nope"], "nope", "credential"),
        command(&["credential", "rotate", "nope"], "nope", "credential"),
        command(&["credential", "add", "opneai"], "opneai", "provider"),
        command(&["webhook", "show", "nope"], "nope", "webhook"),
        // The address isn't repeated: of some services, it is the secret.
        command(&["webhook", "add", "nowhere"], "no scheme", "url"),
        command(&["member", "show", "ada@example.com"], "ada@example.com", "member"),
        command(&["account", "show", "nope"], "nope", "account"),
        command(&["route", "add", "--profile", "manged"], "manged", "profile"),
        command(&["route", "add", "--strategy", "luck"], "luck", "strategy"),
        command(&["route", "show", "nope"], "nope", "route"),
        command(&["alias", "show", "nope"], "nope", "alias"),
        command(&["agent", "show", "nope"], "nope", "agent"),
        command(&["usage", "--by", "modle"], "modle", "by"),
        command(&["usage", "--window", "x"], "x", "window"),
        command(&["usage", "--filter", "modle:x"], "modle", "filter"),
        command(&["request", "nope"], "nope", "request"),
        command(&["plan", "tide-1", "--project", "nope"], "nope", "project"),
        command(&["chat", "no-such-model", "hi"], "no-such-model", "model"),
        command(&["apply", "-f", "/nonexistent/tide.toml"], "/nonexistent/tide.toml", "/nonexistent"),
        command(&["frobnicate"], "frobnicate", "frobnicate"),
        command(&["usage", "--no-such-option"], "--no-such-option", "--no-such-option"),
        command(&["api", "GET", "/v2/nope"], "/v2/nope", "/v2/nope"),
        command(&["export", "--format", "xls"], "xls", "format"),
        command(&["policy", "show", "nope"], "nope", "policy"),
        command(&["serve", "--listen", "nowhere"], "nowhere", "listen"),
        command(&["credential", "add", "openai", "--api-key", "sk-0123456789abcdef"], "secret", "argument"),
        command(&["credential", "add", "openai", "sk-0123456789abcdef"], "secret", "argument"),
        piped(&["credential", "add", "azure"], AZURE_KEY, "missing", "config.deployments"),
        command(&["request", "chatcmpl-123"], "chatcmpl-123", "request"),
        command(&["billing", "invoice", "2026-13"], "2026-13", "invoice"),
        command(&["plan", "anthropic/claude-haiku-4-5"], "claude-haiku-4-5", "model"),
        command(&["route", "add", "--profil", "byok"], "--profil", "--profil"),
        command(&["budget", "add", "--workspce", "--limit", "5"], "--workspce", "--workspce"),
        command(&["nodes", "add", "attic"], "--base-url", "--base-url"),
        command(&["logs", "tial"], "tial", "tial"),
    ]
}

/// Keys, budgets, webhooks and alerts as newcomers send them.
fn first_fields() -> Vec<Case> {
    let key =
        |more: Value, wrong, place| post("/v2/api-keys", with(json!({"name": "x"}), more), wrong, place);
    let budget = |more: Value, wrong, place| {
        post("/v2/budgets", with(json!({"workspace": true, "limit_micros": 9}), more), wrong, place)
    };
    let webhook = |more: Value, wrong, place| {
        post("/v2/webhooks", with(json!({"url": "https://example.com"}), more), wrong, place)
    };
    let alert = |more: Value, wrong, place| {
        post("/v2/alert-rules", with(json!({"metric": "error_percent", "threshold": 5}), more), wrong, place)
    };
    let both = json!({"expires_at": "2030-01-01T00:00:00Z", "expires_in_days": 30});
    vec![
        key(json!({"scopes": "read"}), "read", "scopes"),
        key(json!({"expires_in_days": "30"}), "30", "expires_in_days"),
        key(json!({"expires_at": "tomorrow"}), "tomorrow", "expires_at"),
        key(both, "two expiries", "expires_at"),
        key(json!({"priority": 300}), "300", "priority"),
        key(json!({"environment": "Production"}), "Production", "environment"),
        key(json!({"name": "."}), "\".\"", "name"),
        key(json!({"name": " "}), "empty", "name"),
        key(json!({"name": "key_01900000000070008000000000000000"}), "key_0190", "name"),
        budget(json!({"limit_micros": -5}), "-5", "limit_micros"),
        budget(json!({"limit_micros": 2.5}), "2.5", "limit_micros"),
        budget(json!({"limit_usd": 5}), "limit_usd", "limit_usd"),
        budget(json!({"project_id": "default"}), "exactly one", "workspace"),
        budget(json!({"alerts": [150]}), "150", "alerts"),
        budget(json!({"counts": "spend"}), "spend", "counts"),
        budget(json!({"workspace": false, "end_user": ""}), "end user", "end_user"),
        webhook(json!({"format": "teams"}), "teams", "format"),
        webhook(json!({"secret": "x"}), "secret", "secret"),
        webhook(json!({"url": "https://example.com?token=1"}), "query", "url"),
        alert(json!({"metric": "latency"}), "latency", "metric"),
        alert(json!({"threshold": null}), "threshold", "threshold"),
        alert(json!({"threshold": 150}), "150", "threshold"),
        alert(json!({"window_minutes": 0}), "0", "window_minutes"),
    ]
}

/// Routes, aliases, members and policies as newcomers send them.
fn first_rules() -> Vec<Case> {
    let scope = |scope: Value, wrong, place| post("/v2/routes", json!({"scope": scope}), wrong, place);
    let alias = |name: &str, targets: Value, wrong, place| {
        post("/v2/model-aliases", json!({"name": name, "targets": targets}), wrong, place)
    };
    let time = json!({"time": {"from": "9am", "to": "17:00"}});
    vec![
        scope(json!({"modality": "images"}), "images", "scope.modality"),
        scope(json!({"model": "openai/*-mini"}), "*", "scope.model"),
        scope(json!({"model": "*"}), "everything", "scope.model"),
        scope(json!({"alias": "fast"}), "\"fast\"", "scope.alias"),
        scope(json!({"environment": "Prod"}), "Prod", "scope.environment"),
        post("/v2/routes", json!({"fallback_on": ["everything"]}), "everything", "fallback_on"),
        post("/v2/routes", json!({"priority": -1}), "-1", "priority"),
        post("/v2/routes", json!({"deadline_ms": 0}), "0", "deadline_ms"),
        post("/v2/routes", json!({"emergency": "yes"}), "yes", "emergency"),
        post("/v2/routes", json!({"when": time}), "9am", "when.time.from"),
        alias("Fast Model", json!([{"model": MINI}]), "Fast Model", "name"),
        alias("gpt-4o", json!([{"model": MINI}]), "gpt-4o", "name"),
        alias("fast", json!([]), "this has 0", "targets"),
        alias("fast", json!([{"model": MINI, "weight": 0}]), "weight 0", "targets"),
        alias("fast", json!([MINI]), "object", "targets[0]"),
        post("/v2/members", json!({"email": "a@example.com"}), "role", "role"),
        post("/v2/policies", json!({"workspace": true, "project_id": "default"}), "both", "workspace"),
        post("/v2/policies", json!({}), "missing", "project_id"),
    ]
}

/// Credentials, nodes and paths as newcomers send them.
fn first_seats() -> Vec<Case> {
    let secret = "sk-0123456789abcdef";
    let own = |provider: &str, secret: &str, more: Value, wrong, place| {
        let body = json!({"provider": provider, "secret": secret, "base_url": "https://example.com/v1"});
        post("/v2/provider-credentials", with(body, more), wrong, place)
    };
    let markup = json!({"provider": "openai", "secret": secret, "markup_bps": "10%"});
    let attic = json!({"name": "attic", "base_url": "http://127.0.0.1:1/v1", "status": "off"});
    vec![
        own("openrouter", secret, json!({}), "openrouter", "provider"),
        own("My LLM", secret, json!({}), "My LLM", "provider"),
        own("openai", "sk 0123", json!({}), "secret", "secret"),
        own("openai", secret, json!({"base_url": "https://user:pw@example.com/v1"}), "user name", "base_url"),
        post("/v2/accounts", json!({"provider": "ollama", "secret": secret}), "ollama", "provider"),
        post("/v2/accounts", markup, "10%", "markup_bps"),
        post("/v2/byoc/nodes", attic, "off", "status"),
        post("/v2/byoc/nodes/join", json!({"token": "nope"}), "unknown", "token"),
        post("/v2/keys", json!({"name": "x"}), "/v2/keys", "/v2/api-keys"),
        get("/v2/nodes", "/v2/nodes", "/v2/byoc/nodes"),
        get("/v2/credentials", "/v2/credentials", "/v2/provider-credentials"),
        get("/v2/usage?from=2026-01-01", "from", "from"),
        get("/v2/requests?limit=all", "all", "limit"),
        api(Method::DELETE, "/v2/usage", Value::Null, "DELETE", "/v2/usage"),
        // These addresses serve chats, too.
        raw("/chat/completions", "{}", "missing", "model"),
        raw("/v1/v1/chat/completions", "{}", "missing", "model"),
    ]
}

/// Keys and headers of newcomers.
fn first_heads() -> Vec<Case> {
    vec![
        bare(&[JSON], "no API key", "Authorization"),
        bare(&[JSON, ("authorization", "Bearer sk-proj-somebody")], "tg_live_", "key"),
        bare(&[JSON, ("authorization", "sk-proj-somebody")], "Bearer KEY", "Authorization"),
        with_headers(&[("content-type", "text/plain")], "text/plain", "content-type"),
        with_headers(&[JSON, ("content-encoding", "compress")], "compress", "Content-Encoding"),
        with_headers(&[JSON, ("idempotency-key", "")], "empty", "Idempotency-Key"),
    ]
}

/// Commands as newcomers type them.
fn first_commands() -> Vec<Case> {
    vec![
        command(&["key", "create", "x", "--expires-in-days", "soon"], "soon", "--expires-in-days"),
        command(&["budget", "add", "--limit", "x"], "\"x\"", "limit"),
        command(&["budget", "add", "--limit", "5", "--period", "hourly"], "hourly", "period"),
        command(&["budget", "add", "--limit", "5", "--project", "nope"], "nope", "project"),
        command(&["alert", "add", "speed", "--above", "5"], "speed", "METRIC"),
        command(&["alert", "add", "requests", "--above", "many"], "many", "--above"),
        command(&["alias", "add", "fast", "--target", "openai/gpt-4o=lots"], "lots", "--target"),
        command(&["alias", "add", "fast"], "target", "target"),
        command(&["route", "add", "--modality", "pictures"], "pictures", "modality"),
        command(&["chat", MINI, "--input", "hello"], "hello", "--input"),
        command(&["file", "put", "/nonexistent.pdf"], "no such file", "/nonexistent.pdf"),
        command(&["plan", "--request", NOWHERE], "no such file", NOWHERE),
        command(&["api", "POST", "/v2/projects", "--body", NOWHERE], "no such file", NOWHERE),
        command(&["open", "nowhere"], "nowhere", "page"),
        command(&["connect", "claudecode"], "claudecode", "tool"),
        command(&["webhook", "add", "https://example.com", "--event", "budget.x"], "budget.x", "event"),
        command(&["member", "invite", "nobody"], "email", "email"),
        command(&["usage", "--window", "5x"], "5x", "window"),
        command(&["project", "create", "default"], "default", "project"),
        piped(&["credential", "add", "openai", "--limit", "rpms=500"], "sk-0123456789", "rpms", "limit"),
    ]
}

/// What is answered: the whole text, the fix, and the field that is named apart from the text.
struct Told {
    text: String,
    fix: String,
    field: String,
}

async fn told(gateway: &Gateway, input: &Input) -> Told {
    match input {
        Input::Api(method, path, body) => {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            of_answer(&call(gateway, method.clone(), path, body).await)
        }
        Input::Raw(path, body) => of_answer(&call(gateway, Method::POST, path, (*body).to_owned()).await),
        Input::Chat(more) => of_answer(
            &call(gateway, Method::POST, CHAT, with(question(MINI), more.clone()).to_string()).await,
        ),
        Input::Headed(headers) => of_answer(&headed(&gateway.client(), headers).await),
        Input::Bare(headers) => of_answer(&headed(&Client::new(&gateway.origin), headers).await),
        Input::Command(arguments, stdin) => {
            let done = gateway.cli().run_with(arguments, stdin);
            assert_ne!(done.code, 0, "{arguments:?} succeeded: {}", done.stdout);
            let text = done.stderr;
            let fix = text.lines().filter_map(|line| {
                let line = line.trim();
                ["fix:", "tip:", "Usage:"].iter().find_map(|word| line.strip_prefix(word))
            });
            // The fix of a short message is its second sentence; clap lists what an option takes.
            let fix = fix
                .map(str::trim)
                .next()
                .or_else(|| text.split_inclusive(['.', '?', '\n']).find(|sentence| is_imperative(sentence)));
            let values = text.split_once("[possible values").map(|_| "Use one of the possible values.");
            let fix = fix.or(values).unwrap_or_default().trim().to_owned();
            Told { text, fix, field: String::new() }
        }
    }
}

async fn headed(client: &Client, headers: Headers) -> Answer {
    client.call(Method::POST, CHAT, headers, question(MINI).to_string()).await.unwrap()
}

async fn call(gateway: &Gateway, method: Method, path: &str, body: String) -> Answer {
    let kind = [("content-type", "application/json")];
    let client = if path.starts_with("/v1") { gateway.client() } else { gateway.admin() };
    client.call(method, path, &kind, body).await.unwrap()
}

fn of_answer(answer: &Answer) -> Told {
    assert!(answer.status >= 400, "{}", answer.text());
    let body = answer.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match body.get("error") {
        // One message holds both in the dialects of models.
        Some(error) => {
            let message = text(&error["message"]);
            let fix = message.split_inclusive(['.', '?']).find(|sentence| is_imperative(sentence));
            Told {
                fix: fix.unwrap_or_default().trim().to_owned(),
                field: text(&error["param"]),
                text: message,
            }
        }
        None => Told { text: text(&body["detail"]), fix: text(&body["fix"]), field: text(&body["param"]) },
    }
}

fn is_imperative(fix: &str) -> bool {
    let fix = fix.trim();
    let is_command = ["`tidegate ", "tidegate ", "It takes", "GET /", "`GET /", "docs/"]
        .iter()
        .any(|word| fix.starts_with(word));
    is_command || fix.contains("similar") || IMPERATIVES.split('|').any(|verb| fix.starts_with(verb))
}

/// Which of the three questions an answer leaves open.
fn missing(case: &Case, told: &Told) -> Vec<&'static str> {
    let whole = format!("{} {}", told.text, told.fix).to_lowercase();
    let says = |word: &str| whole.contains(&word.to_lowercase());
    let field = told.field.to_lowercase();
    let is_placed = field.starts_with(&case.place.to_lowercase()) || says(case.place);
    let checks = [
        ("what", says(case.wrong) || field.contains(case.wrong)),
        ("where", is_placed),
        ("how", is_imperative(&told.fix)),
    ];
    checks.into_iter().filter(|(_, holds)| !holds).map(|(question, _)| question).collect()
}

fn shown(input: &Input) -> String {
    match input {
        Input::Api(method, path, Value::Null) => format!("{method} {path}"),
        Input::Api(method, path, body) => format!("{method} {path} {body}"),
        Input::Raw(path, body) => format!("POST {path} {body}"),
        Input::Chat(more) => format!("POST {CHAT} {more}"),
        Input::Headed(headers) | Input::Bare(headers) => {
            let listed: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("POST {CHAT} with {}", listed.join(", "))
        }
        Input::Command(arguments, _) => format!("tidegate {}", arguments.join(" ")),
    }
}

/// One line of an answer, without what differs between runs.
fn one_line(text: &str, gateway: &Gateway) -> String {
    let text = text.replace(&gateway.address().to_string(), "GATEWAY");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("request:"));
    let joined = lines.collect::<Vec<_>>().join(" ");
    let words = joined.split(' ').map(|word| {
        let bare = word.trim_matches(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        let is_id = bare.split_once('_').is_some_and(|(prefix, id)| {
            let is_ours = id.len() == 32 && id.chars().all(|one| one.is_ascii_hexdigit());
            // The emulator counts all requests, also those of the background.
            (2..=4).contains(&prefix.len()) && (is_ours || id.starts_with("emulator"))
        });
        if is_id {
            word.replace(bare, &format!("{}_…", bare.split('_').next().unwrap_or_default()))
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[tokio::test]
async fn wrong_inputs_are_answered_with_what_is_wrong_where_and_what_to_do() {
    let gateway = Gateway::with_own().await;
    gateway.node("rack", &["tide-1"]).await;
    let first_hour = [first_fields(), first_rules(), first_seats(), first_heads(), first_commands()];
    let cases: Vec<Case> =
        [nothing_there(), wrong_fields(), wrong_rules(), wrong_queries(), wrong_requests(), wrong_commands()]
            .into_iter()
            .chain(first_hour)
            .flatten()
            .collect();
    let mut page = String::from(
        "# Wrong inputs\n\nWhat Tidegate answers to wrong inputs. An answer is clear if it names the wrong thing, its place, and what to do. Written and\nchecked by `tests/tests/it/wrong_inputs.rs` (`UPDATE_DOCS=1`).\n\n| input | answer | fix | missing |\n|---|---|---|---|\n",
    );
    let mut unclear = Vec::new();
    for case in &cases {
        let told = told(&gateway, &case.input).await;
        let missing = missing(case, &told);
        let input = shown(&case.input);
        let text = &told.text;
        let row = format!(
            "| `{}` | {} | {} | {} |",
            input.replace('|', "\\|"),
            one_line(text, &gateway),
            if text.contains(&told.fix) { "in it".to_owned() } else { one_line(&told.fix, &gateway) },
            missing.join(", ")
        );
        let _ = writeln!(page, "{row}");
        if !missing.is_empty() {
            unclear.push(row);
        }
    }
    let (all, clear) = (cases.len(), cases.len() - unclear.len());
    let _ = writeln!(page, "\nClear: {clear} of {all}.");
    assert!(all >= 230, "{all} inputs");
    assert!(unclear.is_empty(), "{clear} of {all} are clear:\n{}", unclear.join("\n"));
    let file = workspace().join("docs/wrong-inputs.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(kept, made)| kept != made);
    assert!(kept == page, "docs/wrong-inputs.md is old, run with UPDATE_DOCS=1: {differs:?}");
}
