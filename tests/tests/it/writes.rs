//! Every writing route: a dry run leaves the database unchanged, and the real call leaves one audit entry. A
//! new route is covered as soon as it is declared; `prepare` builds what it takes.

use std::time::{Duration, Instant};

use control::declared;
use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, problem, question, trace_of, words};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, POOL_SECOND, id_of};
use crate::played_runtime::PlayedRuntime;
use crate::tables::Tables;
use crate::wait::{found_within, in_an_hour, until};
use crate::webhooks::Taker;

/// A key is dropped ten seconds after its successor takes effect.
const KEYS_REST_WITHIN: Duration = Duration::from_secs(60);

/// One write that the API accepts as it is.
pub struct Try {
    pub client: Client,
    pub method: Method,
    pub path: String,
    pub body: Value,
}

impl Try {
    pub async fn call(&self, query: &str) -> Answer {
        let json = [("content-type", "application/json")];
        let (headers, body) = if self.method == Method::DELETE {
            (&[][..], String::new())
        } else {
            (&json[..], self.body.to_string())
        };
        self.client.call(self.method.clone(), &format!("{}{query}", self.path), headers, body).await.unwrap()
    }
}

const DESCRIBED: &str = "/v2/webhooks /v2/model-aliases /v2/tools /v2/mcp-servers /v2/apps /v2/secrets";
/// What is created with a name alone.
const NAMED: [&str; 5] =
    ["/v2/workspaces", "/v2/projects", "/v2/api-keys", "/v2/byoc/nodes/join-tokens", "/v2/data-planes"];

/// Creates what a write needs.
pub struct Preparing<'a> {
    pub gateway: &'a Gateway,
    pub number: usize,
}

impl Preparing<'_> {
    fn name(&self) -> String {
        format!("number {}", self.number)
    }

    async fn made(&self, path: &str, body: Value) -> String {
        let made = self.gateway.make(path, body).await;
        made["id"].as_str().or(made["workspace_id"].as_str()).unwrap().to_owned()
    }

    /// A body that creates an object in a collection.
    fn body(&self, collection: &str) -> Value {
        let (name, number, base_url) = (self.name(), self.number, self.gateway.emulator.base_url());
        match collection {
            "/v2/members" => json!({"email": format!("{}@writes.example", self.number), "role": "viewer"}),
            "/v2/provider-credentials" => {
                json!({"provider": "openai", "display_name": name, "secret": OWN, "base_url": base_url})
            }
            "/v2/subscription-credentials" => {
                json!({"provider": "codex", "display_name": name, "token": OWN, "base_url": base_url})
            }
            "/v2/accounts" => {
                json!({"provider": "openai", "display_name": name, "secret": POOL, "base_url": base_url})
            }
            "/v2/byoc/nodes" => {
                json!({"name": name, "base_url": base_url, "secret": NODE, "models": ["tide-1"]})
            }
            "/v2/routes" => json!({"scope": {"tag": name}, "profiles": ["byok"]}),
            "/v2/model-aliases" => {
                json!({"name": format!("alias-{}", self.number), "targets": [{"model": "openai/gpt-4o-mini"}]})
            }
            // An event that never occurs here, so that no delivery starts by itself.
            "/v2/sessions" => json!({"name": name, "end_user": "one", "metadata": {"ticket": "7"}}),
            "/v2/artifacts" => json!({"type": "document", "name": name, "content": "the text"}),
            "/v2/files" => json!({"filename": name, "size": 3}),
            "/v2/agents" => json!({"name": format!("agent-{number}"), "definition": {"model": MINI}}),
            "/v2/tools" => json!({"name": format!("tool-{number}"), "kind": "function"}),
            "/v2/mcp-servers" => json!({"name": format!("mcp-{number}"), "url": format!("{base_url}/mcp")}),
            "/v2/apps" => json!({"name": format!("acme/a-{number}"), "url": format!("{base_url}/app")}),
            "/v2/secrets" => {
                json!({"name": format!("KEY_{number}"), "value": "v", "hosts": ["api.example.com"]})
            }
            "/v2/flows" => {
                let steps = json!({"a": {"kind": "constant", "value": number}});
                json!({"document": {"name": format!("flow-{number}"), "steps": steps}})
            }
            "/v2/diagnostics" => json!({"window": "24h"}),
            "/v2/replay-runs" => json!({"candidate": {"model": MINI}, "scheduled_for": in_an_hour()}),
            "/v2/replay-gates" => json!({"byoc_activation": "open"}),
            "/v2/agent-hints" => json!({"name": name, "qos": {"class": "batch"}}),
            // A rule that is measured changes by itself.
            "/v2/alert-rules" => json!({"metric": "requests", "threshold": 5, "status": "disabled"}),
            "/v2/webhooks" => json!({"url": format!("{base_url}/hook"), "events": ["budget.alert"]}),
            "/v2/budgets" => json!({"name": name, "workspace": true, "limit_micros": 5_000_000}),
            "/v2/billing/account/credits" => json!({"amount_micros": 1_000_000, "note": name}),
            "/v2/purge-jobs" => json!({"to": "2020-01-01"}),
            "/v2/data-exports" => json!({"format": "jsonl"}),
            "/v2/retention-profile" => json!({"trace_mode": "tokenized", "default_retention_days": 3}),
            "/v2/reconciliations" => {
                let text = "from,until,measure,quantity\n1767225600,1767229200,input,1\n";
                json!({"provider": "openai", "files": [{"text": text}]})
            }
            "/v2/tariff" => json!({"name": name, "monthly_base_micros": 5}),
            named if NAMED.contains(&named) => json!({"name": name}),
            other => panic!("give {other} a body"),
        }
    }

    /// As `body`, with the parent object that the new one refers to.
    async fn whole_body(&self, collection: &str) -> Value {
        let parent = async |of: &str| self.made(of, self.body(of)).await;
        match collection {
            "/v2/bundles" => {
                let items = json!([{"artifact_id": parent("/v2/artifacts").await, "role": "context"}]);
                json!({"name": self.name(), "items": items})
            }
            "/v2/deletion-requests" => json!({"session_ids": [parent("/v2/sessions").await]}),
            "/v2/legal-holds" => json!({"session_ids": [parent("/v2/sessions").await], "reason": "a case"}),
            "/v2/tools/import" => json!({"document": self.described()}),
            "/v2/apps/import" => json!({"namespace": "acme", "document": self.described()}),
            "/v2/scores" => self.score().await,
            "/v2/policies" => json!({"project_id": parent("/v2/projects").await, "retention": "zero"}),
            _ => self.body(collection),
        }
    }

    /// An operation of a server, as OpenAPI describes it.
    fn described(&self) -> Value {
        let operation = json!({"operationId": format!("imported-{}", self.number)});
        let servers = json!([{"url": self.gateway.emulator.base_url()}]);
        json!({"openapi": "3.1.0", "servers": servers, "paths": {"/a": {"get": operation}}})
    }

    /// A webhook, and an event that was delivered to it.
    async fn delivered(&self) -> (String, String) {
        let taker = Taker::start().await;
        let webhook = self.made("/v2/webhooks", json!({"url": taker.url, "events": ["key.created"]})).await;
        self.made("/v2/api-keys", json!({"name": self.name()})).await;
        let path = format!("/v2/webhooks/{webhook}/deliveries");
        let delivery = found_within(KEYS_REST_WITHIN, "the delivery", async || {
            let delivery = self.gateway.get(&path).await["data"][0].clone();
            let is_over =
                delivery["status"] == "delivered" && self.gateway.get("/v2/jobs").await["running"] == 0;
            is_over.then_some(delivery)
        })
        .await;
        // The webhook receives nothing more, whatever the other routes do.
        self.gateway.patch(&format!("/v2/webhooks/{webhook}"), json!({"events": ["budget.alert"]})).await;
        (webhook, delivery["event_id"].as_str().unwrap().to_owned())
    }

    /// A body that changes an object of a collection.
    fn change(&self, method: &Method, collection: &str) -> Value {
        let name = format!("{} changed", self.name());
        match (method.as_str(), collection) {
            ("PATCH", "/v2/members") => json!({"role": "developer"}),
            ("PATCH", "/v2/provider-credentials" | "/v2/subscription-credentials" | "/v2/accounts") => {
                json!({"display_name": name})
            }
            ("PATCH", "/v2/routes") => json!({"profiles": ["byoc"]}),
            ("PATCH", "/v2/policies") => json!({"retention": {"days": 7}}),
            ("PATCH", "/v2/agents") => json!({"definition": {"description": name}}),
            ("PATCH", described) if words(DESCRIBED).contains(&described) => json!({"description": name}),
            ("PATCH", _) => json!({"name": name}),
            ("PUT", "/v2/byoc/nodes") => {
                json!({"name": name, "base_url": self.gateway.emulator.base_url(), "labels": ["a"]})
            }
            ("PUT", "/v2/provider-credentials" | "/v2/accounts") => {
                let base_url = self.gateway.emulator.base_url();
                json!({"provider": "openai", "display_name": name, "base_url": base_url})
            }
            ("PUT", "/v2/routes") => json!({"scope": {"tag": name}}),
            ("PUT", "/v2/webhooks" | "/v2/alert-rules") => self.body(collection),
            ("PUT", "/v2/budgets") => json!({"name": name, "workspace": true, "limit_micros": 7_000_000}),
            ("PUT", _) => json!({"name": name}),
            _ => Value::Null,
        }
    }

    /// The body of an act on an object of this collection.
    async fn act_body(&self, method: &Method, collection: &str, id: &str, act: &str) -> Value {
        match act {
            "/rollback" if collection == "/v2/routes" => json!({"version": 1}),
            "/accept" => json!({"tools": []}),
            "/versions" => self.body(collection),
            "/dry-run" => json!({"targets": [{"model": "openai/gpt-4o"}]}),
            "/releases" | "/promote" | "/rollback" => self.of_release(id, act).await,
            "/rotate" if collection == "/v2/accounts" => json!({"secret": POOL_SECOND}),
            "/rotate" if matches!(collection, "/v2/webhooks" | "/v2/policies") => json!({}),
            "/rotate" if collection == "/v2/subscription-credentials" => json!({"token": OWN_SECOND}),
            "/rotate" => json!({"secret": OWN_SECOND}),
            "" if *method == Method::PUT && collection == "/v2/policies" => {
                let kept = self.gateway.get(&format!("{collection}/{id}")).await;
                json!({"project_id": kept["project_id"], "profiles": ["byok"]})
            }
            "" => self.change(method, collection),
            _ => json!({}),
        }
    }

    /// The body of a change of an alias's releases that is possible.
    async fn of_release(&self, id: &str, act: &str) -> Value {
        let another = json!({"targets": [{"model": "openai/gpt-4o"}], "activate": true});
        if act == "/releases" {
            return another;
        }
        let before = self.gateway.get(&format!("/v2/model-aliases/{id}")).await;
        self.gateway.make(&format!("/v2/model-aliases/{id}/releases"), another).await;
        if act == "/promote" { json!({"release_id": before["release_id"]}) } else { json!({}) }
    }

    /// The state of the master keys, once no rotation is in progress.
    async fn keys_at_rest(&self) -> Value {
        found_within(KEYS_REST_WITHIN, "the keys to be changed", async || {
            let vault = self.gateway.get("/v2/vault").await;
            let is_at_work = ["rotating", "waiting_for_gateways"].iter().any(|at| vault["status"] == *at);
            (!is_at_work && vault["workspace_keys_rotating"] == 0).then_some(vault)
        })
        .await
    }

    /// The arguments that make a new master key the next one.
    fn new_master_key(&self) -> Value {
        let file = self.gateway.data().join("master.key").display().to_string();
        let cli = self.gateway.cli().env("TIDEGATE_MASTER_KEY_FILE", &file);
        json!({"key_id": cli.run(&["vault", "new-key", "--json"]).json()["key_id"]})
    }

    /// The body of a key rotation step, with every earlier step done.
    async fn change_of_keys(&self, pattern: &str) -> Value {
        const ROTATE: &str = "/v2/vault/master-key/rotate";
        let vault = self.keys_at_rest().await;
        if pattern == ROTATE {
            return self.new_master_key();
        }
        if pattern == "/v2/vault/master-key/finalize" && vault["status"] == "steady" {
            self.gateway.admin().post(ROTATE, &self.new_master_key()).await.unwrap().must_be(200);
            self.keys_at_rest().await;
        }
        json!({})
    }

    /// A node whose runtime accepts this request.
    async fn of_runtime(&self, pattern: &str) -> Value {
        let body = json!({"name": self.name(), "base_url": PlayedRuntime::start().await.base_url});
        PlayedRuntime::body(pattern, &self.made("/v2/byoc/nodes", body).await)
    }

    /// A node that joined by itself.
    async fn joined(&self) -> String {
        let name = json!({"name": self.name()});
        let token = self.gateway.make("/v2/byoc/nodes/join-tokens", name).await["token"].clone();
        let body = json!({"token": token, "base_url": self.gateway.emulator.base_url()});
        let joined = self.gateway.browser().post("/v2/byoc/nodes/join", &body).await.unwrap();
        joined.json()["node_id"].as_str().unwrap().to_owned()
    }

    /// What is stated of a provider's capabilities, or the way back from it.
    async fn statement(&self, is_rollback: bool) -> Value {
        let stated = json!({"facts": {"data_retention_days_max": {"value": self.number}}});
        if !is_rollback {
            return stated;
        }
        let revision = self.gateway.get("/v2/capabilities/openai").await["manifest_revision"].clone();
        self.gateway.patch("/v2/capabilities/openai", stated).await;
        json!({"revision": revision})
    }

    /// A data export that is over.
    async fn exported(&self) -> String {
        let path = format!("/v2/data-exports/{}", self.made("/v2/data-exports", json!({})).await);
        until("the export to end", async || self.gateway.get(&path).await["status"] == "completed").await;
        path
    }

    /// The body of a score of a new request.
    async fn score(&self) -> Value {
        self.made("/v2/provider-credentials", self.body("/v2/provider-credentials")).await;
        let trace = trace_of(&self.gateway.chat_ok(&question(MINI)).await);
        self.gateway.settled(&trace).await;
        json!({"request_id": trace, "name": "helpful", "value": 1})
    }

    /// Appends an event to a new session.
    async fn appended(&self, tried: impl Fn(String, Value) -> Try) -> Try {
        let session = self.gateway.make("/v2/sessions", self.body("/v2/sessions")).await;
        let [id, branch] = ["id", "default_branch_id"].map(|name| session[name].as_str().unwrap());
        let event = json!({"event_type": "note", "content": "a note"});
        let path = format!("/v2/sessions/{id}/branches/{branch}/events");
        tried(path, json!({"expected_version": 0, "event": event}))
    }

    /// A replay of a request of which the content is kept, or of a session without any.
    async fn kept(&self, pattern: &str, tried: impl Fn(String, Value) -> Try) -> Try {
        self.made("/v2/provider-credentials", self.body("/v2/provider-credentials")).await;
        let body = json!({"trace_mode": "encrypted_full_fidelity"});
        self.gateway.admin().post("/v2/retention-profile", &body).await.unwrap().must_be(200);
        let trace = trace_of(&self.gateway.chat_ok(&question(MINI)).await);
        let path = format!("/v2/requests/{trace}/content");
        let is_kept = async || self.gateway.admin().get(&path).await.unwrap().status == 200;
        until("the content to be kept", is_kept).await;
        let id = match pattern {
            "/v2/requests/{id}/replay" => trace,
            _ => self.made("/v2/sessions", self.body("/v2/sessions")).await,
        };
        tried(pattern.replace("{id}", &id), json!({"model": MINI}))
    }

    /// A batch that the gateway worked through: cancelled, it stays as it is.
    async fn ended_batch(&self) -> String {
        self.made("/v2/provider-credentials", self.body("/v2/provider-credentials")).await;
        let turn = json!({"role": "user", "content": "one"});
        let ask = json!({"custom_id": "a", "params": {"model": MINI, "max_tokens": 9, "messages": [turn]}});
        let made = self.gateway.client().post("/v1/messages/batches", &json!({"requests": [ask]})).await;
        let id = id_of(&made.unwrap().must_be(200).json());
        let path = format!("/v2/batches/{id}");
        // And to be in the books, which come a moment later.
        until("the batch to end", async || {
            let shown = self.gateway.get(&path).await;
            shown["ended_at"].is_string() && shown["cost_nanos"].is_number()
        })
        .await;
        id
    }

    /// An act on a run of a flow: one that waits, or one that has ended.
    async fn of_flow_run(&self, pattern: &str, tried: impl Fn(String, Value) -> Try) -> Try {
        let declared = self.made("/v2/flows", self.body("/v2/flows")).await;
        let steps = json!({"ask": {"kind": "approval"}, "paid": {"kind": "wait", "event": "paid"}});
        let waiting = json!({"document": {"name": "w", "steps": steps}});
        let (of, wanted, body) = match pattern {
            "/v2/flows/validate" => return tried(pattern.to_owned(), self.body("/v2/flows")),
            "/v2/flow-runs" | "/v2/flowruns" => {
                return tried(pattern.to_owned(), json!({"flow": declared}));
            }
            "/v2/flow-runs/{id}/retry" | "/v2/flow-runs/{id}/replay" => {
                (json!({"flow": declared}), "ended", json!({}))
            }
            "/v2/flow-runs/{id}/events" => (waiting, "waiting", json!({"name": "paid"})),
            "/v2/flow-runs/{id}/approvals" => (waiting, "waiting", json!({"step": "ask", "approved": true})),
            _ => (waiting, "waiting", json!({})),
        };
        let begun = self.gateway.client().post("/v2/flow-runs", &of).await.unwrap().must_be(200);
        let id = id_of(&begun.json());
        let path = format!("/v2/flow-runs/{id}");
        until("the run is so far", async || self.gateway.get(&path).await["state"] == wanted).await;
        tried(pattern.replace("{id}", &id), body)
    }

    /// A task that has ended: cancelled, it stays as it is.
    async fn ended_task(&self) -> String {
        id_of(&self.ran(json!({"app": MINI, "input": {"prompt": "one"}, "wait": true})).await)
    }

    async fn warm_session(&self) -> String {
        let task = self.ran(json!({"app": MINI, "input": {"prompt": "one"}, "session": "new"})).await;
        task["session_id"].as_str().unwrap().to_owned()
    }

    async fn ran(&self, ask: Value) -> Value {
        self.made("/v2/provider-credentials", self.body("/v2/provider-credentials")).await;
        let made = self.gateway.client().post("/v1/run", &ask).await.unwrap().must_be(200);
        // What is written beside its record is written then, too.
        self.gateway.settled(&trace_of(&made)).await;
        // Who reads tasks waits for those that are on their way to the database.
        self.gateway.get("/v2/tasks").await;
        made.json()["data"].clone()
    }

    /// What a person does for a program.
    async fn by_person(&self, method: Method, pattern: &str, email: &str) -> Try {
        let gateway = self.gateway;
        let (role, body) = if pattern.starts_with("/v2/oauth") {
            let mut body = crate::oauth::wanted(gateway).await;
            body["approve"] = json!(true);
            ("developer", body)
        } else {
            let device =
                gateway.browser().post("/v2/device", &json!({"client_name": "laptop"})).await.unwrap();
            ("viewer", json!({"user_code": device.json()["user_code"], "approve": true}))
        };
        let person = gateway.member(&gateway.admin(), email, role).await;
        Try { client: person.client(), method, path: pattern.to_owned(), body }
    }

    /// A sign-in for an MCP server: its start, or its end in the browser of who began it.
    async fn of_sign_in(&self, method: Method, pattern: &str, email: &str) -> Try {
        let gateway = self.gateway;
        if pattern.contains("{id}") {
            let server = crate::mcp_authorization::wanting(gateway).await;
            let path = pattern.replace("{id}", &server);
            return Try { client: gateway.admin(), method, path, body: json!({}) };
        }
        let person = gateway.member(&gateway.admin(), email, "admin").await;
        let body = crate::mcp_authorization::returned(gateway, &person).await;
        Try { client: person.client(), method, path: pattern.to_owned(), body }
    }

    pub async fn prepare(&self, method: &Method, pattern: &str) -> Try {
        let (gateway, method, admin) = (self.gateway, method.clone(), self.gateway.admin());
        let tried =
            |path: String, body: Value| Try { client: admin.clone(), method: method.clone(), path, body };
        let of = |id: &str, body: Value| tried(pattern.replace("{id}", id), body);
        let email = format!("{}@writes.example", self.number);
        match pattern {
            regional if regional.ends_with("regional-policy") => {
                let project = self.made("/v2/projects", json!({"name": self.name()})).await;
                of("", json!({"project_id": project, "region_policy": "eu_only"}))
            }
            "/v2/sign-out" | "/v2/me" => {
                let person = gateway.member(&admin, &email, "viewer").await;
                let body = if method == Method::PATCH { json!({"name": self.name()}) } else { json!({}) };
                Try { client: person.client(), method, path: pattern.to_owned(), body }
            }
            "/v2/device/approve" | "/v2/oauth/consent" => self.by_person(method, pattern, &email).await,
            "/v2/mcp-servers/{id}/authorize" | "/v2/mcp-servers/authorized" => {
                self.of_sign_in(method, pattern, &email).await
            }
            "/v2/tariff/assignments/{id}" => {
                let tariff = self.body("/v2/tariff");
                let json = [("content-type", "application/json")];
                admin.call(Method::PUT, "/v2/tariff", &json, tariff.to_string()).await.unwrap().must_be(200);
                of(&gateway.founded.workspace_id, json!({"tariff": tariff["name"]}))
            }
            keys if keys.starts_with("/v2/vault/") => of("", self.change_of_keys(pattern).await),
            "/v2/capabilities/{id}" | "/v2/capabilities/{id}/rollback" => {
                of("openai", self.statement(pattern.ends_with("rollback")).await)
            }
            "/v2/webhooks/{id}/resend" => {
                let (webhook, event) = self.delivered().await;
                of(&webhook, json!({"event_id": event}))
            }
            "/v2/requests/{id}/replay" | "/v2/sessions/{id}/replay" => self.kept(pattern, tried).await,
            "/v2/data-exports/{id}" => tried(self.exported().await, Value::Null),
            of_runs if is_of_flow(of_runs) => self.of_flow_run(pattern, tried).await,
            "/v2/batches/{id}/cancel" => of(&self.ended_batch().await, json!({})),
            "/v2/tasks/{id}/cancel" => of(&self.ended_task().await, json!({})),
            "/v2/sessions/{id}/keep-alive" | "/v2/sessions/{id}/end" => {
                of(&self.warm_session().await, json!({}))
            }
            "/v2/byoc/nodes/{id}/revoke" => of(&self.joined().await, json!({})),
            "/v2/plan" => of("", json!({"model": MINI})),
            "/v2/routes/dry-run" => of("", json!({"route": {"scope": {"tag": "t"}}})),
            "/v2/sessions/{id}/branches/{branch_id}/events" => self.appended(tried).await,
            "/v2/provider-credentials/{id}/probe" => {
                // A catalogue provider's capabilities are known and not probed, so the provider is a custom one.
                let mut body = self.body("/v2/provider-credentials");
                body["provider"] = json!(format!("own-{}", self.number));
                of(&self.made("/v2/provider-credentials", body).await, json!({}))
            }
            runtimes if PlayedRuntime::serves(runtimes) => of("law-1", self.of_runtime(pattern).await),
            _ => match pattern.split_once("/{id}") {
                None => tried(pattern.to_owned(), self.whole_body(pattern).await),
                Some((collection, act)) => {
                    let id = self.made(collection, self.whole_body(collection).await).await;
                    let body = self.act_body(&method, collection, &id, act).await;
                    tried(format!("{collection}/{id}{act}"), body)
                }
            },
        }
    }
}

fn is_of_flow(pattern: &str) -> bool {
    pattern == "/v2/flows/validate"
        || ["/v2/flow-runs", "/v2/flowruns"].iter().any(|root| pattern.starts_with(root))
}

/// It writes nothing, since a release never changes, and says so.
const IMMUTABLE: &str = "/v2/model-aliases/{id}/releases/{release_id}";

/// The writing routes that require authentication.
pub fn writing() -> Vec<(Method, &'static str)> {
    let rows = declared().into_iter().filter(|(method, pattern, access)| {
        *method != Method::GET && access.is_some() && *pattern != IMMUTABLE
    });
    rows.map(|(method, pattern, _)| (method, pattern)).collect()
}

/// Routes that only read or test, and events of agents: they leave no audit entry.
const ASKS: [&str; 13] = [
    "/v2/byoc/nodes/{id}/uncordon",
    // A run in it says itself that it is used.
    "/v2/sessions/{id}/keep-alive",
    "/v2/flows/validate",
    // What a server lists is nothing that somebody wrote.
    "/v2/mcp-servers/{id}/refresh",
    "/v2/mcp-servers/{id}/authorize",
    // An event says itself who appended it, and when, and so does a score.
    "/v2/scores",
    "/v2/scores/{id}",
    "/v2/sessions/{id}/branches/{branch_id}/events",
    "/v2/plan",
    "/v2/webhooks/{id}/test",
    "/v2/train/preview",
    "/v2/routes/dry-run",
    "/v2/model-aliases/{id}/dry-run",
];
/// Routes that don't support a dry run, and say so.
const UNTRIED: &str = "/v2/flows/validate /v2/flow-runs /v2/flow-runs/{id}/cancel \
    /v2/flow-runs/{id}/pause /v2/flow-runs/{id}/resume /v2/flow-runs/{id}/retry /v2/flow-runs/{id}/events \
    /v2/flow-runs/{id}/approvals /v2/flow-runs/{id}/replay /v2/flowruns /v2/flowruns/{id}/cancel \
    /v2/tools/import /v2/apps/import /v2/mcp-servers/{id}/refresh /v2/mcp-servers/{id}/authorize \
    /v2/mcp-servers/authorized /v2/requests/{id}/replay /v2/sessions/{id}/replay /v2/webhooks/{id}/test \
    /v2/adapters /v2/adapters/{id}/load /v2/adapters/{id}/unload /v2/workers/{id}/destroy /v2/train/jobs \
    /v2/train/jobs/{id}/cancel /v2/train/jobs/{id}/pause /v2/train/jobs/{id}/resume /v2/train/preview \
    /v2/vault/master-key/rotate /v2/vault/master-key/finalize /v2/vault/accounts-key/rotate \
    /v2/vault/workspace-key/rotate";
/// Routes that a job follows, which writes too.
pub const JOBS: [&str; 3] = ["/v2/purge-jobs", "/v2/deletion-requests", "/v2/data-exports"];
/// Routes that succeed only on an object that was emptied first.
const TAKES_MORE: [(&str, &str); 1] = [("DELETE", "/v2/workspaces/{id}")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_leaves_nothing_and_a_write_one_entry() {
    let gateway = Gateway::with_everything().await;
    let mut tables = Tables::of(&gateway);
    let upstream = || gateway.emulator.journal().len();
    for (number, (method, pattern)) in writing().into_iter().enumerate() {
        let endpoint = format!("{method} {pattern}");
        let tried = Preparing { gateway: &gateway, number }.prepare(&method, pattern).await;
        let before = tables.look().await;
        let (calls, rehearsed) = (upstream(), tried.call("?dry_run=true").await);
        assert_eq!(before, tables.look().await, "{endpoint} kept something: {}", rehearsed.text());
        let rehearsed =
            if upstream() == calls { rehearsed } else { rehearsed_alone(&gateway, &tried, &endpoint).await };
        if TAKES_MORE.contains(&(method.as_str(), pattern)) {
            continue;
        }
        let done = if words(UNTRIED).contains(&pattern) {
            assert_eq!(problem(&rehearsed, 400, "invalid_value")["param"], "dry_run", "{endpoint}");
            tried.call("").await
        } else {
            done_as_rehearsed(&tried, &rehearsed, &endpoint).await
        };
        assert!(done.status < 300, "{endpoint}: {}", done.text());
        if pattern.starts_with("/v2/vault/") {
            // What was sealed with a key before is sealed again in the background.
            Preparing { gateway: &gateway, number }.keys_at_rest().await;
        }
        if JOBS.contains(&pattern) {
            let path = format!("{pattern}/{}", id_of(&done.json()));
            until("the job to end", async || gateway.get(&path).await["status"] == "completed").await;
        }
        assert_eq!(done.header("tidegate-dry-run"), None);
        // Entries of background work, which have no trace id, don't count.
        let mut entries = tables.audit_after(before.audited).await;
        entries.retain(|entry| !entry["trace"].is_null());
        assert_eq!(entries.len(), usize::from(!ASKS.contains(&pattern)), "{endpoint}: {entries:?}");
        for entry in &entries {
            is_whole(entry, &done, &endpoint);
        }
    }
    for row in tables.audit_after(0).await {
        for secret in [OWN, OWN_SECOND, POOL, POOL_SECOND, NODE] {
            assert!(!row.to_string().contains(secret), "{row}");
        }
    }
}

/// The gateway polls its nodes every half minute, one after the other, whatever is rehearsed meanwhile. A dry
/// run that makes an upstream call would make it each time, so one dry run without a call is proof.
async fn rehearsed_alone(gateway: &Gateway, tried: &Try, endpoint: &str) -> Answer {
    let deadline = Instant::now() + WITHIN;
    while Instant::now() < deadline {
        let calls = gateway.emulator.journal().len();
        let rehearsed = tried.call("?dry_run=true").await;
        if gateway.emulator.journal().len() == calls {
            return rehearsed;
        }
    }
    panic!("{endpoint} called somebody each time that it was rehearsed")
}

/// Makes the rehearsed call for real: it must be answered like the dry run.
async fn done_as_rehearsed(tried: &Try, rehearsed: &Answer, endpoint: &str) -> Answer {
    assert!(rehearsed.status < 300, "{endpoint}: {}", rehearsed.text());
    assert_eq!(rehearsed.header("tidegate-dry-run"), Some("true"), "{endpoint}");
    for header in ["location", "etag", "set-cookie"] {
        assert_eq!(rehearsed.header(header), None, "{endpoint}");
    }
    let done = tried.call("").await;
    assert_eq!(done.status, rehearsed.status, "{endpoint}: {}", done.text());
    assert_eq!(fields(&done), fields(rehearsed), "{endpoint} has another shape");
    done
}

/// The names of an answer's fields.
fn fields(answer: &Answer) -> Vec<String> {
    answer.json().as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn is_whole(entry: &Value, done: &Answer, endpoint: &str) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    // A workspace is created by the operator, whose key id must not show in the tenant's audit log.
    let actors: &[&str] =
        if endpoint.starts_with("POST /v2/workspaces") { &["operator"] } else { &["key_", "mem_"] };
    assert!(actors.iter().any(|kind| text("actor").starts_with(kind)), "{endpoint}: {entry}");
    let trace = done.header("x-request-id").unwrap().trim_start_matches("trc_");
    assert_eq!(text("trace"), trace, "{endpoint}: {entry}");
    let is_in_words = domain::audit::sentence(&text("action"), "").is_some();
    assert!(is_in_words && !text("object").is_empty(), "{endpoint}: {entry}");
    assert!(entry["sequence"].is_number() && text("hash").len() == 64, "{endpoint}: {entry}");
    // A request, a run of a flow and a workspace key are not configuration objects.
    let of_object =
        text("object").split_once('_').is_some_and(|(kind, _)| !["trc", "flr", "wk"].contains(&kind));
    let gone = ["delete", "remove"].iter().any(|end| text("action").ends_with(end));
    let elsewhere = text("action") == "workspace.create";
    if of_object && !gone {
        assert_eq!(text("after_digest").len(), 64, "{endpoint}: {entry}");
    }
    if of_object && gone && !elsewhere {
        assert_eq!(text("before_digest").len(), 64, "{endpoint}: {entry}");
        assert!(entry["after_digest"].is_null(), "{endpoint}: {entry}");
    }
}

/// A dry run is available for authenticated writes only, and its header takes yes or no.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_rehearsal_is_asked_for_in_one_way() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let body = json!({"name": "p"});
    for query in ["?dry_run=1", "?dry_run=", "?dry_run=TRUE", "?dry_run=true&dry_run=true"] {
        let answer = admin.post(&format!("/v2/projects{query}"), &body).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    assert_eq!(admin.get("/v2/projects?dry_run=true").await.unwrap().status, 400);
    let sign_in = json!({"email": "a@b.example", "password": "twelve letters"});
    assert_eq!(gateway.browser().post("/v2/sign-in?dry_run=true", &sign_in).await.unwrap().status, 400);
    let created = admin.post("/v2/projects?dry_run=false", &body).await.unwrap();
    assert_eq!((created.status, created.header("tidegate-dry-run")), (201, None));
    let refused = admin.post("/v2/projects?dry_run=true", &body).await.unwrap();
    assert_eq!(refused.status, 409, "what is taken is refused: {}", refused.text());
    let keyed = gateway.admin().header("idempotency-key", "k".repeat(256));
    let another = json!({"name": "q"});
    let answer = keyed.post("/v2/projects?dry_run=true", &another).await.unwrap();
    problem(&answer, 400, "invalid_idempotency_key");
    let reader = gateway.key(json!({"name": "r", "scopes": ["read"]})).await.0;
    gateway.with_key(&reader).post("/v2/projects?dry_run=true", &another).await.unwrap().must_be(403);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_made_object_says_where_and_which_version_it_is() {
    let gateway = Gateway::start().await;
    let made = gateway.admin().post("/v2/projects", &json!({"name": "p"})).await.unwrap();
    let path = format!("/v2/projects/{}", id_of(&made.json()));
    assert_eq!(made.header("location"), Some(path.as_str()));
    let tag = made.header("etag").unwrap().to_owned();
    let same = gateway.admin().call(Method::GET, &path, &[("if-none-match", &tag)], "").await.unwrap();
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag.as_str())));
    gateway.patch(&path, json!({"name": "q"})).await;
    let newer = gateway.admin().call(Method::GET, &path, &[("if-none-match", &tag)], "").await.unwrap();
    assert_eq!((newer.status, newer.json()["name"].as_str()), (200, Some("q")));
}

/// Each object has a version, and a write that names another version is refused.
#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_is_guarded_by_its_version() {
    let gateway = Gateway::with_everything().await;
    let readable: Vec<_> = declared().into_iter().filter(|(method, ..)| *method == Method::GET).collect();
    let is_object = |pattern: &str| pattern.ends_with("/{id}") && readable.iter().any(|row| row.1 == pattern);
    let objects = writing().into_iter().filter(|(_, pattern)| is_object(pattern));
    for (number, (method, pattern)) in objects.enumerate() {
        let endpoint = format!("{method} {pattern}");
        let tried = Preparing { gateway: &gateway, number }.prepare(&method, pattern).await;
        let current = gateway.admin().get(&tried.path).await.unwrap();
        let tag = current.header("etag").unwrap_or_else(|| panic!("{pattern} has no ETag"));
        let same = gateway.admin().call(Method::GET, &tried.path, &[("if-none-match", tag)], "").await;
        assert_eq!(same.unwrap().status, 304, "{pattern}");
        let json = [("content-type", "application/json"), ("if-match", "\"v999999\"")];
        let call = tried.client.call(method.clone(), &tried.path, &json, tried.body.to_string());
        problem(&call.await.unwrap(), 412, "version_mismatch");
        assert_eq!(gateway.admin().get(&tried.path).await.unwrap().header("etag"), Some(tag), "{endpoint}");
    }
}
