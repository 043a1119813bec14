//! The engines that drive runs of flows: the same journeys under each, and what is particular to Restate.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use harness::client::Client;
use harness::postgres::Server as Postgres;
use harness::process::{free_address, free_port};
use harness::restate::{Balancer, Server};
use harness::setting::number;
use harness::{Behaviour, Config};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::has;
use crate::canary::holds;
use crate::flows::{RUNS, act, ended, flow, output, read, say, start, until_step};
use crate::gateway::{Gateway, OWN, config};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Queue,
    Restate,
}

/// A gateway with the engine that its new runs go to.
pub struct Engined {
    gateway: Gateway,
    pub restate: Option<Server>,
}

impl Deref for Engined {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl DerefMut for Engined {
    fn deref_mut(&mut self) -> &mut Gateway {
        &mut self.gateway
    }
}

/// What has a gateway use this server.
pub fn settings_of(server: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("TIDEGATE_FLOWS_ENGINE", "restate".to_owned()),
        ("TIDEGATE_FLOWS_RESTATE_INGRESS_URL", server.ingress_url()),
        ("TIDEGATE_FLOWS_RESTATE_ADMIN_URL", server.admin_url()),
        ("TIDEGATE_FLOWS_RESTATE_LISTEN", format!("127.0.0.1:{}", free_port().unwrap())),
    ]
}

impl Engine {
    pub async fn gateway(self) -> Engined {
        self.of(config()).await
    }

    /// A gateway with a credential for models.
    pub async fn with_models(self) -> Engined {
        let engined = self.gateway().await;
        engined.credential("openai", OWN).await;
        engined
    }

    async fn of(self, config: Config) -> Engined {
        let restate = match self {
            Self::Queue => None,
            Self::Restate => Some(Server::start().await.unwrap()),
        };
        let settings = restate.as_ref().map(settings_of).unwrap_or_default();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Engined { gateway: Gateway::with(config, &settings).await, restate }
    }
}

/// Makes two tests of a journey: one on the queue, and one on Restate.
macro_rules! under_each_engine {
    ($($journey:ident),* $(,)?) => {
        $(mod $journey {
            use crate::flow_engines::Engine;

            #[tokio::test]
            async fn on_the_queue() {
                super::$journey(Engine::Queue).await;
            }

            #[tokio::test]
            async fn on_restate() {
                super::$journey(Engine::Restate).await;
            }
        })*
    };
}

pub(crate) use under_each_engine;

/// A run that asks a model, waits to be paid, and ends.
fn of_three_steps() -> Value {
    let steps = json!({
        "first": say("first {{input.word}}"),
        "paid": {"kind": "wait", "event": "paid", "needs": ["first"]},
        "last": {"kind": "expression", "expression": "first.output.response + string(paid.output)"},
    });
    flow(steps, json!({"output": "{{last.output}}"}))
}

async fn pay(client: &Client, id: &str) {
    act(client, id, "events", json!({"name": "paid", "payload": 7})).await.must_be(200);
}

async fn completes(client: &Client, id: &str, output: &str) -> Value {
    let run = ended(client, id).await;
    has(&run, json!({"status": "completed", "output": output}));
    run
}

/// What is the same of a run whichever engine drove it: all but ids, times and costs.
async fn comparable(gateway: &Gateway, document: &Value) -> Value {
    let client = gateway.client();
    let mut run = ended(&client, &start(&client, document, json!({"n": 3})).await).await;
    let id = run["id"].as_str().unwrap().to_owned();
    let of_one_run = "id project_id api_key_id created_at updated_at started_at ended_at expires_at";
    for field in of_one_run.split(' ').chain(["duration_ms", "cost_nano_usd"]) {
        run.as_object_mut().unwrap().remove(field);
    }
    for step in run["steps"].as_array_mut().unwrap() {
        let path = step["id"].as_str().unwrap().to_owned();
        let began = step["began"].as_str().and_then(|began| began.split('_').next()).map(str::to_owned);
        for field in ["started_at", "ended_at", "duration_ms", "cost_nano_usd"] {
            step.as_object_mut().unwrap().remove(field);
        }
        step["began"] = json!(began);
        let made = output(&client, &id, &path).await;
        step["made"] = json!({"output": made["output"], "error": made["error"]});
        // An answer of a model names its request, and a wait says when it ended.
        if began.is_some() {
            step["made"]["output"] = made["output"]["response"].clone();
        } else if step["kind"] == "wait" {
            step["made"]["output"] = json!(made["output"].is_u64());
        }
    }
    run
}

#[tokio::test]
async fn both_engines_have_the_same_results_field_by_field() {
    let steps = json!({
        "numbers": {"kind": "expression", "expression": "[1, 2, input.n]"},
        "asked": say("ask {{input.n}}"),
        "each": {"kind": "map", "over": "numbers.output", "step": {"kind": "expression", "expression": "item * 2"}},
        "grown": {"kind": "loop", "limit": 9, "until": "output > 20",
            "step": {"kind": "expression", "expression": "index == 0 ? 1 : previous * 3"}},
        "never": {"kind": "constant", "value": 1, "when": "input.n > 9"},
        "after": {"kind": "expression", "expression": "never.output", "needs": ["never"]},
        "broken": {"kind": "expression", "expression": "1 / (input.n - 3)", "on_error": "continue"},
        "soon": {"kind": "wait", "seconds": 1, "needs": ["asked"]},
    });
    let document = flow(
        steps,
        json!({"output": {"each": "{{each.output}}", "grown": "{{grown.output}}", "asked": "{{asked.output.response}}"}}),
    );
    let queue = Engine::Queue.with_models().await;
    let restate = Engine::Restate.with_models().await;
    let (one, other) = tokio::join!(comparable(&queue, &document), comparable(&restate, &document));
    assert_eq!(one, other);
    assert_eq!(one["status"], "completed", "{one}");
}

#[tokio::test]
async fn restate_drives_runs_and_stores_nothing_that_they_say() {
    let mut gateway = Engine::Restate.with_models().await;
    let client = gateway.client();
    let id = start(&client, &of_three_steps(), json!({"word": "xylophone-canary"})).await;
    until_step(&client, &id, "paid", "waiting").await;
    pay(&client, &id).await;
    completes(&client, &id, "You said: first xylophone-canary7").await;
    let restate = gateway.restate.as_mut().unwrap();
    let admin = Client::new(restate.admin_url()).header("accept", "application/json");
    let query = json!({"query": "SELECT target_service_key FROM sys_invocation"});
    let known = admin.post("/query", &query).await.unwrap();
    assert!(known.text().contains(&id), "{}", known.text());
    restate.kill9().unwrap();
    let (mut names_run, mut open) = (false, vec![restate.data().to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            names_run |= holds(&bytes, &id);
            assert!(!holds(&bytes, "xylophone"), "{} has a run's input", path.display());
        }
    }
    assert!(names_run, "the server's files name the run");
}

#[tokio::test]
async fn a_run_starts_only_where_restate_answers_and_goes_on_once_it_is_back() {
    let mut gateway = Engine::Restate.with_models().await;
    let client = gateway.client();
    let id = start(&client, &of_three_steps(), json!({"word": "a"})).await;
    until_step(&client, &id, "paid", "waiting").await;
    gateway.restate.as_mut().unwrap().kill9().unwrap();
    let body = json!({"document": of_three_steps(), "input": {"word": "b"}});
    let refused = client.post(RUNS, &body).await.unwrap();
    assert_eq!(refused.must_be(503).json()["code"], "flow_engine_unavailable");
    pay(&client, &id).await;
    gateway.restate.as_mut().unwrap().start_again().await.unwrap();
    completes(&client, &id, "You said: first a7").await;
    let id = start(&client, &of_three_steps(), json!({"word": "c"})).await;
    until_step(&client, &id, "paid", "waiting").await;
    pay(&client, &id).await;
    completes(&client, &id, "You said: first c7").await;
}

/// The server is killed again and again while flows run: every step has one result, and no task is made twice.
#[tokio::test]
async fn a_kill_of_restate_loses_no_step_and_makes_none_twice() {
    let (flows, kills) = (number("TIDEGATE_FLOWS").unwrap_or(6), number("TIDEGATE_KILLS").unwrap_or(2));
    let mut gateway = Engine::Restate.with_models().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(60)).always()]);
    let steps = json!({
        "first": say("first {{input.n}}"),
        "each": {"kind": "map", "over": "[1, 2, 3, 4, 5, 6]", "parallel": 2, "needs": ["first"],
            "step": say("each {{input.n}} {{item}}")},
        "last": say("last {{size(each.output)}}"),
    });
    let document = flow(steps, json!({"output": "{{last.output.response}}"}));
    let mut ids = Vec::new();
    for number in 0..flows {
        ids.push(start(&gateway.client(), &document, json!({"n": number})).await);
        if number % (flows / kills).max(1) == 1 {
            let restate = gateway.restate.as_mut().unwrap();
            restate.kill9().unwrap();
            restate.start_again().await.unwrap();
        }
    }
    let client = gateway.client();
    let mut tasks = std::collections::HashSet::new();
    for id in &ids {
        let run = completes(&client, id, "You said: last 6").await;
        for step in run["steps"].as_array().unwrap() {
            assert_eq!((&step["status"], step["tries"].as_u64()), (&json!("completed"), Some(1)), "{run}");
            if let Some(task) = step["began"].as_str() {
                assert!(tasks.insert(task.to_owned()), "a task is one step's");
            }
        }
    }
    assert_eq!(tasks.len(), ids.len() * 8);
    assert_eq!(gateway.calls(OWN).len(), tasks.len(), "a task on its way is not made again");
}

#[tokio::test]
async fn a_run_keeps_the_engine_that_it_started_with() {
    let mut gateway = Engine::Restate.with_models().await;
    let client = gateway.client();
    let old = start(&client, &of_three_steps(), json!({"word": "old"})).await;
    until_step(&client, &old, "paid", "waiting").await;
    gateway.stop().await;
    gateway.set("TIDEGATE_FLOWS_ENGINE", "queue");
    gateway.start_again().await;
    let client = gateway.client();
    gateway.restate.as_mut().unwrap().kill9().unwrap();
    // The queue needs no other server, and does not take what is not its own.
    let new = start(&client, &of_three_steps(), json!({"word": "new"})).await;
    until_step(&client, &new, "paid", "waiting").await;
    pay(&client, &old).await;
    pay(&client, &new).await;
    completes(&client, &new, "You said: first new7").await;
    assert_ne!(read(&client, &old).await["state"], "ended");
    gateway.restate.as_mut().unwrap().start_again().await.unwrap();
    completes(&client, &old, "You said: first old7").await;
}

/// A pair of keys of this test.
const SIGNING_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIE4N6/SHy752y3A7NA511yYnIypaffQCFs3Mheg2ukRb";
const ITS_PUBLIC_KEY: &str = "publickeyv1_H5UqCBryfrDDUVVkwTuPmhDk7UUqnu2CAB8AsCpLchip";

async fn with_identity(restate: &Server) -> Gateway {
    let mut environment = settings_of(restate);
    environment.push(("TIDEGATE_FLOWS_RESTATE_IDENTITY_KEY", ITS_PUBLIC_KEY.to_owned()));
    let given: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Gateway::with(config(), &given).await
}

#[tokio::test]
async fn only_the_server_of_the_identity_key_is_answered() {
    let ours = Server::signing(SIGNING_KEY).await.unwrap();
    let gateway = with_identity(&ours).await;
    let document = flow(json!({"a": {"kind": "constant", "value": "x"}}), json!({"output": "{{a.output}}"}));
    let id = start(&gateway.client(), &document, json!({})).await;
    completes(&gateway.client(), &id, "x").await;
    let another = Server::start().await.unwrap();
    let mut gateway = with_identity(&another).await;
    let refused = "Restate doesn't accept flows.restate.advertise_url";
    gateway.process().wait_text(refused, WITHIN).await.unwrap();
}

/// Two gateways behind one balancer, which the server calls: when the one that drives all runs is killed, the other has them.
#[tokio::test]
async fn two_gateways_behind_one_address_take_over_from_each_other() {
    let restate = Server::start().await.unwrap();
    let addresses = [free_address().unwrap(), free_address().unwrap()];
    let balancer = Balancer::start(addresses.to_vec()).await.unwrap();
    let (here, there) = (addresses[0].to_string(), addresses[1].to_string());
    let mut environment = settings_of(&restate);
    environment.extend([
        ("TIDEGATE_FLOWS_RESTATE_ADVERTISE_URL", balancer.url()),
        ("TIDEGATE_FLOWS_RESTATE_LISTEN", here),
    ]);
    let given: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut gateway = Gateway::over_postgres("r", config(), &given).await;
    gateway.credential("openai", OWN).await;
    // Longer than a slow machine takes to start four runs and to see one of them at work.
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(2)).always()]);
    gateway.set("TIDEGATE_FLOWS_RESTATE_LISTEN", &there);
    let (mut other, origin) = gateway.replica().await;
    let client = gateway.client_at(&origin);
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(start(&client, &of_three_steps(), json!({"word": format!("{number}")})).await);
    }
    until_step(&client, &ids[3], "first", "running").await;
    gateway.process().kill9().unwrap();
    for (number, id) in ids.iter().enumerate() {
        until_step(&client, id, "paid", "waiting").await;
        pay(&client, id).await;
        completes(&client, id, &format!("You said: first {number}7")).await;
    }
    other.stop(WITHIN).await.unwrap();
}

/// An event that is sent between the moment at which a run that is put aside has looked for events and its end.
#[tokio::test]
async fn an_event_that_comes_while_a_run_is_put_aside_is_not_missed() {
    let server = Postgres::shared().await.unwrap();
    let name = format!("aside_{}", std::process::id());
    let url = server.database(&name).await.unwrap();
    let gateway = Gateway::with(config(), &[("TIDEGATE_DATABASE_URL", &url)]).await;
    gateway.credential("openai", OWN).await;
    // A statement that changes the state of a run takes a second before it locks the row; that of an event changes none.
    let slow = "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
         CREATE TRIGGER slow BEFORE UPDATE OF state ON flow_runs FOR EACH STATEMENT EXECUTE FUNCTION rest()";
    server.run(&name, slow).await.unwrap();
    let client = gateway.client();
    let id = start(&client, &of_three_steps(), json!({"word": "a"})).await;
    until_step(&client, &id, "paid", "waiting").await;
    pay(&client, &id).await;
    completes(&client, &id, "You said: first a7").await;
}
