//! Flows: declared, versioned, run step by step, resumed after a kill, paused, cancelled, retried, approved and repeated.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::client::{Answer, Client};
use harness::mcp::{McpAnswer, McpServer, McpTool};
#[cfg(feature = "figures")]
use harness::pace::cpu_time;
use harness::setting::number;
use serde_json::{Map, Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, problem, with};
use crate::flow_engines::{Engine, under_each_engine};
use crate::gateway::{Gateway, OWN, config, id_of};
use crate::isolation::second_workspace;
use crate::tasks::{each_booked_once, read as task};
use crate::tools::{refreshed, server};
use crate::wait::{a_moment, found, until};

pub const RUNS: &str = "/v2/flow-runs";

under_each_engine! {
    a_flow_has_a_step_of_each_kind,
    a_run_waits_for_events_and_approvals_and_is_paused_and_cancelled,
    a_run_that_fails_is_compensated_and_goes_on_from_its_step,
    no_step_starts_once_the_budget_is_reached,
    a_kill_loses_no_step_and_settles_none_twice,
    published_clients_run_flows_and_follow_them,
    a_purge_leaves_nothing_of_a_run,
}

pub fn flow(steps: Value, more: Value) -> Value {
    with(json!({"name": "f", "steps": steps}), more)
}

pub async fn start(client: &Client, document: &Value, input: Value) -> String {
    let body = json!({"document": document, "input": input});
    id_of(&client.post(RUNS, &body).await.unwrap().must_be(200).json())
}

pub async fn read(client: &Client, id: &str) -> Value {
    client.get(&format!("{RUNS}/{id}")).await.unwrap().must_be(200).json()
}

pub async fn ended(client: &Client, id: &str) -> Value {
    let deadline = Instant::now() + 4 * WITHIN;
    loop {
        let run = read(client, id).await;
        if run["state"] == "ended" {
            return run;
        }
        assert!(Instant::now() < deadline, "{run}");
        a_moment().await;
    }
}

pub async fn until_step(client: &Client, id: &str, name: &str, status: &str) -> Value {
    found(&format!("the step {name} is {status}"), async || {
        let run = read(client, id).await;
        (step(&run, name)["status"] == status).then_some(run)
    })
    .await
}

pub fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    run["steps"].as_array().unwrap().iter().find(|step| step["id"] == name).unwrap_or(&Value::Null)
}

pub fn statuses(run: &Value) -> Map<String, Value> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["id"].as_str().unwrap().to_owned(), step["status"].clone())).collect()
}

pub async fn act(client: &Client, id: &str, act: &str, body: Value) -> Answer {
    client.post(&format!("{RUNS}/{id}/{act}"), &body).await.unwrap()
}

pub async fn output(client: &Client, id: &str, step: &str) -> Value {
    let path = format!("{RUNS}/{id}/step?path={}", step.replace('[', "%5B").replace(']', "%5D"));
    client.get(&path).await.unwrap().must_be(200).json()
}

/// A step that asks a model.
pub fn say(text: &str) -> Value {
    json!({"kind": "app", "app": MINI, "input": {"prompt": text}})
}

/// A flow with a step of each kind.
fn of_each_kind(base_url: &str) -> Value {
    let steps = json!({
        "hello": {"kind": "model", "model": MINI, "input": {"prompt": "hello {{input.name}}"}},
        "names": {"kind": "constant", "value": ["a", "b", "c"]},
        "size": {"kind": "expression", "expression": "size(names.output) + input.n"},
        "sum": {"kind": "tool", "tool": "maths__add", "input": {"a": "{{size.output}}"}},
        "page": {"kind": "http", "method": "POST", "url": format!("{base_url}/embeddings"),
            "headers": {"authorization": format!("Bearer {OWN}")},
            "body": {"model": "text-embedding-3-small", "input": "{{input.name}}"}},
        "which": {"kind": "branch", "cases": {"large": "size.output > 100", "small": "true"}},
        "large": {"kind": "constant", "value": "L", "when": "which.output == 'large'"},
        "small": {"kind": "constant", "value": "S", "when": "which.output == 'small'"},
        "either": {"kind": "merge", "needs": ["large", "small"], "mode": "first"},
        "both": {"kind": "merge", "needs": ["large", "small"]},
        "chosen": {"kind": "selector", "cases": [{"when": "input.n > 9", "value": "many"}], "default": "few"},
        "gate": {"kind": "gate", "condition": "input.n > 9"},
        "behind": {"kind": "constant", "value": 1, "needs": ["gate"]},
        "asked": {"kind": "map", "over": "names.output", "parallel": 2,
            "step": say("say {{item}} {{index}}")},
        "doubled": {"kind": "map", "over": "[1, 2, 3]", "step": {"kind": "flow", "flow": "inner", "input": {"n": "{{item}}"}}},
        "grown": {"kind": "loop", "limit": 9, "until": "output > 20",
            "step": {"kind": "expression", "expression": "index == 0 ? 1 : previous * 3"}},
        "later": {"kind": "wait", "seconds": 0},
    });
    let output = json!({
        "hello": "{{hello.output.response}}", "size": "{{size.output}}", "sum": "{{sum.output.sum}}",
        "either": "{{either.output}}", "both": "{{both.output}}", "chosen": "{{chosen.output}}",
        "asked": "{{asked.output.map(one, one.response)}}", "doubled": "{{doubled.output}}",
        "grown": "{{grown.output}}", "vector": "{{size(page.output.data)}}",
    });
    flow(steps, json!({"input": {"type": "object", "required": ["name", "n"]}, "output": output}))
}

async fn a_flow_has_a_step_of_each_kind(engine: Engine) {
    let gateway = engine.with_models().await;
    let sum = McpAnswer::Text("{\"sum\": 42}".to_owned());
    let mcp = McpServer::start([McpTool::new("add", "Adds.", sum)]).unwrap();
    server(&gateway, "maths", &mcp).await;
    let double = json!({"double": {"kind": "expression", "expression": "input.n * 2"}});
    let inner = flow(double, json!({"name": "inner", "output": "{{double.output}}"}));
    gateway.make("/v2/flows", json!({"document": inner})).await;
    let document = of_each_kind(&gateway.emulator.base_url());
    let client = gateway.client();
    let id = start(&client, &document, json!({"name": "Ann", "n": 4})).await;
    let run = ended(&client, &id).await;
    has(&run, json!({"status": "completed", "error_code": null}));
    let output_of_all = json!({
        "hello": "You said: hello Ann", "size": 7, "sum": 42, "either": "S", "both": {"small": "S"},
        "chosen": "few", "asked": ["You said: say a 0", "You said: say b 1", "You said: say c 2"],
        "doubled": [2, 4, 6], "grown": 27, "vector": 1,
    });
    assert_eq!(run["output"], output_of_all, "{run}");
    let expected =
        json!({"large": "skipped", "gate": "completed", "behind": "blocked", "asked[2]": "completed"});
    has(&Value::Object(statuses(&run)), expected);
    // What a step is, what it cost and how long it took.
    let hello = step(&run, "hello");
    assert!(hello["began"].as_str().unwrap().starts_with("tsk_") && hello["duration_ms"].is_u64(), "{hello}");
    has(&task(&client, hello["began"].as_str().unwrap()).await, json!({"flow_run_id": id, "status": 10}));
    until("the costs of the steps are known", async || {
        let run = read(&client, &id).await;
        step(&run, "hello")["cost_nano_usd"].as_i64() > Some(0) && run["cost_nano_usd"].as_i64() > Some(0)
    })
    .await;
    assert_eq!(output(&client, &id, "asked[1]").await["output"]["response"], "You said: say b 1");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_tool_step_calls_what_is_listed_now_within_bounds_and_its_call_is_recorded() {
    let gateway = Engine::Queue.with_models().await;
    let huge = || McpTool::new("read", "Reads.", McpAnswer::Huge(600_000));
    let mcp = McpServer::start([huge()]).unwrap();
    let made = gateway.make("/v2/mcp-servers", json!({"name": "docs", "url": mcp.url()})).await;
    // Nobody has listed the server: the step does.
    let page = json!({"kind": "tool", "tool": "docs__read", "input": {"a": "1"}});
    let document = flow(json!({"page": page}), json!({"output": {"bytes": "{{size(page.output)}}"}}));
    let client = gateway.client();
    let id = start(&client, &document, json!({})).await;
    let run = ended(&client, &id).await;
    assert_eq!(run["status"], "completed", "{run}");
    // No model reads it: it is cut where a value of a flow ends, and not where a model's result does.
    assert!((524_288..524_800).contains(&run["output"]["bytes"].as_u64().unwrap()), "{run}");
    assert!(mcp.requests().contains(&"tools/list".to_owned()), "{:?}", mcp.requests());
    let call = found("the call to be recorded", async || {
        let step = output(&client, &id, "page").await;
        (!step["tool_call"].is_null()).then(|| step["tool_call"].clone())
    })
    .await;
    has(&call, json!({"name": "docs__read", "outcome": "answered", "declared_id": made["id"]}));
    has(&call, json!({"result_bytes": 600_000, "truncated": true}));
    // What is not pinned as it was accepted is not called.
    mcp.set_tools([McpTool::new("read", "Reads, and sends.", McpAnswer::Huge(1))]);
    refreshed(&gateway, &id_of(&made)).await;
    let id = start(&client, &document, json!({})).await;
    let run = ended(&client, &id).await;
    assert_eq!(step(&run, "page")["error_code"], "flow_call_refused", "{run}");
    assert_eq!((mcp.calls().len(), mcp.violations()), (1, Vec::<String>::new()));
}

#[tokio::test]
async fn flows_are_checked_versioned_compared_and_deleted() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let yaml =
        "name: greet\nsteps:\n  hello:\n    kind: expression\n    expression: \"'hi ' + input.name\"\n";
    let made = gateway.make("/v2/flows", json!({"document": yaml})).await;
    let path = format!("/v2/flows/{}", id_of(&made));
    has(&made, json!({"version": 1, "/graph/0/id": "hello"}));
    problem(&admin.post("/v2/flows", &json!({"document": yaml})).await.unwrap(), 409, "name_taken");
    let second = yaml.replace("'hi '", "'hello '");
    let answer = gateway.make(&format!("{path}/versions"), json!({"document": second})).await;
    assert_eq!(answer["version"], 2, "{answer}");
    let versions = gateway.get(&format!("{path}/versions")).await;
    assert_eq!(versions["data"][0]["version"], 2, "{versions}");
    let diff = gateway.get(&format!("{path}/diff")).await;
    assert_eq!(diff["changes"][0]["path"], "/steps/hello/expression", "{diff}");
    assert_eq!(gateway.get(&format!("{path}/versions/1")).await["document"]["name"], "greet");
    let wrong = json!({"document": {"name": "f", "steps": {
        "a": {"kind": "expression", "expression": "b.output"}, "c": {"kind": "gate"},
    }}});
    assert_eq!(admin.post("/v2/flows", &wrong).await.unwrap().must_be(400).json()["code"], "flow_invalid");
    let checked = admin.post("/v2/flows/validate", &wrong).await.unwrap().json();
    has(&checked, json!({"valid": false, "/errors/0/pointer": "/steps/c"}));
    let schema = gateway.get("/v2/flows/schema").await;
    let committed = crate::command::workspace().join("docs/flow.schema.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(committed).unwrap()).unwrap();
    assert_eq!(schema["schema"], committed);
    // A run of a version stays what it was.
    let client = gateway.client();
    let body = json!({"flow": "greet", "version": 1, "input": {"name": "Ann"}});
    let run = client.post(RUNS, &body).await.unwrap().json();
    let first = ended(&client, &id_of(&run)).await;
    assert_eq!(first["output"]["hello"], "hi Ann", "{first}");
    let answer = act(&client, &id_of(&first), "replay", json!({})).await.must_be(200);
    let replay = ended(&client, &id_of(&answer.json())).await;
    has(&replay, json!({"replay_of": first["id"], "version": 2}));
    let diff = client.get(&format!("{RUNS}/{}/diff", id_of(&replay))).await.unwrap().json();
    let change = json!({"op": "replace", "path": "/hello", "before": "hi Ann", "after": "hello Ann"});
    assert_eq!(diff["changes"], json!([change]));
    gateway.remove(&path).await;
    assert_eq!(admin.get(&path).await.unwrap().status, 404);
    assert_eq!(read(&client, &id_of(&first)).await["output"]["hello"], "hi Ann");
}

async fn a_run_waits_for_events_and_approvals_and_is_paused_and_cancelled(engine: Engine) {
    let gateway = engine.with_models().await;
    let client = gateway.client();
    let steps = json!({
        "ask": {"kind": "approval", "message": "May {{input.name}}?"},
        "paid": {"kind": "wait", "event": "paid"},
        "done": {"kind": "expression", "expression": "string(ask.output.approved) + ' ' + string(paid.output.amount)"},
    });
    let document = flow(steps, json!({"output": "{{done.output}}"}));
    let id = start(&client, &document, json!({"name": "Ann"})).await;
    until_step(&client, &id, "ask", "waiting").await;
    assert_eq!(output(&client, &id, "ask").await["output"], "May Ann?");
    let wrong = act(&client, &id, "approvals", json!({"step": "paid", "approved": true})).await;
    assert_eq!(wrong.must_be(409).json()["code"], "flow_step_not_waiting");
    act(&client, &id, "pause", json!({})).await.must_be(200);
    until("the run is paused", async || read(&client, &id).await["state"] == "paused").await;
    act(&client, &id, "events", json!({"name": "paid", "payload": {"amount": 7}})).await.must_be(200);
    let fine = json!({"step": "ask", "approved": true, "comment": "fine"});
    act(&client, &id, "approvals", fine).await.must_be(200);
    let twice = act(&client, &id, "approvals", json!({"step": "ask", "approved": false})).await;
    assert_eq!(twice.must_be(409).json()["code"], "flow_step_not_waiting");
    assert_eq!(act(&client, &id, "resume", json!({})).await.status, 200);
    has(&ended(&client, &id).await, json!({"status": "completed", "output": "true 7"}));
    assert_eq!(act(&client, &id, "cancel", json!({})).await.must_be(409).json()["code"], "flow_run_ended");
    // An approval that is refused fails its step; a run that waits is cancelled at once.
    let refused = start(&client, &document, json!({"name": "Bob"})).await;
    until_step(&client, &refused, "ask", "waiting").await;
    act(&client, &refused, "approvals", json!({"step": "ask", "approved": false})).await;
    let run = ended(&client, &refused).await;
    has(&run, json!({"status": "failed", "error_code": "flow_not_approved"}));
    assert_eq!(statuses(&run)["paid"], "cancelled", "{run}");
    let early = start(&client, &document, json!({"name": "Cy"})).await;
    until_step(&client, &early, "ask", "waiting").await;
    let retried = act(&client, &early, "retry", json!({})).await.must_be(409).json();
    assert_eq!(retried["code"], "flow_run_not_ended");
    act(&client, &early, "cancel", json!({})).await;
    assert_eq!(ended(&client, &early).await["status"], "cancelled");
    // What a run was sent can be repeated by its idempotency key: it is one run.
    let keyed = client.clone().header("idempotency-key", "flow-1");
    let body = json!({"document": document, "input": {"name": "Di"}});
    let post = async || id_of(&keyed.post(RUNS, &body).await.unwrap().json());
    assert_eq!(post().await, post().await);
}

async fn a_run_that_fails_is_compensated_and_goes_on_from_its_step(engine: Engine) {
    let gateway = engine.with_models().await;
    let client = gateway.client();
    let steps = json!({
        "first": with(say("book one"), json!({"compensate": say("undo {{output.response}}")})),
        "second": with(say("book two {{first.output.response}}"), json!({"compensate": say("undo two")})),
        "third": {"kind": "expression", "expression": "1 / (input.n - input.n)", "needs": ["second"]},
    });
    let document = flow(steps, json!({}));
    let id = start(&client, &document, json!({"n": 1})).await;
    let run = ended(&client, &id).await;
    has(&run, json!({"status": "failed", "error_code": "flow_expression_failed"}));
    let asked: Vec<String> = gateway.sent(OWN).iter().map(Value::to_string).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[2].contains("undo two") && asked[3].contains("undo You said: book one"), "{asked:?}");
    assert_eq!(statuses(&run)["first!compensate"], "completed", "{run}");
    let failed = output(&client, &id, "third").await;
    assert!(failed["error"].as_str().unwrap().contains("divided by zero"), "{failed}");
    // From its first step everything is made again; the others' results are not.
    gateway.emulator.script(OWN, [Behaviour::ok().always()]);
    act(&client, &id, "retry", json!({"from": "second"})).await.must_be(200);
    let run = ended(&client, &id).await;
    let tries = ["first", "second"].map(|name| step(&run, name)["tries"].clone());
    assert_eq!(tries, [json!(1), json!(2)], "{run}");
    // A step that fails is tried again as its document says.
    let away = json!({"kind": "http", "url": "https://nobody.invalid/", "retry": {"times": 2}, "on_error": "continue"});
    let steps = json!({"away": away, "after": {"kind": "expression", "expression": "away.status"}});
    let document = flow(steps, json!({"output": "{{after.output}}"}));
    let id = start(&client, &document, json!({})).await;
    let run = ended(&client, &id).await;
    has(&run, json!({"status": "completed", "output": "failed"}));
    assert_eq!(step(&run, "away")["tries"], 3, "{run}");
}

async fn no_step_starts_once_the_budget_is_reached(engine: Engine) {
    let gateway = engine.with_models().await;
    let client = gateway.client();
    let steps = json!({"one": say("one"), "two": with(say("two"), json!({"needs": ["one"]}))});
    let document = flow(steps, json!({"budget_nano_usd": 1}));
    let id = start(&client, &document, json!({})).await;
    let run = ended(&client, &id).await;
    has(&run, json!({"status": "failed", "error_code": "flow_budget_reached"}));
    assert_eq!((gateway.calls(OWN).len(), &statuses(&run)["two"]), (1, &json!("ready")), "{run}");
    assert!(run["cost_nano_usd"].as_i64() >= Some(1), "{run}");
}

#[tokio::test]
async fn what_a_run_keeps_is_nested_so_deep_that_it_can_be_read_again() {
    let gateway = Gateway::start().await;
    let client = gateway.client();
    let nested = |levels: usize| json!({"a": (1..levels).fold(json!("deep"), |inner, _| json!([inner]))});
    let steps = json!({
        "sent": {"kind": "wait", "event": "go"},
        "kept": {"kind": "expression", "expression": "sent.output"},
        "wrapped": {"kind": "expression", "expression": "[input]", "on_error": "continue"},
    });
    let document = flow(steps, json!({"fail_on_error": false}));
    let send = async |id: &str, levels: usize| {
        act(&client, id, "events", json!({"name": "go", "payload": nested(levels)})).await
    };
    let id = start(&client, &document, nested(100)).await;
    assert_eq!(send(&id, 101).await.must_be(400).json()["param"], "payload");
    assert_eq!(send(&id, 100).await.status, 200);
    let run = ended(&client, &id).await;
    assert_eq!(run["input"], nested(100));
    assert_eq!(step(&run, "wrapped")["error_code"], "flow_value_too_large");
    assert_eq!(output(&client, &id, "kept").await["output"], nested(100));
    for body in [
        json!({"document": document, "input": nested(101)}),
        json!({"document": flow(json!({"s": {"kind": "constant", "value": nested(101)}}), json!({}))}),
    ] {
        let refused = client.post(RUNS, &body).await.unwrap().must_be(400);
        assert!(refused.text().contains("levels deep"), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_flow_that_calls_itself_is_cancelled_with_all_of_its_calls_at_once() {
    cancelled_with_all_of_its_calls(&Gateway::start().await).await;
}

#[tokio::test]
async fn a_flow_that_calls_itself_is_cancelled_on_postgres_too() {
    cancelled_with_all_of_its_calls(&Gateway::over_postgres("c", config(), &[]).await).await;
}

async fn cancelled_with_all_of_its_calls(gateway: &Gateway) {
    let client = gateway.client();
    let call = json!({"kind": "flow", "flow": "again"});
    let steps = json!({
        "rest": {"kind": "wait", "seconds": 3_600},
        "calls": {"kind": "map", "over": "[1, 2, 3]", "step": call, "on_error": "continue"},
    });
    let document = flow(steps, json!({"name": "again"}));
    gateway.make("/v2/flows", json!({"document": document})).await;
    let id = id_of(&client.post(RUNS, &json!({"flow": "again"})).await.unwrap().json());
    let all = async || {
        let listed = client.get(&format!("{RUNS}?limit=200")).await.unwrap().json();
        listed["data"].as_array().unwrap().clone()
    };
    until("it has called itself often", async || all().await.len() >= 60).await;
    assert_eq!(act(&client, &id, "cancel", json!({})).await.status, 200);
    let are_ended = async || all().await.iter().all(|run| run["state"] == "ended");
    until("all of its runs have ended", are_ended).await;
    let ended = all().await;
    assert!(ended.iter().all(|run| run["status"] == "cancelled"), "{ended:?}");
    // None of them calls another.
    a_moment().await;
    assert_eq!(all().await.len(), ended.len());
    for run in ended {
        let run = read(&client, run["id"].as_str().unwrap()).await;
        assert!(statuses(&run).values().all(|status| status != "running" && status != "waiting"), "{run}");
    }
}

#[tokio::test]
async fn expressions_end_and_inputs_are_checked() {
    let gateway = Gateway::start().await;
    let client = gateway.client();
    let endless = "input.list.map(a, input.list.map(b, input.list.map(c, a + b + c)))";
    let steps = json!({"endless": {"kind": "expression", "expression": endless}});
    let document = flow(steps, json!({"input": {"properties": {"list": {"type": "array"}}}}));
    let list: Vec<u32> = (0..2_000).collect();
    let id = start(&client, &document, json!({"list": list})).await;
    has(&ended(&client, &id).await, json!({"status": "failed", "error_code": "flow_expression_failed"}));
    let refused = client.post(RUNS, &json!({"document": document, "input": {"list": 3}})).await.unwrap();
    assert_eq!(refused.must_be(400).json()["param"], "input.list");
}

#[cfg(feature = "figures")]
#[tokio::test]
async fn ten_thousand_steps_cost_little_each_on_the_queue() {
    ten_thousand_steps(Engine::Queue).await;
}

#[cfg(feature = "figures")]
#[tokio::test]
async fn ten_thousand_steps_cost_little_each_on_restate() {
    ten_thousand_steps(Engine::Restate).await;
}

/// What a step may cost the gateway, in the build that all tests use.
#[cfg(feature = "figures")]
const STEP_CPU_MAX: Duration = Duration::from_millis(3);

#[cfg(feature = "figures")]
async fn ten_thousand_steps(engine: Engine) {
    let gateway = engine.gateway().await;
    let client = gateway.client();
    let mut steps = json!({"s0": {"kind": "expression", "expression": "0"}});
    for place in 1..10_000 {
        let expression = format!("s{}.output + 1", place - 1);
        steps[format!("s{place}")] = json!({"kind": "expression", "expression": expression});
    }
    let document = flow(steps, json!({"output": "{{s9999.output}}"}));
    let (started, before) = (Instant::now(), cpu_time(gateway.pid()));
    let id = start(&client, &document, json!({})).await;
    let deadline = Instant::now() + 6 * WITHIN;
    let run = loop {
        let listed = client.get(&format!("{RUNS}?limit=1")).await.unwrap().json();
        if listed["data"][0]["state"] == "ended" {
            break read(&client, &id).await;
        }
        assert!(Instant::now() < deadline, "{listed}");
        a_moment().await;
    };
    let (took, cpu) = (started.elapsed(), (cpu_time(gateway.pid()) - before) / 10_000);
    has(&run, json!({"status": "completed", "output": 9_999}));
    assert_eq!(run["steps"].as_array().unwrap().len(), 10_000);
    println!("10,000 steps in {took:?}: {:?} a step, {cpu:?} of the gateway's CPU", took / 10_000);
    assert!(cpu <= STEP_CPU_MAX, "a step costs {cpu:?}");
}

/// The process is killed again and again while flows run: every step has one result, and no exchange is booked twice.
async fn a_kill_loses_no_step_and_settles_none_twice(engine: Engine) {
    let (flows, kills) = (number("TIDEGATE_FLOWS").unwrap_or(6), number("TIDEGATE_KILLS").unwrap_or(3));
    let mut gateway = engine.with_models().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(30)).always()]);
    let steps = json!({
        "first": say("first {{input.n}}"),
        "each": {"kind": "map", "over": "[1, 2, 3]", "parallel": 2, "needs": ["first"],
            "step": say("each {{input.n}} {{item}}")},
        "last": say("last {{size(each.output)}}"),
    });
    let document = flow(steps, json!({"output": "{{last.output.response}}"}));
    let mut ids = Vec::new();
    for number in 0..flows {
        ids.push(start(&gateway.client(), &document, json!({"n": number})).await);
        if number % (flows / kills).max(1) == 1 {
            gateway.process().kill9().unwrap();
            gateway.start_again().await;
        }
    }
    let client = gateway.client();
    let mut tasks = HashSet::new();
    for id in &ids {
        let run = ended(&client, id).await;
        has(&run, json!({"status": "completed", "output": "You said: last 3"}));
        for step in run["steps"].as_array().unwrap() {
            assert_eq!((&step["status"], step["tries"].as_u64()), (&json!("completed"), Some(1)), "{run}");
            if let Some(task) = step["began"].as_str() {
                assert!(tasks.insert(task.to_owned()), "a task is one step's");
            }
        }
    }
    assert_eq!(tasks.len(), ids.len() * 5);
    // Every task's first try is booked or was interrupted.
    each_booked_once(&gateway, tasks.len()).await;
}

#[tokio::test]
async fn two_gateways_on_postgres_share_runs_and_one_that_dies_leaves_nothing_behind() {
    let mut gateway = Gateway::over_postgres("f", config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let there = gateway.client_at(&origin);
    let steps = json!({
        "first": say("first"),
        "paid": {"kind": "wait", "event": "paid", "needs": ["first"]},
        "last": {"kind": "expression", "expression": "first.output.response + string(paid.output)"},
    });
    let document = flow(steps, json!({"output": "{{last.output}}"}));
    let mut ids = Vec::new();
    for number in 0..6 {
        let client = if number % 2 == 0 { gateway.client() } else { there.clone() };
        ids.push(start(&client, &document, json!({})).await);
    }
    for id in &ids {
        until_step(&there, id, "paid", "waiting").await;
    }
    gateway.process().kill9().unwrap();
    for id in &ids {
        assert_eq!(act(&there, id, "events", json!({"name": "paid", "payload": 7})).await.status, 200);
        has(&ended(&there, id).await, json!({"status": "completed", "output": "You said: first7"}));
    }
    other.stop(WITHIN).await.unwrap();
    gateway.start_again().await;
}

#[tokio::test]
async fn two_workspaces_never_meet() {
    let gateway = Gateway::start().await;
    let others = second_workspace(&gateway).await;
    let document = flow(json!({"a": {"kind": "constant", "value": 1}}), json!({}));
    let declared = gateway.make("/v2/flows", json!({"document": document})).await;
    let client = gateway.client();
    let id = start(&client, &document, json!({})).await;
    ended(&client, &id).await;
    let (stranger, manager) = (gateway.with_key(&others.api_key), gateway.with_key(&others.admin_key));
    for path in [
        format!("{RUNS}/{id}"),
        format!("{RUNS}/{id}/step?path=a"),
        format!("/v2/flowruns/{id}"),
        format!("/v2/flows/{}", id_of(&declared)),
    ] {
        for who in [&stranger, &manager] {
            assert_eq!(who.get(&path).await.unwrap().status, 404, "{path}");
        }
    }
    for name in ["cancel", "pause", "resume", "retry", "replay"] {
        assert_eq!(act(&stranger, &id, name, json!({})).await.status, 404, "{name}");
    }
    assert_eq!(stranger.get(RUNS).await.unwrap().json()["data"], json!([]));
    stranger.post(RUNS, &json!({"flow": id_of(&declared)})).await.unwrap().must_be(404);
    // A sub-flow is looked for in the run's own project.
    let inner = flow(json!({"s": {"kind": "flow", "flow": "f"}}), json!({"name": "g"}));
    let run = ended(&stranger, &start(&stranger, &inner, json!({})).await).await;
    has(&run, json!({"status": "failed", "error_code": "flow_not_found"}));
}

async fn published_clients_run_flows_and_follow_them(engine: Engine) {
    let gateway = engine.with_models().await;
    let steps = json!({"hello": say("hello {{input.name}}")});
    let document = flow(steps, json!({"output": {"said": "{{hello.output.response}}"}}));
    gateway.make("/v2/flows", json!({"document": document})).await;
    let client = gateway.client().header("x-api-version", "2");
    let body = json!({"flow": "f", "input": {"name": "Ann"}});
    let run = client.post("/flowruns", &body).await.unwrap().must_be(200).json();
    assert!((1..=3).contains(&run["status"].as_u64().unwrap()), "{run}");
    let path = format!("/flowruns/{}", id_of(&run));
    let (mut after, mut last) = (String::new(), Value::Null);
    until("the run has ended", async || {
        let follower = gateway.client().header("accept", "text/event-stream");
        let text = follower.get(&format!("{path}/stream{after}")).await.unwrap().text();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        after = format!("?after={}", field("id: ").unwrap());
        if let Some(data) = field("data: ") {
            last = serde_json::from_str(&data).unwrap();
        }
        last["status"] == 3
    })
    .await;
    assert_eq!(last["output"], json!({"said": "You said: hello Ann"}), "{last}");
    assert_eq!(last["node_run_states"]["hello"]["status"], "completed", "{last}");
    assert!(last["tasks"]["hello"].as_str().unwrap().starts_with("tsk_"), "{last}");
    let bare = gateway.client().get(&path).await.unwrap().json();
    assert_eq!(bare["data"]["status"], 3, "{bare}");
}

async fn a_purge_leaves_nothing_of_a_run(engine: Engine) {
    let gateway = engine.gateway().await;
    let client = gateway.client();
    let document = flow(json!({"a": {"kind": "constant", "value": "secret words"}}), json!({}));
    let id = start(&client, &document, json!({"more": "secret words"})).await;
    ended(&client, &id).await;
    let job = gateway.make("/v2/purge-jobs", json!({"project_id": gateway.founded.project_id})).await;
    until("the run is purged", async || client.get(&format!("{RUNS}/{id}")).await.unwrap().status == 404)
        .await;
    let path = format!("/v2/purge-jobs/{}", id_of(&job));
    let has_runs = |place: &Value| place["place"] == "flow_runs" && place["before"].as_u64() > Some(0);
    until("the purge has ended", async || {
        gateway.get(&path).await["places"].as_array().is_some_and(|places| places.iter().any(has_runs))
    })
    .await;
}
