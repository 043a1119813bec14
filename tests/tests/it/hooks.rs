//! The hooks of policies: a customer's server decides about requests before they are sent and about answers before they
//! are passed on, and what happens where it is silent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::Behaviour;
use harness::client::Answer;
use harness::pace::Pace;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::ask::{CHAT, MINI, has, problem, question, refused, said, streaming, trace_of, with};
use crate::audit::audited;
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::webhooks::{Receiver, next_request};

const MAIL: &str = "ann.lee@mail.example.com";
const REFUSAL: &str = r#"{"decision": "refuse", "reason": "Not on Sundays."}"#;

/// What a hook's server answers.
#[derive(Clone)]
pub enum Reply {
    /// A status and a body.
    Now(u16, String),
    /// Nothing, with the connection open.
    Never,
}

impl Reply {
    pub fn allow() -> Self {
        Self::Now(200, r#"{"decision": "allow"}"#.to_owned())
    }

    fn refuse() -> Self {
        Self::Now(200, REFUSAL.to_owned())
    }
}

/// A customer's server, which takes messages and answers each as it was told to last.
pub struct Server {
    pub origin: String,
    reply: Arc<Mutex<Reply>>,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (reply, messages) = (Arc::new(Mutex::new(reply)), Arc::new(Mutex::new(Vec::new())));
        let (told, taken) = (Arc::clone(&reply), Arc::clone(&messages));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&told), Arc::clone(&taken)));
            }
        });
        Self { origin, reply, messages }
    }

    fn says(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }

    pub fn hook(&self, at: &str, more: Value) -> Value {
        let hook = json!({"at": at, "url": format!("{}/decide", self.origin), "on_silence": "refuse", "timeout_ms": 10_000});
        with(hook, more)
    }
}

/// One connection; only what is sent to the hook's own path counts as a message.
async fn converse(stream: TcpStream, reply: Arc<Mutex<Reply>>, messages: Arc<Mutex<Vec<Value>>>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = next_request(&mut stream).await {
        let mut message: Value = serde_json::from_slice(&body).unwrap();
        message["path"] = head.split(' ').nth(1).unwrap_or_default().into();
        messages.lock().unwrap().push(message);
        let told = reply.lock().unwrap().clone();
        match told {
            Reply::Never => std::future::pending().await,
            Reply::Now(status, body) => {
                let location = if status == 302 { "Location: http://169.254.169.254/\r\n" } else { "" };
                let head =
                    format!("HTTP/1.1 {status} Told\r\n{location}Content-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        }
    }
}

/// A gateway whose project has these hooks.
async fn gateway(hooks: &[Value], rules: Value) -> (Gateway, Value) {
    let gateway = Gateway::with_own().await;
    let policy = json!({"project_id": gateway.founded.project_id, "hooks": hooks});
    let policy = gateway.make("/v2/policies", with(policy, rules)).await;
    (gateway, policy)
}

/// The outcomes of a request's hooks, as its record has them: where each was called, and what came of it.
async fn outcomes(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.settled(answer.header("agent-trace-id").unwrap()).await;
    let text = |call: &Value, name: &str| call[name].as_str().unwrap().to_owned();
    let hooks = record["hooks"].as_array().unwrap().iter();
    hooks.map(|call| text(call, "at") + " " + &text(call, "outcome")).collect::<Vec<_>>().join(", ")
}

fn forbidden(answer: &Answer, policy: &Value, why: &str) {
    let error = refused(answer, 403, "policy_forbids");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(policy["id"].as_str().unwrap()) && message.contains("(hooks)"), "{error}");
    assert!(message.contains(why), "{error}");
    assert_eq!(answer.header("agent-policy-rule"), Some("hooks"), "{error}");
}

#[tokio::test]
async fn a_hook_allows_a_request_or_refuses_it_with_its_reason_and_nothing_is_sent() {
    let server = Server::start(Reply::allow()).await;
    let (gateway, policy) = gateway(&[server.hook("pre", json!({}))], json!({})).await;
    let ask = with(question(MINI), json!({"metadata": {"team": "sea"}, "user": "ann"}));
    let answer = gateway.chat_ok(&ask).await;
    assert_eq!(outcomes(&gateway, &answer).await, "pre allowed");
    let message = server.messages().pop().unwrap();
    let data = &message["data"];
    has(&message, json!({"type": "policy.pre", "path": "/decide"}));
    assert_eq!(message["workspace_id"], gateway.founded.workspace_id, "{message}");
    assert_eq!((&message["policy_id"], &data["request_id"]), (&policy["id"], &json!(trace_of(&answer))));
    has(data, json!({"model": MINI, "operation": "chat", "dialect": "chat", "end_user": "ann"}));
    has(data, json!({"metadata": {"team": "sea"}, "project_id": gateway.founded.project_id}));
    assert!(data["size_bytes"].as_u64().unwrap() > 0 && data.get("content").is_none(), "{message}");

    server.says(Reply::refuse());
    let sent = gateway.calls(OWN).len();
    for body in [question(MINI), streaming(MINI)] {
        forbidden(&gateway.chat(&body).await, &policy, "says: Not on Sundays");
    }
    let messages = with(question(MINI), json!({"max_tokens": 10}));
    let answer = gateway.client().post("/v1/messages", &messages).await.unwrap();
    assert_eq!(answer.must_be(403).json()["error"]["type"], "permission_error");
    let responses = json!({"model": MINI, "input": "hello"});
    let answer = gateway.client().post("/v1/responses", &responses).await.unwrap();
    forbidden(&answer, &policy, "says: Not on Sundays");
    let record = gateway.settled(answer.header("agent-trace-id").unwrap()).await;
    has(&record, json!({"/hooks/0/outcome": "refused", "checks": [], "attempts": []}));
    assert_eq!(record["error"]["refused_by"]["policy_rule"], "hooks", "{record}");
    assert_eq!(gateway.calls(OWN).len(), sent, "something left");
    let entry = audited(&gateway, "request.refuse").await;
    assert!(entry["detail"].as_str().unwrap().contains("Not on Sundays"), "{entry}");
    let metrics = gateway.browser().get("/metrics").await.unwrap().text();
    for line in ["policy_refusals_total{rule=\"hooks\"} 4", "policy_hooks_total{outcome=\"refused\"} 4"] {
        assert!(metrics.contains(&format!("tidegate_{line}")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn its_calls_are_signed_for_the_official_library_also_by_a_secret_that_was_rotated() {
    let mut receiver = Receiver::start().await;
    let hook = json!({"at": "pre", "url": receiver.url(), "on_silence": "refuse", "timeout_ms": 10_000});
    let (gateway, policy) = gateway(&[hook], json!({})).await;
    let path = format!("/v2/policies/{}", id_of(&policy));
    let secret = policy["hook_secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{policy}");
    receiver.tell(json!({"secret": secret})).await;
    gateway.chat_ok(&question(MINI)).await;
    let first = receiver.received().await;
    assert_eq!(first["error"], Value::Null, "{first}");
    let shown = gateway.get(&path).await;
    assert!(!shown.to_string().contains("whsec_") && shown["hook_secret_fingerprint"].is_string(), "{shown}");

    let rotate = async || {
        gateway.admin().post(&format!("{path}/rotate"), &json!({})).await.unwrap().must_be(200).json()
    };
    let rotated = rotate().await;
    assert_ne!(rotated["hook_secret"], policy["hook_secret"]);
    assert_ne!(rotated["hook_secret_fingerprint"], shown["hook_secret_fingerprint"]);
    for secret in [secret, rotated["hook_secret"].as_str().unwrap()] {
        receiver.tell(json!({"secret": secret})).await;
        gateway.chat_ok(&question(MINI)).await;
        let received = receiver.received().await;
        assert_eq!(received["error"], Value::Null, "both sign: {received}");
        let signatures = received["headers"]["webhook-signature"].as_str().unwrap();
        assert_eq!(signatures.split(' ').count(), 2, "{received}");
    }
    // A third does not: the first is dropped.
    rotate().await;
    receiver.tell(json!({"secret": secret})).await;
    refused(&gateway.chat(&question(MINI)).await, 403, "policy_forbids");
    assert_eq!(receiver.received().await["status"], 401);
    // A change of the policy makes no secret.
    let changed = gateway.patch(&path, json!({"profiles": ["byok"]})).await;
    assert_eq!(changed.get("hook_secret"), None, "{changed}");
}

#[tokio::test]
async fn where_it_is_silent_the_policy_says_what_happens() {
    let server = Server::start(Reply::Never).await;
    let (gateway, policy) = gateway(&[server.hook("pre", json!({}))], json!({})).await;
    let path = format!("/v2/policies/{}", id_of(&policy));
    let other = |status: u16, body: &str| Reply::Now(status, body.to_owned());
    let replies = [
        (Reply::Never, "timeout", "did not answer within 50 ms"),
        (other(500, "{}"), "malformed", "did not answer with a decision"),
        (other(302, ""), "malformed", "did not answer with a decision"),
        (other(200, "yes"), "malformed", "did not answer with a decision"),
    ];
    for (number, (reply, outcome, why)) in replies.into_iter().enumerate() {
        let timeout_ms = if outcome == "timeout" { 50 } else { 10_000 };
        server.says(reply);
        // Another address each time: one that failed before would not be called for a while.
        let url = format!("{}/decide/{number}", server.origin);
        for on_silence in ["allow", "refuse"] {
            let more = json!({"url": url, "on_silence": on_silence, "timeout_ms": timeout_ms});
            gateway.patch(&path, json!({"hooks": [server.hook("pre", more)]})).await;
            let answer = gateway.chat(&question(MINI)).await;
            if on_silence == "refuse" {
                forbidden(&answer, &policy, why);
            } else {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            assert_eq!(outcomes(&gateway, &answer).await, format!("pre {outcome}"));
        }
    }
    let dead = server.hook("pre", json!({"url": "http://127.0.0.1:9/"}));
    gateway.patch(&path, json!({"hooks": [dead]})).await;
    forbidden(&gateway.chat(&question(MINI)).await, &policy, "could not be reached");
    // What a redirect names is not called: each message came to the hook's own path.
    let messages = server.messages();
    assert_eq!(messages.len(), 8, "{messages:?}");
    assert!(messages.iter().all(|message| message["path"].as_str().unwrap().starts_with("/decide/")));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_hook_that_keeps_failing_is_not_called_for_a_while() {
    let server = Server::start(Reply::Now(500, String::new())).await;
    let hook = server.hook("pre", json!({"on_silence": "allow"}));
    let (gateway, _) = gateway(&[hook], json!({})).await;
    let mut answers = Vec::new();
    for _ in 0..24 {
        answers.push(gateway.chat_ok(&question(MINI)).await);
    }
    let called = server.messages().len();
    let mut skipped = 0;
    for answer in &answers {
        skipped += usize::from(outcomes(&gateway, answer).await == "pre skipped");
    }
    assert_eq!(called + skipped, 24);
    // Five on each of the two cores, and one more for each pause that a slow machine lets end.
    assert!(skipped >= 8, "{skipped}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn it_reads_texts_only_if_it_says_so_and_never_what_a_check_masks() {
    let server = Server::start(Reply::allow()).await;
    let reads = json!({"content": true});
    let checks = json!({"checks": [{"detect": "email", "action": "mask"}]});
    let hooks = [("pre", reads.clone()), ("post", reads), ("post", json!({}))];
    let hooks = hooks.map(|(at, more)| server.hook(at, more));
    let (gateway, _policy) = gateway(&hooks, checks).await;
    gateway.emulator.script(OWN, [Behaviour::ok().text("a reply").always()]);
    let ask = json!({"model": MINI, "messages": [{"role": "user", "content": format!("Write to {MAIL}.")}]});
    let answer = gateway.chat_ok(&ask).await;
    assert_eq!(outcomes(&gateway, &answer).await, "pre allowed, post allowed, post allowed");
    let messages = server.messages();
    let content = |message: &Value| message["data"]["content"].as_str().unwrap_or_default().to_owned();
    let (pre, post): (Vec<_>, Vec<_>) = messages.iter().partition(|one| one["type"] == "policy.pre");
    assert!(content(pre[0]).contains("Write to [EMAIL_1].") && !pre[0].to_string().contains(MAIL), "{pre:?}");
    let read: Vec<_> = post.iter().map(|one| content(one)).collect();
    assert!(read.contains(&answer.text()) && read.contains(&String::new()), "{read:?}");
    let data = &post[0]["data"];
    has(data, json!({"provider": "openai", "profile": "byok", "status": 200}));
    assert!(data["usage"]["prompt_tokens"].as_u64().unwrap() > 0, "{data}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_that_it_refuses_is_not_passed_on_and_is_booked() {
    let server = Server::start(Reply::allow()).await;
    let (gateway, policy) = gateway(&[server.hook("post", json!({"content": true}))], json!({})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().text("the secret").always()]);
    server.says(Reply::refuse());
    let answer = gateway.chat(&question(MINI)).await;
    forbidden(&answer, &policy, "says: Not on Sundays");
    assert!(!answer.text().contains("the secret"), "{}", answer.text());
    let record = gateway.settled(answer.header("agent-trace-id").unwrap()).await;
    has(&record, json!({"status": 403, "outcome": "completed"}));
    assert!(record["input_tokens"].as_u64().unwrap() > 0, "what was used is booked: {record}");
    assert_eq!(record["attempts"][0]["fault"], Value::Null, "{record}");
    assert_eq!(gateway.calls(OWN).len(), 1, "it is not sent again");
    // A stream has gone out by then: the hook is told of its end, and what it says is recorded.
    let answer = gateway.chat_ok(&streaming(MINI)).await;
    assert_eq!(said(&answer), "the secret");
    assert!(answer.text().trim_end().ends_with("[DONE]"), "{}", answer.text());
    assert_eq!(outcomes(&gateway, &answer).await, "post refused");
    let message = server.messages().pop().unwrap();
    assert_eq!(message["data"]["is_decided"], false, "{message}");
    assert!(message["data"]["content"].as_str().unwrap().contains("[DONE]"), "{message}");
    assert!(message["data"]["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{message}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_workspace_has_its_own_hooks_and_no_other_hears_of_its_requests() {
    let (wide, narrow) = (Server::start(Reply::allow()).await, Server::start(Reply::allow()).await);
    let (gateway, policy) = gateway(&[narrow.hook("pre", json!({}))], json!({})).await;
    let workspace = json!({"workspace": true, "hooks": [wide.hook("pre", json!({}))]});
    let workspace = gateway.make("/v2/policies", workspace).await;
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let tenant = second_workspace(&gateway).await;
    let theirs = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url()});
    gateway.with_key(&tenant.admin_key).post("/v2/provider-credentials", &theirs).await.unwrap().must_be(201);
    let asks =
        async |key: &str| gateway.with_key(key).post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    asks(&tenant.api_key).await;
    assert_eq!((wide.messages().len(), narrow.messages().len()), (0, 0), "another workspace's request");
    asks(&key).await;
    assert_eq!((wide.messages().len(), narrow.messages().len()), (1, 0), "another project's request");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!((wide.messages().len(), narrow.messages().len()), (2, 1));
    // One refusal is enough, whoever allows.
    wide.says(Reply::refuse());
    forbidden(&gateway.chat(&question(MINI)).await, &workspace, "Not on Sundays");
    wide.says(Reply::allow());
    narrow.says(Reply::refuse());
    forbidden(&gateway.chat(&question(MINI)).await, &policy, "Not on Sundays");
    // Each message is signed with the secret of its own policy, which differs.
    assert_ne!(policy["hook_secret"], workspace["hook_secret"]);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_of_the_response_cache_is_shown_to_it_as_well() {
    let server = Server::start(Reply::allow()).await;
    let hooks = [server.hook("pre", json!({})), server.hook("post", json!({"content": true}))];
    let (gateway, policy) = gateway(&hooks, json!({})).await;
    let project = format!("/v2/projects/{}", gateway.founded.project_id);
    gateway.patch(&project, json!({"caching": {"responses": {"mode": "exact"}}})).await;
    let cached = |answer: &Answer| answer.header("agent-cache").unwrap_or_default().to_owned();
    assert_eq!(cached(&gateway.chat_ok(&question(MINI)).await), "miss");
    let again = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(cached(&again), "hit");
    assert_eq!(outcomes(&gateway, &again).await, "pre allowed, post allowed");
    let message = server.messages().pop().unwrap();
    assert_eq!(message["data"]["from_response_cache"], true, "{message}");
    assert_eq!(message["data"]["content"], again.text().as_str(), "{message}");
    server.says(Reply::refuse());
    forbidden(&gateway.chat(&question(MINI)).await, &policy, "Not on Sundays");
    gateway.patch(&format!("/v2/policies/{}", id_of(&policy)), json!({"hooks": [hooks[1]]})).await;
    server.says(Reply::allow());
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(cached(&gateway.chat_ok(&question(MINI)).await), "hit");
    server.says(Reply::refuse());
    let refusal = gateway.chat(&question(MINI)).await;
    forbidden(&refusal, &policy, "Not on Sundays");
    assert_ne!(cached(&refusal), "hit");
    // Nothing that it refused is kept.
    let other = with(question(MINI), json!({"max_tokens": 9}));
    forbidden(&gateway.chat(&other).await, &policy, "Not on Sundays");
    server.says(Reply::allow());
    assert_eq!(cached(&gateway.chat_ok(&other).await), "miss");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_fallback_is_one_request_to_it_and_a_deadline_ends_its_wait() {
    let server = Server::start(Reply::allow()).await;
    let hooks = [server.hook("pre", json!({})), server.hook("post", json!({}))];
    let (gateway, policy) = gateway(&hooks, json!({})).await;
    let large = "openai/gpt-5-mini";
    gateway.route(json!({"model_fallbacks": [{"on": ["outage"], "model": large}]})).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).times(3)]);
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-resolved-model"), Some(large));
    let messages = server.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[0]["data"]["model"], MINI, "{messages:?}");
    assert_eq!(messages[1]["data"]["resolved_model"], large, "{messages:?}");
    assert_eq!(messages[1]["data"]["fallback_used"], true, "{messages:?}");
    // The hook has ten seconds, the request less.
    server.says(Reply::Never);
    let path = format!("/v2/policies/{}", id_of(&policy));
    let hook = server.hook("pre", json!({"on_silence": "refuse"}));
    gateway.patch(&path, json!({"hooks": [hook], "limits": {"max_duration_ms": 100}})).await;
    let pace = Pace::start(&[gateway.serving()]);
    let answer = gateway.chat(&question(MINI)).await;
    let took = pace.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    forbidden(&answer, &policy, "did not answer");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn plans_and_commands_name_the_hooks_and_call_none() {
    let server = Server::start(Reply::refuse()).await;
    let hooks = [server.hook("pre", json!({"content": true})), server.hook("post", json!({}))];
    let (gateway, policy) = gateway(&hooks, json!({})).await;
    for body in [json!({"model": MINI}), json!({"request": question(MINI)})] {
        let plan = gateway.plan(body).await;
        let (pre, post) = (&plan["hooks"][0], &plan["hooks"][1]);
        has(pre, json!({"at": "pre", "content": true, "policy_id": policy["id"]}));
        has(post, json!({"at": "post", "on_silence": "refuse"}));
        assert_eq!(plan["error"], Value::Null, "{plan}");
    }
    let effective = format!("/v2/policies/effective?project_id={}", gateway.founded.project_id);
    let effective = gateway.get(&effective).await;
    assert_eq!(effective["hooks"].as_array().unwrap().len(), 2, "{effective}");
    let cli = gateway.cli();
    let printed = cli.run(&["plan", MINI]).ok();
    assert!(printed.contains(&format!("hook        pre {}/decide, refuse", server.origin)), "{printed}");
    let hook = format!("pre={}/decide:allow:250:content", server.origin);
    let set = cli.run(&["policy", "set", &id_of(&policy), "--hook", &hook, "--json"]).json();
    let expected = json!([{"at": "pre", "url": format!("{}/decide", server.origin), "timeout_ms": 250, "on_silence": "allow", "content": true}]);
    assert_eq!(set["hooks"], expected, "{set}");
    let rotated = cli.run(&["policy", "rotate", &id_of(&policy), "--json"]).json();
    assert!(rotated["hook_secret"].as_str().unwrap().starts_with("whsec_"), "{rotated}");
    assert!(server.messages().is_empty(), "a plan calls no hook");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_hook_that_may_not_be_called_is_refused_when_it_is_saved() {
    let gateway = Gateway::with(crate::gateway::config(), &[("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let project = gateway.founded.project_id.clone();
    let hook = |url: &str, more: Value| with(json!({"at": "pre", "url": url, "on_silence": "allow"}), more);
    let good = "https://hooks.example/decide";
    let plain = hook("http://hooks.example/x", json!({}));
    for (hooks, code, param) in [
        (vec![hook("https://127.0.0.1/x", json!({}))], "webhook_url_refused", "hooks[0].url"),
        (vec![hook("https://169.254.169.254/x", json!({}))], "webhook_url_refused", "hooks[0].url"),
        (vec![hook(good, json!({})), plain], "webhook_url_refused", "hooks[1].url"),
        (vec![hook("https://hooks.example:25/x", json!({}))], "webhook_url_refused", "hooks[0].url"),
        (vec![hook(good, json!({"timeout_ms": 0}))], "invalid_value", "hooks[0].timeout_ms"),
        (vec![hook(good, json!({"timeout_ms": 10_001}))], "invalid_value", "hooks[0].timeout_ms"),
        (vec![hook(good, json!({})); 5], "invalid_value", "hooks"),
    ] {
        let body = json!({"project_id": project, "hooks": hooks});
        let answer = gateway.admin().post("/v2/policies", &body).await.unwrap();
        assert_eq!(problem(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    let policy = json!({"project_id": project, "hooks": [hook(good, json!({}))]});
    let made = gateway.make("/v2/policies", policy).await;
    assert_eq!(made["hooks"][0]["timeout_ms"], 1_000, "{made}");
}
