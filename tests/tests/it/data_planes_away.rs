//! A data plane whose control plane is away for a day, or comes back as it was before: what is served meanwhile, what is refused,
//! and what becomes of both. And the way between the two, by TLS.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use harness::client::Answer;
use harness::tls_front::TlsFront;
use serde_json::{Value, json};
use store::Store;

use crate::ask::{CHAT, MINI, has, problem, question, refused, says};
use crate::command::Cli;
use crate::data_planes::{Plane, Wire, invite, joined, limited, priced, settled};
use crate::gateway::{Gateway, OWN, sums};
use crate::wait::{found, until};

const PLANES: &str = "/v2/data-planes";
const DAY_MS: i64 = 86_400_000;
/// The fact in which a data plane keeps what it has, and from when on.
const APPLIED: &str = "data_plane.applied";

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn back_up(control: &Gateway, name: &str) -> String {
    let backup = text(&control.directory().join(name));
    let data = text(&control.data());
    Cli::new().run(&["backup", "--with-master-key", "--to", &backup, "--data-dir", &data]).ok();
    backup
}

/// Puts a backup in the place of what there is, as after the loss of a disk.
async fn restore(control: &mut Gateway, plane: &Plane, backup: &str) {
    control.process().kill9().unwrap();
    std::fs::remove_dir_all(control.data()).unwrap();
    Cli::new().run(&["restore", backup, "--data-dir", &text(&control.data())]).ok();
    plane.regains(control).await;
}

async fn inference_key(control: &Gateway, name: &str) -> String {
    control.key(json!({"name": name, "scopes": ["inference"]})).await.0
}

async fn until_ahead(control: &Gateway, plane: &Plane) -> Value {
    let is_ahead = |view: &Value| view["configuration"] == "ahead";
    found("the data plane to be ahead", async || Some(plane.view(control).await).filter(is_ahead)).await
}

#[tokio::test]
async fn a_restored_control_plane_takes_nothing_back_before_it_is_beyond_what_it_lost() {
    let (mut control, plane, key) = joined(Gateway::start().await).await;
    let kept = plane.served(&key).await;
    control.settled(&kept).await;
    plane.until_current(&control).await;
    let backup = back_up(&control, "backup");
    // Nothing was lost: it is followed as before.
    restore(&mut control, &plane, &backup).await;
    let later = plane.served(&key).await;
    control.settled(&later).await;
    plane.until_current(&control).await;

    // A change that the data plane has, and a backup from before it.
    let lost = inference_key(&control, "lost").await;
    plane.until_chat(&lost, "a new key to be known", |answer| answer.status == 200).await;
    plane.until_current(&control).await;
    restore(&mut control, &plane, &backup).await;
    has(&until_ahead(&control, &plane).await, json!({"is_current": false, "status": "joined"}));
    plane.served(&lost).await;
    for command in [&["data-planes", "list"][..], &["data-planes", "show", &plane.id]] {
        let shown = control.cli().run(command);
        says(&shown.stderr, &[&format!("tidegate data-planes supersede {}", plane.id)]);
        says(&shown.stdout, &["ahead"]);
    }
    // A change here has the number of the lost one, and is not taken for it: neither is confirmed.
    let other = inference_key(&control, "other").await;
    has(&plane.view(&control).await, json!({"configuration": "ahead"}));
    until("the data plane to say why", async || plane.said().contains("it would take changes back")).await;
    plane.served(&lost).await;
    assert_eq!(plane.chat(&other, &question(MINI)).await.status, 401);
    // The next is beyond it: now what is here is what counts.
    let beyond = inference_key(&control, "beyond").await;
    for known in [&beyond, &other] {
        plane.until_chat(known, "what is configured here to arrive", |answer| answer.status == 200).await;
    }
    assert_eq!(plane.chat(&lost, &question(MINI)).await.status, 401);
    plane.until_current(&control).await;

    // Or an admin says so, at once.
    restore(&mut control, &plane, &backup).await;
    until_ahead(&control, &plane).await;
    plane.served(&beyond).await;
    control.cli().run(&["data-planes", "supersede", &plane.id]).ok();
    plane.until_chat(&beyond, "what was lost to be gone", |answer| answer.status == 401).await;
    plane.until_current(&control).await;
    // Records arrive as before, and those that were delivered and lost are delivered again.
    let last = plane.served(&key).await;
    settled(&control, &[kept, later, last]).await;
    once_each(&control).await;
    says(&control.get("/v2/audit?limit=100").await.to_string(), &["data_plane.supersede"]);
}

/// Records that a backup lacks come again, in their order and once, while others are on their way and while the data plane is
/// killed; also where nothing else tells that the control plane was restored.
#[tokio::test]
async fn records_that_a_restored_control_plane_lost_come_again() {
    let (mut control, mut plane, key) = joined(Gateway::start().await).await;
    let mut traces = vec![plane.served(&key).await];
    control.settled(&traces[0]).await;
    let backup = back_up(&control, "backup");
    for round in 0..3 {
        for _ in 0..3 {
            traces.push(plane.served(&key).await);
            control.settled(traces.last().unwrap()).await;
        }
        // Some wait while it is away.
        control.process().kill9().unwrap();
        traces.push(plane.served(&key).await);
        if round == 1 {
            plane.crash().await;
        }
        restore(&mut control, &plane, &backup).await;
        traces.push(plane.served(&key).await);
        settled(&control, &traces).await;
        once_each(&control).await;
    }
    let usage = sums(&control.get("/v2/usage").await);
    assert_eq!(usage["requests"].as_u64(), Some(traces.len() as u64), "{usage}");
    says(&plane.said(), &["they are delivered again"]);
}

#[tokio::test]
async fn a_data_plane_that_claims_what_cannot_be_is_not_superseded() {
    let control = Gateway::with(crate::gateway::config(), &[("TIDEGATE_DATA_PLANE_LIFE_S", "4")]).await;
    let plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    plane.wire.cut(true);
    let there = control.with_key(&plane.credential());
    let claim = json!({"after": 1_000_000_000_000_u64, "nonce": "n"});
    // Another question of the data plane's own may be under way, which says what it has.
    let supersede = format!("{PLANES}/{}/supersede", plane.id);
    let answer = found("the claim to be noted", async || {
        there.post("/v2/data-planes/configuration", &claim).await.unwrap().must_be(200);
        let answer = control.admin().post(&supersede, &json!({})).await.unwrap();
        (answer.status != 200).then_some(answer)
    })
    .await;
    problem(&answer, 409, "data_plane_too_far_ahead");
    let long = json!({"after": 1, "history": "0".repeat(1_000), "nonce": "n"});
    problem(&there.post("/v2/data-planes/configuration", &long).await.unwrap(), 400, "invalid_value");
}

/// Kills a data plane and starts it again as if the clock had moved by so much meanwhile.
async fn restart_after(plane: &mut Plane, ms: i64) {
    plane.kill();
    let store = Store::open(&plane.data().join("tidegate.db")).await.unwrap();
    let kept = store.meta().get(APPLIED.to_owned()).await.unwrap().unwrap();
    let mut applied: Value = serde_json::from_slice(&kept).unwrap();
    applied["requested_unix_ms"] = json!(applied["requested_unix_ms"].as_i64().unwrap() - ms);
    store.meta().put(vec![(APPLIED.to_owned(), applied.to_string().into_bytes())]).await.unwrap();
    store.close().await;
    plane.start().await;
}

async fn arrive_in_order(control: &Gateway, plane: &Plane, (from, traces): (usize, &[String])) {
    settled(control, traces).await;
    let crossed = String::from_utf8_lossy(&plane.wire.crossed()[from..]).into_owned();
    let place = |text: &String| crossed.find(text).unwrap_or_else(|| panic!("{text} did not cross"));
    let order: Vec<usize> = traces.iter().map(place).collect();
    assert!(order.is_sorted(), "they are delivered in their order: {order:?}");
}

/// The books have all that was served anywhere, once each.
async fn once_each(control: &Gateway) {
    let served = control.calls(OWN).len();
    let is_completed = |row: &&Value| row["outcome"] == "completed";
    until("all books to be there", async || {
        control.requests(200).await.iter().filter(is_completed).count() == served
    })
    .await;
}

#[tokio::test]
async fn a_day_without_its_control_plane() {
    let mut control = Gateway::start().await;
    control.credential("openai", OWN).await;
    let key = control.founded.api_key.clone();
    let (budgeted, project, _) = limited(&control, 20_000).await;
    let (bounded, id) = control.key(json!({"name": "bounded", "scopes": ["inference"]})).await;
    let limits = json!({"limits": {"requests_per_minute": 100}});
    control.patch(&format!("/v2/api-keys/{id}"), limits).await;
    let mut plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    let share = |answer: &Answer| answer.header("x-ratelimit-limit-requests").map(str::to_owned);
    // It has a lease, and its share of the limit: half, as its control plane serves, too.
    plane.until_chat(&bounded, "a share of the limit", |answer| share(answer).as_deref() == Some("50")).await;
    let spent = Cell::new(0_u64);
    let ask = async |plane: &Plane| {
        let answer = plane.chat(&budgeted, &priced()).await;
        spent.update(|count| count + u64::from(answer.status == 200));
        answer
    };
    until("the first lease", async || ask(&plane).await.status == 200).await;

    control.process().kill9().unwrap();
    let from = plane.wire.crossed().len();
    let mut traces = vec![plane.served(&key).await];
    let is_refusal = |answer: &Answer| answer.status != 200;
    let refusal = found("the lease to be used up", async || Some(ask(&plane).await).filter(is_refusal)).await;
    let said = refused(&refusal, 503, "budget_unavailable");
    says(said["message"].as_str().unwrap(), &["control plane"]);
    assert_eq!(share(&plane.chat(&bounded, &question(MINI)).await).as_deref(), Some("50"));
    // Killed in between: everything else is served on, and the share of the limit is what it was.
    traces.push(plane.served(&key).await);
    plane.crash().await;
    traces.push(plane.served(&key).await);
    assert_eq!(share(&plane.chat(&bounded, &question(MINI)).await).as_deref(), Some("50"));
    refused(&ask(&plane).await, 503, "budget_unavailable");
    // Twenty-three hours later, and then a day.
    restart_after(&mut plane, DAY_MS - 3_600_000).await;
    traces.push(plane.served(&key).await);
    restart_after(&mut plane, 3_600_000).await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "policy_expired");
    // A clock that is set back by ten days gives it one day, and not ten.
    restart_after(&mut plane, -11 * DAY_MS).await;
    traces.push(plane.served(&key).await);
    restart_after(&mut plane, DAY_MS + 11 * DAY_MS).await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "policy_expired");

    let spent_alone = spent.get();
    plane.regains(&mut control).await;
    plane.until_chat(&key, "the control plane to be heard", |answer| answer.status == 200).await;
    arrive_in_order(&control, &plane, (from, &traces)).await;
    until("budgets to be leased again", async || ask(&plane).await.status != 503).await;
    let of_budget = async || sums(&control.get(&format!("/v2/usage?project_id={project}")).await);
    until("the budget's records", async || of_budget().await["requests"].as_u64() >= Some(spent_alone)).await;
    once_each(&control).await;
}

/// What a restarted data plane refuses is recorded too, and a distant control plane takes these records more slowly than they come. Only
/// those of before the restart are waited for.
#[tokio::test]
async fn leases_are_given_after_a_restart_while_requests_go_on() {
    let control = Gateway::start().await;
    control.credential("openai", OWN).await;
    let (key, ..) = limited(&control, 1_000_000).await;
    let mut plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    plane.until_chat(&key, "a lease", |answer| answer.status == 200).await;
    plane.wire.delay(Duration::from_millis(300));
    plane.crash().await;
    plane.until_chat(&key, "a lease after a restart", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_speaks_tls_with_whom_it_trusts() {
    let control = Gateway::start().await;
    control.credential("openai", OWN).await;
    let front = TlsFront::before(control.address()).await.unwrap();
    let wire = Wire::to(front.address).await;
    let address = format!("https://127.0.0.1:{}", wire.port());
    let root = tempfile::tempdir().unwrap();
    let authority = root.path().join("ca.pem");
    std::fs::write(&authority, &front.ca_pem).unwrap();
    // Without the authority it joins nobody, and the token stays good.
    let (_, token) = invite(&control, &control.founded.admin_key, "fra-1");
    let data = text(&root.path().join("plane"));
    let joining = ["gateway", "--data-dir", &data, "--control", &address, "--token", &token];
    let why = Cli::new().run(&joining).failed(10);
    assert!(why.contains("certificate") || why.contains("TLS"), "{why}");
    assert!(!Path::new(&data).join("tidegate.db").exists());

    let trusting = vec![("TIDEGATE_CA_FILE".to_owned(), text(&authority))];
    let joining = (&control, control.founded.admin_key.as_str(), "ams-1");
    let mut plane = Plane::join_by(joining, wire, &address, trusting).await;
    let key = control.founded.api_key.clone();
    let mut traces = vec![plane.served(&key).await];
    plane.crash().await;
    traces.push(plane.served(&key).await);
    settled(&control, &traces).await;
    plane.until_current(&control).await;
    for readable in [PLANES, "ams-1", "Bearer", &plane.credential(), &traces[0]] {
        assert!(!plane.wire.has(readable), "{readable} can be read on the way");
    }

    // Another token does not lead the directory elsewhere by accident.
    let data = text(&plane.data());
    let other = control.make("/v2/workspaces", json!({"name": "heronry"})).await;
    let (_, strange) = invite(&control, other["admin_key"].as_str().unwrap(), "fra-1");
    let twice = ["gateway", "--data-dir", &data, "--control", &address, "--token", &strange];
    says(&Cli::new().run(&twice).failed(2), &["--add-workspace", "--data-dir"]);
    // The token was not used up.
    let mine = control.with_key(other["admin_key"].as_str().unwrap());
    has(&mine.get(PLANES).await.unwrap().json()["data"][0], json!({"status": "invited"}));
    plane
        .with_key(other["api_key"].as_str().unwrap())
        .post(CHAT, &question(MINI))
        .await
        .unwrap()
        .must_be(401);
}
