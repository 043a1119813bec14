//! Two thousand calls of every kind and modality, with batches and answers in the background, while what they belong to is
//! deleted and changed and the gateway is killed: every figure of `/v2` is what the emulator's own count costs.

mod bills;

use std::collections::BTreeMap;
use std::time::Instant;

use harness::client::{Answer, Client};
use harness::{Behaviour, Model, day};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::WITHIN;
use crate::ask::{CHAT, LLAMA, MINI, problem, trace_of, trace_of_stream, with};
use crate::batches::{asks, tried};
use crate::books::recomputed;
use crate::forms::{FORM, form};
use crate::gateway::{
    CUSTOM, Founded, Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, POOL_SECOND, config, id_of, row,
};
use crate::isolation::second_workspace;
use crate::kill::Chance;
use crate::wait::{a_day_with_room, a_moment, until};
use bills::{Booked, MARKUP_BPS, Recount, figures, half_even, micros, sums};

const RESPONSES: &str = "/v1/responses";
/// Half of them come before what happens in the middle, and half after it; then one that is retried, and a stream of each mode
/// that breaks off.
const CALLS: usize = 1_640;
const SINGLE: usize = 4;
const OWN_ITEMS: usize = 150;
const SHARED_ITEMS: usize = 100;
const KEPT_ITEMS: usize = 80;
const IN_BACKGROUND: usize = 26;
/// Items that are answered before the others are held until the gateway was killed.
const FIRST: u32 = 10;
const AT_ONCE: usize = 16;
const CREDIT_MICROS: u64 = 100_000_000;
/// Two seconds, as the emulator hears it.
const SOUND_BYTES: usize = 32_000;
/// Sound in a prompt that is partly cached, and in the answer; for Gemini with pictures, too, and with sound in the cache.
const HEARD: &str = "prompt_tokens=1100,cached_tokens=128,completion_tokens=8,audio_in=900,audio_out=5";
const SEEN: &str = "prompt_tokens=1100,cached_tokens=100,completion_tokens=40,audio_in=300,cached_audio=40,image_in=200,image_out=9";
/// What a client leaves in the middle reports its usage on every chunk, so that both sides know it; so does what breaks off.
const LEFT: &str = "chunks=20,usage=every,stall=mid";
const BROKEN: &str = "chunks=20,usage=every,close=mid";
const REFUSED: &str = "status=400";

/// Who calls: a key of the first project, of one that has work open when it is to go, of one that goes, and of another workspace.
const DEFAULT: usize = 0;
const NIGHTLY: usize = 1;
const GONE: usize = 2;
const TENANT: usize = 3;
const WHOSE: [usize; 8] = [DEFAULT, NIGHTLY, TENANT, DEFAULT, GONE, TENANT, DEFAULT, NIGHTLY];

pub struct Planned {
    number: usize,
    path: String,
    body: Vec<u8>,
}

/// By which the emulator's count of a call is found.
fn words(number: usize) -> String {
    format!("call-{number:04} what does the tide say")
}

fn asked(model: &str, number: usize, more: Value) -> Value {
    with(json!({"model": model, "messages": [{"role": "user", "content": words(number)}]}), more)
}

fn emulated(model: &str, number: usize, script: &str, stream: bool) -> Value {
    asked(model, number, json!({"user": format!("emu:{script}"), "stream": stream}))
}

/// So many calls, of kinds and to models as the seed of the day says.
pub fn planned(calls: usize) -> Vec<Planned> {
    let mut chance = Chance(day::seed());
    (0..calls).map(|number| plan(number, &mut chance)).collect()
}

fn plan(number: usize, chance: &mut Chance) -> Planned {
    let is_tenants = WHOSE[number % WHOSE.len()] == TENANT;
    let model =
        [MINI, LLAMA, LOCAL_MODEL][usize::try_from(chance.below(if is_tenants { 2 } else { 3 })).unwrap()];
    let (kind, stream, text) = (chance.below(24), chance.below(2) == 0, words(number));
    let turn = json!({"role": "user", "content": text});
    let at = |path: &str, body| (path.to_owned(), body);
    let (path, body) = match kind {
        0..=4 => at(CHAT, asked(model, number, json!({"stream": stream}))),
        5 | 6 => {
            let long = json!({"role": "system", "content": " word".repeat(1_500)});
            at(CHAT, asked(model, number, json!({"messages": [long, turn], "stream": stream})))
        }
        7 => at(CHAT, asked(model, number, json!({"n": 3}))),
        8 => at(CHAT, emulated(model, number, "usage=every,chunks=30", true)),
        9 | 10 => at(CHAT, emulated(model, number, HEARD, stream)),
        11 => at(CHAT, emulated(model, number, REFUSED, false)),
        12 => at(CHAT, emulated(model, number, LEFT, true)),
        13 | 14 => at("/v1/messages", asked(model, number, json!({"max_tokens": 64, "stream": stream}))),
        15 | 16 => at(RESPONSES, json!({"model": model, "input": text, "store": false, "stream": stream})),
        17 => {
            let turn = with(turn, json!({"content": [{"text": text}]}));
            at(&format!("/model/{model}/converse"), json!({"messages": [turn]}))
        }
        18 | 19 => {
            let emulate = json!({"emulate": SEEN});
            let (model, labels) =
                if is_tenants { (model, Value::Null) } else { ("google/gemini-2.5-flash", emulate) };
            let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
            at(&format!("/v1beta/models/{model}:{verb}"), with(body, json!({"labels": labels})))
        }
        20 => at("/v1/embeddings", json!({"model": "openai/text-embedding-3-small", "input": text})),
        21 => {
            let picture =
                json!({"model": "openai/gpt-image-1-mini", "prompt": text, "n": 2, "quality": "low"});
            at("/v1/images/generations", picture)
        }
        22 => at("/v1/audio/speech", json!({"model": "openai/tts-1", "input": text, "voice": "alloy"})),
        _ => at("/v1/audio/transcriptions", Value::Null),
    };
    let body = if body.is_null() {
        let mut sound = text.into_bytes();
        sound.resize(SOUND_BYTES, b'.');
        form(&[("model", b"openai/gpt-4o-transcribe"), ("file", &sound)])
    } else {
        body.to_string().into_bytes()
    };
    Planned { number, path, body }
}

/// Sends a call; returns its request, and whether its client left it.
async fn ask(client: Client, Planned { number, path, body }: Planned) -> (String, usize, bool) {
    let json = ("content-type", "application/json");
    let header = if path.ends_with("/transcriptions") { FORM } else { json };
    let has = |script: &str| body.windows(script.len()).any(|part| part == script.as_bytes());
    let is_refused = has(REFUSED);
    if has(LEFT) {
        let mut stream = client.open(Method::POST, &path, &[header], body.into()).await.unwrap();
        // Half of twenty words.
        for _ in 0..11 {
            stream.event().await.unwrap().unwrap();
        }
        let trace = trace_of_stream(&stream);
        stream.hang_up();
        return (trace, number, true);
    }
    let answer = client.call(Method::POST, &path, &[header], body).await.unwrap();
    assert_eq!(answer.status >= 400, is_refused, "{number} {path}: {}", answer.text());
    (answer.header("agent-trace-id").unwrap().to_owned(), number, false)
}

/// Two workspaces, of which the first has an own credential and a node, and both have the operator's accounts.
pub struct Scene {
    pub gateway: Gateway,
    tenant: Founded,
    /// By who calls.
    keys: [String; 4],
    /// The paths of what is deleted or changed.
    nightly: [String; 2],
    gone: [String; 2],
    openai: String,
    gemini: String,
    budget: String,
    /// The calls by their requests.
    calls: BTreeMap<String, usize>,
}

impl Scene {
    pub async fn start() -> Self {
        // The bill of the month is compared with all calls, so all must fall into one month.
        a_day_with_room().await;
        let served = config().model(Model::chat("gemini-2.5-flash")).model(Model::speech("tts-1"));
        let gateway = Gateway::with(served.model(Model::image("gpt-image-1-mini")), &[]).await;
        let openai = format!("/v2/provider-credentials/{}", gateway.credential("openai", OWN).await);
        let gemini = Self::gemini(&gateway, "first", OWN_SECOND).await;
        gateway.node("rack", &[LOCAL_MODEL]).await;
        for (provider, secret) in [("together_ai", POOL), ("openai", POOL_SECOND)] {
            let shared = if secret == POOL_SECOND { json!({"shared_batches": true}) } else { Value::Null };
            let account = json!({"provider": provider, "secret": secret, "base_url": gateway.emulator.base_url(), "markup_bps": MARKUP_BPS});
            let account = with(account, json!({"config": shared}));
            gateway.make("/v2/accounts", account).await;
        }
        let tenant = second_workspace(&gateway).await;
        let budget = json!({"workspace": true, "period": "month", "limit_micros": 900_000_000});
        let budget = format!("/v2/budgets/{}", id_of(&gateway.make("/v2/budgets", budget).await));
        let (nightly_key, nightly) = Self::project(&gateway, "nightly").await;
        let (gone_key, gone) = Self::project(&gateway, "gone").await;
        let keys = [gateway.founded.api_key.clone(), nightly_key, gone_key, tenant.api_key.clone()];
        Self { gateway, tenant, keys, nightly, gone, openai, gemini, budget, calls: BTreeMap::new() }
    }

    async fn gemini(gateway: &Gateway, name: &str, secret: &str) -> String {
        let body = json!({"provider": "gemini", "display_name": name, "secret": secret, "base_url": gateway.emulator.origin()});
        format!("/v2/provider-credentials/{}", id_of(&gateway.make("/v2/provider-credentials", body).await))
    }

    /// A key of a new project, and the paths of both.
    async fn project(gateway: &Gateway, name: &str) -> (String, [String; 2]) {
        let project = id_of(&gateway.make("/v2/projects", json!({"name": name})).await);
        let (key, id) = gateway.key(json!({"name": name, "project_id": project})).await;
        (key, [format!("/v2/api-keys/{id}"), format!("/v2/projects/{project}")])
    }

    fn client(&self, whose: usize) -> Client {
        self.gateway.with_key(&self.keys[whose])
    }

    fn admin(&self, whose: usize) -> Client {
        if whose == TENANT { self.gateway.with_key(&self.tenant.admin_key) } else { self.gateway.admin() }
    }

    /// An answer's last byte comes when its record is written, and what ends early is waited for.
    async fn ended(&mut self, (trace, number, is_early): (String, usize, bool)) {
        let (admin, path) = (self.admin(WHOSE[number % WHOSE.len()]), format!("/v2/requests/{trace}"));
        until("its record", async || !is_early || admin.get(&path).await.unwrap().status == 200).await;
        self.calls.insert(trace, number);
    }

    pub async fn wave(&mut self, calls: Vec<Planned>) {
        let mut running = JoinSet::new();
        for planned in calls {
            if running.len() >= AT_ONCE {
                let ended = running.join_next().await.unwrap().unwrap();
                self.ended(ended).await;
            }
            running.spawn(ask(self.client(WHOSE[planned.number % WHOSE.len()]), planned));
        }
        for ended in running.join_all().await {
            self.ended(ended).await;
        }
    }

    /// A call that is sent again after a failure, and streams that break off.
    async fn failures(&mut self) {
        let client = self.client(DEFAULT);
        self.gateway.emulator.script(OWN, [Behaviour::status(500)]);
        let answer = client.post(CHAT, &asked(MINI, CALLS, json!({}))).await.unwrap().must_be(200);
        assert_eq!(answer.header("agent-attempts"), Some("2"));
        self.calls.insert(trace_of(&answer), CALLS);
        for (number, model) in (CALLS + 1..).zip([MINI, LLAMA, LOCAL_MODEL]) {
            let mut stream = client.stream(CHAT, &emulated(model, number, BROKEN, true)).await.unwrap();
            let trace = trace_of_stream(&stream);
            let (events, _) = stream.events().await;
            assert!(events.len() > 10, "{events:?}");
            self.gateway.settled(&trace).await;
            self.calls.insert(trace, number);
        }
    }

    /// Batches of a credential, of a shared account, and of the gateway's own, which has begun; and answers in the background,
    /// half of which nobody asks for. Returns the last batch, and the other half.
    async fn open_work(&self) -> (String, Vec<String>) {
        let is_ours = |answer: &Answer| answer.header("agent-batch-execution") == Some("gateway");
        assert!(!is_ours(&tried(&self.client(NIGHTLY), &asks(OWN_ITEMS)).await.must_be(200)));
        assert!(!is_ours(&tried(&self.client(TENANT), &asks(SHARED_ITEMS)).await.must_be(200)));
        let held = [Behaviour::ok().times(FIRST), Behaviour::held().always()];
        self.gateway.emulator.script(POOL, held);
        let client = self.client(DEFAULT);
        let kept = tried(&client, &asks(KEPT_ITEMS).replace("gpt-4o-mini", LLAMA)).await.must_be(200);
        assert!(is_ours(&kept), "{}", kept.text());
        let kept = id_of(&kept.json());
        until("the first items are answered", async || {
            let batch = client.get(&format!("/v1/batches/{kept}")).await.unwrap().json();
            batch["request_counts"]["completed"] == FIRST
        })
        .await;
        let mut looked_at = Vec::new();
        for number in 0..IN_BACKGROUND {
            let whose = if number % 2 == 0 { NIGHTLY } else { DEFAULT };
            let input = format!("later {}", "tide ".repeat(number + 1));
            let body = json!({"model": MINI, "input": input, "background": true});
            let made = self.client(whose).post(RESPONSES, &body).await.unwrap().must_be(200);
            looked_at.extend((whose == DEFAULT).then(|| id_of(&made.json())));
        }
        (kept, looked_at)
    }

    /// What is not booked yet keeps its project and its credential; all else goes, and changes.
    async fn change(&mut self) {
        let gateway = &self.gateway;
        let [key, nightly] = &self.nightly;
        gateway.remove(key).await;
        for open in [nightly, &self.openai] {
            problem(&gateway.admin().delete(open).await.unwrap(), 409, "usage_not_recorded");
        }
        for path in &self.gone {
            gateway.remove(path).await;
        }
        gateway.patch(&self.gemini, json!({"status": "disabled"})).await;
        Self::gemini(gateway, "second", CUSTOM).await;
        gateway.patch(&self.budget, json!({"limit_micros": 800_000_000})).await;
        let credit = json!({"amount_micros": CREDIT_MICROS, "note": "a transfer", "workspace_id": self.tenant.workspace_id});
        gateway.make("/v2/billing/account/credits", credit).await;
        self.keys[NIGHTLY] = self.keys[DEFAULT].clone();
        self.keys[GONE] = self.keys[DEFAULT].clone();
    }

    /// The project goes, and the other workspace has the whole of its batch.
    async fn all_booked(&self) {
        let (admin, tenant) = (self.admin(DEFAULT), self.admin(TENANT));
        patiently("its project goes", async || admin.delete(&self.nightly[1]).await.unwrap().status == 204)
            .await;
        patiently("a batch of another workspace is booked", async || {
            let usage = tenant.get("/v2/usage?group_by=key").await.unwrap().json();
            let nobodys = usage["data"].as_array().unwrap().iter().find(|row| row["key"].is_null());
            nobodys.is_some_and(|row| row["requests"] == SHARED_ITEMS)
        })
        .await;
    }

    /// Everything that the providers bill is in the records of the two workspaces, once each, and their figures add up; returns
    /// those records.
    pub async fn recounted(&self) -> [Booked; 2] {
        let admins = [DEFAULT, TENANT].map(|whose| self.admin(whose));
        patiently("the calls are in the books", async || {
            let mut requests = 0;
            for admin in &admins {
                let usage = admin.get("/v2/usage").await.unwrap().must_be(200).json();
                requests += usage["data"][0]["requests"].as_u64().unwrap_or(0);
            }
            requests >= self.calls.len() as u64
        })
        .await;
        let mut recount = Recount::of(&self.gateway).await;
        let [admin, tenant] = admins;
        let ours = recount.compared(admin.clone(), &self.calls).await;
        let theirs = recount.compared(tenant.clone(), &self.calls).await;
        assert_eq!(recount, Recount::default(), "not in the books");
        let all = || ours.iter().chain(&theirs);
        let called = all().filter(|(record, _)| self.calls.contains_key(&id_of(record)));
        assert_eq!(called.count(), self.calls.len(), "each call has a record");
        assert!((0..12).all(|at| all().any(|(_, bill)| bill[at] > 0)), "each of them was used");
        let groups = "mode profile provider model modality project key environment status outcome operation credential node";
        figures(&admin, &ours, &format!("{groups} account")).await;
        figures(&tenant, &theirs, groups).await;
        assert_eq!(self.gateway.emulator.violations(), []);
        [ours, theirs]
    }
}

/// As `until`, for what jobs do, also those whose gateway was killed.
async fn patiently(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + 6 * WITHIN;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        a_moment().await;
    }
}

/// A budget or an account of which nothing is reserved any more.
async fn at_rest(admin: &Client, path: &str) -> Value {
    let read = async || admin.get(path).await.unwrap().must_be(200).json();
    patiently("nothing is reserved", async || read().await["reserved_micros"] == 0).await;
    read().await
}

#[cfg(feature = "vendors")]
#[tokio::test]
async fn two_thousand_calls_are_recounted_to_the_nano_over_deletions_and_kills() {
    let mut first = planned(CALLS);
    let second = first.split_off(CALLS / 2);
    let mut scene = Scene::start().await;
    scene.wave(first).await;
    scene.failures().await;
    let (kept, looked_at) = scene.open_work().await;
    scene.change().await;
    scene.gateway.crash().await;
    scene.gateway.emulator.clear_scripts();
    scene.gateway.emulator.release();
    scene.wave(second).await;
    let client = scene.client(DEFAULT);
    for path in looked_at.iter().map(|id| format!("{RESPONSES}/{id}")) {
        until("it is over", async || client.get(&path).await.unwrap().json()["status"] == "completed").await;
    }
    let kept = format!("/v1/batches/{kept}");
    patiently("the gateway's own batch", async || {
        client.get(&kept).await.unwrap().json()["request_counts"]["completed"] == KEPT_ITEMS
    })
    .await;
    scene.gateway.crash().await;
    scene.all_booked().await;

    let Recount { items, later, .. } = Recount::of(&scene.gateway).await;
    let counted = (items.len(), later.len(), scene.calls.len());
    assert_eq!(counted, (OWN_ITEMS + SHARED_ITEMS + KEPT_ITEMS, IN_BACKGROUND, CALLS + SINGLE));
    patiently("what came later is booked by whoever saw its end", async || {
        let usage = scene.gateway.get("/v2/usage?group_by=operation").await;
        row(&usage["data"], "operation", "stored")["output_tokens"]
            == later.iter().map(|[_, _, output, ..]| output).sum::<u64>()
    })
    .await;
    let [ours, theirs] = scene.recounted().await;
    let budget = at_rest(&scene.admin(DEFAULT), &scene.budget).await;
    let [.., owed, _, own] = sums(&ours);
    assert_eq!(budget["spent_micros"], half_even(owed + own, 1_000), "{budget}");
    // What was called or begun before there was a credit is owed beside it.
    let of_second = |trace: String| scene.calls.get(&trace).is_some_and(|number| *number >= CALLS / 2);
    let [paid, ..] = micros(sums(theirs.iter().filter(|(record, _)| of_second(id_of(record)))));
    let account = at_rest(&scene.admin(TENANT), "/v2/billing/account").await;
    let told = ["spent_micros", "credit_micros"].map(|name| account[name].as_u64().unwrap());
    assert_eq!(told, [paid, CREDIT_MICROS - paid], "{account}");
    assert_eq!(scene.gateway.get("/v2/jobs").await["dead"], 0);
    recomputed(&mut scene.gateway, ours.iter().chain(&theirs).map(|(record, _)| record)).await;
}
