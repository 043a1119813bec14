//! The authorisation matrix, generated from the route table: every route, tried by another tenant, by every
//! insufficient role and scope, and with every credential that has ended. A new route is covered as soon as
//! it is declared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use admit::Needs;
use api::access::{Access, People};
use control::declared;
use domain::Role;
use harness::client::{Answer, Client};
use harness::day;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, problem, question, trace_of, until_status, words};
use crate::gateway::{Founded, Gateway, NODE, OWN, id_of};
use crate::person::Person;
use crate::wait::until;

/// A route that requires authentication.
#[derive(Debug, Clone)]
struct Row {
    method: Method,
    pattern: &'static str,
    access: Access,
}

fn rows() -> Vec<Row> {
    declared()
        .into_iter()
        .filter_map(|(method, pattern, access)| access.map(|access| Row { method, pattern, access }))
        .collect()
}

/// Path suffixes of routes that take an empty body.
const EMPTY: &str = "/keep-alive /end /verify /probe /cordon /uncordon /drain /link /load /unload \
    /destroy /supersede /cancel /pause /resume /revoke /purge-cache";

impl Row {
    fn takes_id(&self) -> bool {
        self.pattern.contains("{id}")
    }

    fn before_id(&self) -> &'static str {
        self.pattern.split_once("{id}").map_or(self.pattern, |(before, _)| before)
    }

    fn at(&self, id: &str) -> String {
        // What it compares with has no default.
        let query = if self.pattern.ends_with("/escalation") { "?cost_per_hour_micros=1" } else { "" };
        self.pattern.replace("{id}", id) + query
    }

    /// A body that this route would accept, for a method that writes.
    fn body(&self) -> String {
        let body = match (self.method.as_str(), self.pattern) {
            ("GET" | "DELETE", _) => return String::new(),
            ("PATCH", "/v2/members/{id}") => json!({"role": "viewer"}),
            (_, "/v2/webhooks/{id}/rotate" | "/v2/webhooks/{id}/test" | "/v2/policies/{id}/rotate") => {
                json!({})
            }
            (_, "/v2/webhooks/{id}/resend") => json!({"event_id": missing("evt_")}),
            (_, pattern) if pattern.ends_with("/rollback") => json!({"version": 1}),
            (_, "/v2/subscription-credentials/{id}/rotate") => json!({"token": "sk-mine"}),
            (_, pattern) if pattern.ends_with("/rotate") => json!({"secret": "sk-mine"}),
            (_, pattern) if words(EMPTY).iter().any(|end| pattern.ends_with(end)) => json!({}),
            (_, "/v2/flows" | "/v2/flows/validate" | "/v2/flows/{id}/versions" | "/v2/flow-runs") => {
                json!({"document": one_step()})
            }
            (_, "/v2/flowruns") => json!({"flow": missing("flw_")}),
            (_, "/v2/flow-runs/{id}/retry" | "/v2/flow-runs/{id}/replay") => json!({}),
            (_, "/v2/flow-runs/{id}/events") => json!({"name": "paid"}),
            (_, "/v2/flow-runs/{id}/approvals") => json!({"step": "a", "approved": true}),
            (_, "/v2/purge-jobs") => json!({"to": "2020-01-01"}),
            _ => json!({"name": "mine now"}),
        };
        body.to_string()
    }
}

/// Counts the calls that the matrix makes.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    async fn call(&self, client: &Client, row: &Row, id: &str) -> Answer {
        self.0.fetch_add(1, Ordering::Relaxed);
        let body = row.body();
        let json = [("content-type", "application/json")];
        let headers = if body.is_empty() { &json[..0] } else { &json[..] };
        client.call(row.method.clone(), &row.at(id), headers, body).await.unwrap()
    }
}

/// Of the objects of other kinds, how many a route is tried with one of: as many routes as kinds would be many
/// thousands of calls. After as many days, each route was tried with all.
const OTHER_KINDS_STRIDE: usize = 6;

/// A workspace with one object of each kind, and its members.
pub struct Tenant {
    pub founded: Founded,
    /// By id prefix.
    pub objects: BTreeMap<String, String>,
    people: Vec<(Role, Person)>,
    turn: usize,
    /// Empty for the tenant that only calls.
    shown_by: Vec<(Row, String)>,
}

impl Tenant {
    /// Ids that a route is tried with: of the kind it takes, and of some others, which differ from route to route
    /// so that each kind is tried at many, and from day to day.
    fn ids_for(&self, row: &Row, nth: usize) -> Vec<&str> {
        let is_own = |kind: &String| {
            self.shown_by.iter().any(|(shows, of)| shows.before_id() == row.before_id() && of == kind)
        };
        let differs = |index: usize| index % OTHER_KINDS_STRIDE == (nth + self.turn) % OTHER_KINDS_STRIDE;
        let tried = self.objects.iter().enumerate();
        let tried = tried.filter(|(index, (kind, _))| is_own(kind) || differs(*index));
        tried.map(|(_, (_, id))| id.as_str()).collect()
    }

    /// Ids of three kinds, each day of the next ones: who isn't let in at all is told the same of every kind.
    fn three_ids(&self) -> impl Iterator<Item = &str> {
        let begins = 3 * self.turn % self.objects.len();
        self.objects.values().cycle().skip(begins).take(3).map(String::as_str)
    }
}

async fn make(client: &Client, path: &str, body: Value) -> String {
    let made = client.post(path, &body).await.unwrap();
    assert_eq!(made.status, 201, "POST {path}: {}", made.text());
    id_of(&made.json())
}

pub async fn tenant(gateway: &Gateway, name: &str) -> Tenant {
    let founded = gateway.workspace(name).await;
    let admin = gateway.with_key(&founded.admin_key);
    let base_url = gateway.emulator.base_url();
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": base_url});
    let hook = json!({"url": format!("{base_url}/hook"), "events": ["budget.alert"]});
    let subscription = json!({"provider": "codex", "token": OWN, "base_url": base_url});
    let node = json!({"name": "rack", "base_url": base_url, "secret": NODE, "models": ["tide-1"]});
    let route = json!({"scope": {"environment": "staging"}, "profiles": ["byok"]});
    let reconciled = json!({"provider": "openai", "files": [{"text": "from,until,measure\n"}]});
    let mut objects = vec![
        founded.workspace_id.clone(),
        make(&admin, "/v2/provider-credentials", credential).await,
        make(&admin, "/v2/subscription-credentials", subscription).await,
        make(&admin, "/v2/byoc/nodes", node).await,
        make(&admin, "/v2/byoc/nodes/join-tokens", json!({"name": "cellar"})).await,
        make(&admin, "/v2/data-planes", json!({"name": "abroad"})).await,
        make(&admin, "/v2/routes", route).await,
        make(&admin, "/v2/api-keys", json!({"name": "a key"})).await,
        make(&admin, "/v2/projects", json!({"name": "a project"})).await,
        make(&admin, "/v2/policies", json!({"project_id": founded.project_id, "profiles": ["byok"]})).await,
        make(&admin, "/v2/agent-hints", json!({"tag": "nightly"})).await,
        make(&admin, "/v2/sessions", json!({"name": "support"})).await,
        make(&admin, "/v2/agents", json!({"name": "an-agent", "definition": {"model": MINI}})).await,
        make(&admin, "/v2/tools", json!({"name": "a-tool", "kind": "function"})).await,
        make(&admin, "/v2/mcp-servers", json!({"name": "a-server", "url": format!("{base_url}/mcp")})).await,
        make(&admin, "/v2/purge-jobs", json!({"to": "2020-01-01"})).await,
        make(&admin, "/v2/model-aliases", json!({"name": "auto", "targets": [{"model": MINI}]})).await,
        make(&admin, "/v2/alert-rules", json!({"metric": "requests", "threshold": 5})).await,
        make(&admin, "/v2/webhooks", hook).await,
        id_of(&admin.get("/v2/billing/invoices").await.unwrap().json()["data"][0]),
        make(&admin, "/v2/replay-runs", json!({"candidate": {"model": MINI}})).await,
        make(&admin, "/v2/reconciliations", reconciled).await,
        make(&admin, "/v2/budgets", json!({"end_user": "nobody", "limit_micros": 9})).await,
    ];
    add_kept(&admin, &mut objects).await;
    add_flow(&admin, &mut objects).await;
    let client = gateway.with_key(&founded.api_key);
    let trace = trace_of(&client.post(CHAT, &question(MINI)).await.unwrap().must_be(200));
    let path = format!("/v2/requests/{trace}");
    until("the request to be in the books", async || admin.get(&path).await.unwrap().status == 200).await;
    let score = json!({"request_id": trace, "name": "helpful", "value": 1});
    objects.push(make(&admin, "/v2/scores", score).await);
    objects.push(trace);
    let turn = json!({"role": "user", "content": "one"});
    let ask = json!({"custom_id": "a", "params": {"model": MINI, "max_tokens": 9, "messages": [turn]}});
    let batch = client.post("/v1/messages/batches", &json!({"requests": [ask]})).await.unwrap();
    objects.push(id_of(&batch.json()));
    let run = json!({"app": MINI, "input": {"prompt": "one"}, "wait": true});
    objects.push(id_of(&client.post("/v1/run", &run).await.unwrap().json()["data"]));
    let mut people = Vec::new();
    for role in Role::ALL {
        let email = format!("{role}@{name}.example");
        // The first is the owner, who invites the others.
        let owner = people.first().map(|(_, owner): &(Role, Person)| owner.client());
        let inviting = owner.unwrap_or_else(|| admin.clone());
        people.push((role, gateway.member(&inviting, &email, role.as_str()).await));
    }
    objects.push(people[4].1.id.clone());
    let by_kind = |id: String| (id.split('_').next().unwrap().to_owned(), id);
    let objects = objects.into_iter().map(by_kind).collect();
    Tenant { founded, objects, people, turn: day::turn(), shown_by: Vec::new() }
}

/// Adds what is kept for agents, and what keeps it or copies it.
async fn add_kept(admin: &Client, objects: &mut Vec<String>) {
    let artifact = make(admin, "/v2/artifacts", json!({"type": "document", "content": "a"})).await;
    objects.push(make(admin, "/v2/files", json!({"filename": "a.txt"})).await);
    let app = json!({"name": "acme/an-app", "url": "https://api.example.com/app"});
    objects.push(make(admin, "/v2/apps", app).await);
    let secret = json!({"name": "KEY", "value": "v4lue", "hosts": ["api.example.com"]});
    objects.push(make(admin, "/v2/secrets", secret).await);
    objects.push(make(admin, "/v2/bundles", json!({"items": [artifact]})).await);
    objects.push(artifact);
    let session = make(admin, "/v2/sessions", json!({"name": "held"})).await;
    objects.push(make(admin, "/v2/legal-holds", json!({"session_ids": [session], "reason": "a case"})).await);
    // A purge that runs takes every export along.
    let purge = objects.iter().find(|id| id.starts_with("pjb")).unwrap().clone();
    until_status(admin, &format!("/v2/purge-jobs/{purge}"), "completed").await;
    let export = make(admin, "/v2/data-exports", json!({})).await;
    until_status(admin, &format!("/v2/data-exports/{export}"), "completed").await;
    objects.push(export);
}

/// A well-formed id of the same kind that does not exist.
fn missing(id: &str) -> String {
    format!("{}_01900000000070008000000000000000", id.rsplit_once('_').unwrap().0)
}

/// All of an answer except what identifies the one request.
fn class_of(answer: &Answer, id: &str) -> (u16, Vec<String>, String) {
    let request = answer.header("x-request-id").unwrap_or_default();
    let steady = |text: &str| text.replace(request, "REQUEST").replace(id, "ID");
    let undated = answer.headers.iter().filter(|(name, _)| name.as_str() != "date");
    let headers = undated.map(|(name, value)| format!("{name}: {}", steady(value.to_str().unwrap())));
    let mut headers: Vec<_> = headers.collect();
    headers.sort();
    (answer.status, headers, steady(&answer.text()))
}

/// Ended credentials: they learn nothing, not even which objects exist.
async fn try_the_dead(gateway: &Gateway, mine: &Tenant, count: &Count) {
    let admin = gateway.with_key(&mine.founded.admin_key);
    let revoked =
        admin.post("/v2/api-keys", &json!({"name": "r", "scopes": ["admin", "read"]})).await.unwrap().json();
    assert_eq!(admin.delete(&format!("/v2/api-keys/{}", id_of(&revoked))).await.unwrap().status, 204);
    let old = json!({"name": "e", "scopes": ["admin"], "expires_at": "2021-03-04T05:06:07Z"});
    let expired = admin.post("/v2/api-keys", &old).await.unwrap().json();
    let owner = mine.people[0].1.client();
    let signed_out = gateway.member(&owner, "out@mine.example", "owner").await;
    assert_eq!(signed_out.post("/v2/sign-out", json!({})).await.status, 204);
    let removed = gateway.member(&owner, "removed@mine.example", "owner").await;
    assert_eq!(owner.delete(&format!("/v2/members/{}", removed.id)).await.unwrap().status, 204);
    let key = |made: &Value| gateway.with_key(made["key"].as_str().unwrap());
    let dead = [
        (key(&revoked), "revoked_api_key"),
        (key(&expired), "expired_api_key"),
        (signed_out.client(), "session_over"),
        (removed.client(), "session_over"),
        (Client::new(&gateway.origin), "missing_api_key"),
    ];
    for (client, code) in &dead {
        for row in rows() {
            for id in mine.three_ids().filter(|_| row.takes_id()).chain(["x_y"]) {
                problem(&count.call(client, &row, id).await, 401, code);
            }
        }
    }
}

/// Another tenant: my objects are byte for byte indistinguishable from missing ones.
async fn try_another_tenant(mine: Arc<Tenant>, client: Client, count: Count) {
    for (nth, row) in rows().into_iter().enumerate() {
        if !row.takes_id() {
            if row.method == Method::GET {
                let answer = count.call(&client, &row, "").await;
                for id in mine.objects.values() {
                    assert!(!answer.text().contains(id.as_str()), "{row:?} shows {id}: {}", answer.text());
                }
            }
            continue;
        }
        for id in mine.ids_for(&row, nth) {
            let foreign = count.call(&client, &row, id).await;
            let nothing = count.call(&client, &row, &missing(id)).await;
            let expected = if row.access.people == Some(People::Operator) { 403 } else { 404 };
            assert_eq!(foreign.status, expected, "{row:?} {id}: {}", foreign.text());
            assert_eq!(class_of(&foreign, id), class_of(&nothing, &missing(id)), "{row:?} {id}");
        }
    }
}

/// Members of the workspace: each may do what their role allows and no more.
async fn try_a_role(mine: Arc<Tenant>, role: Role, client: Client, count: Count) {
    for (nth, row) in rows().into_iter().enumerate() {
        let may = match row.access.people {
            Some(People::Least(least)) => role.covers(least),
            Some(People::Operator) => false,
            None => panic!("{row:?} is for no person, which this matrix doesn't know"),
        };
        let ids = if row.takes_id() { mine.ids_for(&row, nth) } else { vec![""] };
        for id in ids {
            if !may {
                let error = problem(&count.call(&client, &row, id).await, 403, "insufficient_role");
                assert!(error["detail"].as_str().unwrap().contains(role.as_str()), "{error}");
                continue;
            }
            // An allowed call is tried where it changes nothing.
            let harmless = match (row.takes_id(), row.method == Method::GET) {
                (true, true) | (false, true) => id.to_owned(),
                (true, false) => missing(id),
                (false, false) => continue,
            };
            let answer = count.call(&client, &row, &harmless).await;
            assert!(![401, 403].contains(&answer.status), "{row:?} as {role}: {}", answer.text());
            // No region policy is set.
            let is_unset = row.pattern.ends_with("/regional-policy") && answer.status == 404;
            let is_right = answer.status == 200 || row.takes_id() || is_unset;
            assert!(is_right, "{row:?} as {role}: {}", answer.text());
        }
    }
}

/// A key of the workspace with these scopes, in its first project or this one.
async fn key_with(gateway: &Gateway, mine: &Tenant, scopes: &[&str], project: Option<&str>) -> Client {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("key {}", KEYS.fetch_add(1, Ordering::Relaxed));
    let mut wanted = json!({"name": name, "scopes": scopes});
    if let Some(project) = project {
        wanted["project_id"] = project.into();
    }
    let made = gateway.with_key(&mine.founded.admin_key).post("/v2/api-keys", &wanted).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    gateway.with_key(made.json()["key"].as_str().unwrap())
}

/// Keys of the workspace with insufficient scopes, alone and together.
async fn try_scopes(gateway: &Gateway, mine: &Tenant, count: &Count) {
    for chosen in 0..8_usize {
        let scopes = ["inference", "read", "admin"].into_iter().enumerate();
        let scopes = scopes.filter(|(index, _)| chosen >> index & 1 == 1).map(|(_, scope)| scope);
        let scopes: Vec<_> = scopes.collect();
        let client = key_with(gateway, mine, &scopes, None).await;
        let has = |scope| scopes.contains(&scope);
        for row in rows() {
            let asks = row.pattern == "/v2/plan" || row.pattern.ends_with("/dry-run");
            let reading = row.method == Method::GET || asks;
            let (infers, reads, manages) = (has("inference"), has("read") || has("admin"), has("admin"));
            let code = match (row.access.people, row.access.key) {
                (_, None) => "person_needed",
                (Some(People::Operator), _) => "insufficient_scope",
                (_, Some(Needs::Known)) => continue,
                (_, Some(Needs::ReadState | Needs::WriteState)) if infers => continue,
                (_, Some(Needs::ReadState)) if reads => continue,
                _ if manages || (reads && reading && row.access.key == Some(Needs::Read)) => continue,
                _ => "insufficient_scope",
            };
            for id in mine.three_ids().take(if row.takes_id() { 3 } else { 1 }) {
                problem(&count.call(&client, &row, id).await, 403, code);
            }
        }
    }
}

/// Keys of another project of the workspace. With `read` they see the state of agents in this one and change none of it; without, each object
/// looks like a missing one.
async fn try_another_project(gateway: &Gateway, mine: &Tenant, count: &Count) {
    let admin = gateway.with_key(&mine.founded.admin_key);
    let other = make(&admin, "/v2/projects", json!({"name": "another"})).await;
    let mut told = Vec::new();
    for scopes in [&["inference"][..], &["inference", "read"]] {
        let client = key_with(gateway, mine, scopes, Some(&other)).await;
        let is_seen = scopes.contains(&"read");
        let state = [Some(Needs::ReadState), Some(Needs::WriteState)];
        for row in rows().into_iter().filter(|row| row.takes_id() && state.contains(&row.access.key)) {
            let writes = row.access.key == Some(Needs::WriteState);
            for id in mine.objects.values() {
                let answer = count.call(&client, &row, id).await;
                if !writes && is_seen {
                    assert_ne!(answer.status, 403, "{row:?} {id}");
                    continue;
                }
                let nothing = count.call(&client, &row, &missing(id)).await;
                assert_eq!(answer.status, 404, "{row:?} {id} by {scopes:?}: {}", answer.text());
                if class_of(&answer, id) != class_of(&nothing, &missing(id)) {
                    told.push(format!("{} {} {id}: {}", row.method, row.pattern, nothing.text()));
                }
            }
        }
    }
    assert!(told.is_empty(), "who may not see these is told that they are there: {told:#?}");
}

/// For each kind of object, the route that shows it.
async fn shown_by(mine: &Tenant) -> Vec<(Row, String)> {
    let owner = &mine.people[0].1;
    let mut shown = Vec::new();
    // Published clients read runs of flows by an address of their own.
    let is_again = |row: &Row| row.pattern == "/v2/flowruns/{id}";
    let reads_one = |row: &Row| row.pattern.ends_with("{id}") && row.method == Method::GET && !is_again(row);
    for row in rows().into_iter().filter(reads_one) {
        for (kind, id) in &mine.objects {
            if owner.get(&row.at(id)).await.status == 200 {
                shown.push((row.clone(), kind.clone()));
            }
        }
    }
    assert_eq!(shown.len(), mine.objects.len(), "each kind has one route that shows it");
    shown
}

/// Each object as its owner sees it.
async fn seen(mine: &Tenant) -> Vec<String> {
    let owner = &mine.people[0].1;
    let mut seen = Vec::new();
    for (row, kind) in &mine.shown_by {
        let answer = owner.get(&row.at(&mine.objects[kind])).await;
        assert_eq!(answer.status, 200, "{row:?}: {}", answer.text());
        let mut object = answer.json();
        // The opening count is updated a moment after the call, and `last_seen_at` whenever the node is polled. A month that ends meanwhile
        // closes its invoice and begins the next period of budgets.
        let of_invoice = (kind == "inv").then_some("status");
        let own_pace = words("openings last_seen_at measured_at value period_start period_end finalised_at");
        for field in own_pace.into_iter().chain(of_invoice) {
            object.as_object_mut().unwrap().remove(field);
        }
        seen.push(object.to_string());
    }
    seen
}

/// Nothing of `mine` may be touched by what was tried.
async fn untouched(mine: &Tenant, before: &[String], count: &Count, calls_min: usize) {
    assert_eq!(seen(mine).await, before, "something of mine was touched");
    let tried = count.0.load(Ordering::Relaxed);
    println!("{tried} calls over {} routes", rows().len());
    assert!(tried >= calls_min, "{tried} calls");
}

/// The tenant whose objects are tried.
async fn tried(gateway: &Gateway) -> Tenant {
    let mut mine = tenant(gateway, "mine").await;
    mine.shown_by = shown_by(&mine).await;
    mine
}

async fn by_another_tenant(who: impl Fn(&Gateway, &Tenant) -> Client) {
    let gateway = Gateway::with_everything().await;
    let (mine, theirs) = (tried(&gateway).await, tenant(&gateway, "theirs").await);
    let mine = Arc::new(mine);
    let (before, count) = (seen(&mine).await, Count::default());
    try_another_tenant(Arc::clone(&mine), who(&gateway, &theirs), count.clone()).await;
    untouched(&mine, &before, &count, 1_000).await;
}

#[tokio::test]
async fn every_route_by_the_key_of_another_tenant() {
    by_another_tenant(|gateway, theirs| gateway.with_key(&theirs.founded.admin_key)).await;
}

#[cfg(feature = "control")]
#[tokio::test]
async fn every_route_by_the_owner_of_another_tenant() {
    by_another_tenant(|_, theirs| theirs.people[0].1.client()).await;
}

/// A test of all roles takes minutes beside busy neighbours.
async fn by_roles(are_first: bool) {
    let gateway = Gateway::with_everything().await;
    let mine = Arc::new(tried(&gateway).await);
    let (before, count) = (seen(&mine).await, Count::default());
    let (first, rest) = mine.people.split_at(mine.people.len() / 2);
    let mut tries = Vec::new();
    for (role, person) in if are_first { first } else { rest } {
        tries.push(tokio::spawn(try_a_role(Arc::clone(&mine), *role, person.client(), count.clone())));
    }
    for tried in tries {
        tried.await.unwrap();
    }
    untouched(&mine, &before, &count, 900).await;
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_by_the_first_roles() {
    by_roles(true).await;
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_by_the_other_roles() {
    by_roles(false).await;
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_by_keys_of_other_scopes_and_by_what_has_ended() {
    let gateway = Gateway::with_everything().await;
    let mine = tried(&gateway).await;
    let (before, count) = (seen(&mine).await, Count::default());
    try_scopes(&gateway, &mine, &count).await;
    try_the_dead(&gateway, &mine, &count).await;
    untouched(&mine, &before, &count, 1_000).await;
}

#[tokio::test]
async fn what_agents_keep_by_keys_of_another_project() {
    let gateway = Gateway::with_everything().await;
    let mine = tried(&gateway).await;
    let (before, count) = (seen(&mine).await, Count::default());
    try_another_project(&gateway, &mine, &count).await;
    untouched(&mine, &before, &count, 1_000).await;
}

/// Unauthenticated callers may use the routes that authenticate them, and no others.
#[test]
fn few_routes_are_open() {
    let open = declared().into_iter().filter(|(_, _, access)| access.is_none());
    let open: Vec<_> = open.map(|(_, pattern, _)| pattern).collect();
    // Those of nodes and data planes require a token or credential that only these have.
    let expected = "/v2/sign-in /v2/sign-in/link /v2/device /v2/device/token \
        /v2/byoc/nodes/join /v2/byoc/nodes/heartbeat /v2/byoc/nodes/records /v2/byoc/nodes/certificate \
        /v2/byoc/nodes/tunnel /v2/data-planes/join /v2/data-planes/configuration /v2/data-planes/records \
        /v2/data-planes/leases /v2/data-planes/evidence";
    assert_eq!(open, words(expected));
}

/// A flow that is over at once.
fn one_step() -> Value {
    json!({"name": "a-flow", "steps": {"a": {"kind": "constant", "value": 1}}})
}

async fn add_flow(admin: &Client, objects: &mut Vec<String>) {
    objects.push(make(admin, "/v2/flows", json!({"document": one_step()})).await);
    objects.push(id_of(&admin.post("/v2/flow-runs", &json!({"document": one_step()})).await.unwrap().json()));
}
