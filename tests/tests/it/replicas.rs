//! Several gateways on one PostgreSQL, and a PostgreSQL outage.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::client::Client;
use harness::pace::{Pace, Threads};
use harness::postgres::Server;
use harness::setting::number;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, question, streaming, trace_of};
use crate::batches;
use crate::command::Cli;
use crate::gateway::{Gateway, OWN, POOL, config, serve, sums};
use crate::own_batches;
use crate::placement;
use crate::wait::{a_moment, found};
use crate::webhooks::{Receiver, event, nothing_came, webhook};

/// The password in the database URL, which must appear nowhere else.
const PASSWORD: &str = "tide-password-4f1c9a";
/// A change takes effect everywhere within this time.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// A gateway on a database whose URL contains the password.
async fn on(server: &Server) -> Gateway {
    let name = format!("j_{}", std::process::id());
    let url = server.database(&name).await.unwrap().replace("tidegate@", &format!("tidegate:{PASSWORD}@"));
    Gateway::on_database(&url, &[]).await
}

/// A client of another process with the gateway's admin key.
fn admin_at(gateway: &Gateway, origin: &str) -> Client {
    Client::new(origin).bearer(&gateway.founded.admin_key).within(WITHIN)
}

/// Polls until the gateway's answer has this status; returns how long that took.
async fn until_answered(gateway: u32, client: &Client, status: u16, within: Duration) -> Duration {
    let pace = Pace::start(&["control", "serve-"].map(|name| Threads::of(gateway, name)));
    loop {
        let answer = client.post(CHAT, &question(MINI)).await.unwrap();
        let took = pace.elapsed();
        assert!(took < within, "still {} after {within:?}: {}", answer.status, answer.text());
        if answer.status == status {
            return took;
        }
        a_moment().await;
    }
}

/// The totals that one of the gateways reports, once they count this many requests.
async fn wait_for_usage(admin: &Client, requests: u64, within: Duration) -> Value {
    let started = Instant::now();
    loop {
        let answer = admin.get("/v2/usage").await.unwrap();
        if answer.status == 200 {
            let sums = sums(&answer.json());
            if sums["requests"].as_u64().unwrap_or(0) >= requests {
                return sums;
            }
        }
        assert!(started.elapsed() < within, "{requests} requests are not in the books: {}", answer.text());
        a_moment().await;
    }
}

#[tokio::test]
async fn two_gateways_are_one() {
    let gateway = &on(&Server::shared().await.unwrap()).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let at_other = |key: &str| Client::new(&origin).bearer(key).within(WITHIN);
    // A key created on one gateway works on the other, and a revocation on one takes effect on both.
    let (key, id) = gateway.key(json!({"name": "roaming", "project_id": gateway.founded.project_id})).await;
    let live = until_answered(other.pid(), &at_other(&key), 200, LIVE_WITHIN).await;
    let revoked = at_other(&gateway.founded.admin_key).delete(&format!("/v2/api-keys/{id}")).await.unwrap();
    assert!(revoked.status < 300, "{}", revoked.text());
    let refused = until_answered(gateway.pid(), &gateway.with_key(&key), 401, LIVE_WITHIN).await;
    println!("live on the other after {live:?}, refused after {refused:?}");
    // Either gateway shows what both served.
    let before = gateway.emulator.journal().len() as u64;
    let mut traces = Vec::new();
    for number in 0..20 {
        let client = if number % 2 == 0 { gateway.client() } else { at_other(&gateway.founded.api_key) };
        traces.push(trace_of(&client.post(CHAT, &question(MINI)).await.unwrap().must_be(200)));
    }
    let admins = [gateway.admin(), at_other(&gateway.founded.admin_key)];
    let mut totals = Vec::new();
    for admin in &admins {
        totals.push(wait_for_usage(admin, before + 20, WITHIN).await);
        for trace in &traces {
            admin.get(&format!("/v2/requests/{trace}")).await.unwrap().must_be(200);
        }
    }
    assert_eq!(totals[0], totals[1]);
    assert_eq!(totals[0]["requests"], before + 20);
    other.stop(WITHIN).await.unwrap();
    let output = format!("{}{}", other.stdout(), other.stderr());
    assert!(output.contains("Database   postgres://tidegate@") && !output.contains(PASSWORD), "{output}");
}

/// On an empty database, whoever is first founds the installation, and the other one joins it.
#[cfg(feature = "control")]
#[tokio::test]
async fn two_gateways_that_start_at_once_become_one() {
    let url = Server::shared().await.unwrap().database(&format!("o_{}", std::process::id())).await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY", key)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let places = ["left", "right"].map(|name| root.path().join(name));
    let start = |place: usize| serve(&places[place], &environment);
    let (mut left, mut right) = tokio::join!(start(0), start(1));
    let outputs = [left.0.stdout(), right.0.stdout()];
    let admin_key = |output: &String| {
        let line = output.lines().find_map(|line| line.trim_start().strip_prefix("Admin key"));
        line.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
    };
    let keys: Vec<String> = outputs.iter().filter_map(admin_key).collect();
    assert_eq!(keys.len(), 1, "{outputs:?}");
    for origin in [&left.1, &right.1] {
        let owners =
            Client::new(origin).bearer(&keys[0]).within(WITHIN).get("/v2/members").await.unwrap().json();
        assert_eq!(owners["data"].as_array().map(Vec::len), Some(1), "{owners}");
    }
    for (process, _) in [&mut left, &mut right] {
        assert!(process.stop(WITHIN).await.unwrap().success(), "{}", process.stderr());
    }
    let (_left, _right) = tokio::join!(start(0), start(1));
}

/// A heartbeat comes to one gateway, and the load that it says counts at the other as well.
async fn a_load_counts_at_the_other(gateway: &Gateway, at_other: &Client) {
    let emulator = Emulator::start(config()).await.unwrap();
    let load = json!({"running": 9, "waiting": 3, "cache_bytes": 1_000, "cache_bytes_max": 1_000, "cache_held_bytes": 970});
    let node = placement::joined(gateway, &emulator, load).await;
    gateway.node("rack", &[MINI]).await;
    let plan = found("the load at the other gateway", async || {
        let plan = at_other.post("/v2/plan", &json!({"model": MINI})).await.unwrap().json();
        let attempts = plan["attempts"].as_array().unwrap_or_else(|| panic!("{plan}"));
        attempts.iter().find(|one| one["placement"]["kv_permille"] == 970).cloned()
    })
    .await;
    assert_eq!(plan["principal"], json!(node), "{plan}");
    assert!(plan["placement"]["queue_ms"].as_u64() > Some(0), "{plan}");
}

/// Both work through it; what the killed one had begun is begun again by the other, under the same id.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_batch_goes_on_at_one_gateway_when_the_other_is_killed() {
    const ITEMS: usize = 600;
    let gateway = &on(&Server::shared().await.unwrap()).await;
    let body = json!({"provider": "anthropic", "secret": POOL, "base_url": gateway.emulator.anthropic_url()});
    gateway.make("/v2/accounts", body).await;
    let (mut other, _) = gateway.replica().await;
    gateway.emulator.script(POOL, [Behaviour { latency: 300, times: Some(0), ..Behaviour::ok() }]);
    let client = gateway.client();
    let id = own_batches::create(&client, &own_batches::asks(ITEMS)).await;
    let many = |batch: &Value| batch["request_counts"]["succeeded"].as_u64() >= Some(100);
    own_batches::until(&client, &id, many).await;
    other.kill9().unwrap();
    let batch = own_batches::until_ended(&client, &id).await;
    assert_eq!(batch["request_counts"]["succeeded"], ITEMS, "{batch}");
    assert_eq!(own_batches::results(&client, &batch).await.len(), ITEMS);
    // The other's journal has what it had settled and not drained: it is booked when that starts again, and once.
    let (_other, _) = gateway.replica().await;
    let rows = own_batches::booked(gateway, ITEMS).await;
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), ITEMS);
}

/// Whichever gateway made the change, and whichever sends the event.
#[cfg(feature = "control")]
#[tokio::test]
async fn each_event_is_sent_by_one_of_two_gateways() {
    const EVENTS: usize = 20;
    let gateway = &on(&Server::shared().await.unwrap()).await;
    let (mut other, origin) = gateway.replica().await;
    let at_other = admin_at(gateway, &origin);
    a_load_counts_at_the_other(gateway, &at_other).await;
    let mut receiver = Receiver::start().await;
    webhook(gateway, &mut receiver, json!({"events": ["key.revoked"]})).await;
    let mut keys = BTreeSet::new();
    for number in 0..EVENTS {
        let (_, key) = gateway.key(json!({"name": format!("key {number}")})).await;
        let admin = if number % 2 == 0 { gateway.admin() } else { at_other.clone() };
        admin.delete(&format!("/v2/api-keys/{key}")).await.unwrap().must_be(204);
        keys.insert(key);
    }
    let mut notified = BTreeSet::new();
    for _ in 0..EVENTS {
        let key_id = event(&receiver.received().await)["data"]["id"].as_str().unwrap().to_owned();
        assert!(notified.insert(key_id.clone()), "{key_id} was sent twice");
    }
    assert_eq!(notified, keys);
    nothing_came(gateway, &mut receiver).await;
    other.stop(WITHIN).await.unwrap();
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_password_is_shown_to_nobody() {
    let mut gateway = on(&Server::shared().await.unwrap()).await;
    let [url, key_file] =
        ["TIDEGATE_DATABASE_URL", "TIDEGATE_MASTER_KEY_FILE"].map(|name| gateway.setting(name).unwrap());
    let cli = Cli::new().env("TIDEGATE_DATABASE_URL", &url).env("TIDEGATE_MASTER_KEY_FILE", &key_file);
    let explained = cli.run(&["config", "explain"]).ok();
    assert!(explained.contains("(set)") && !explained.contains(PASSWORD), "{explained}");
    gateway.credential("openai", OWN).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.wait_for_usage(1).await;
    gateway.stop().await;
    let data = gateway.data().display().to_string();
    let report = cli.run(&["ledger", "verify", "--data-dir", &data, "--json"]).json();
    has(&report, json!({"ok": true, "records": 1}));
    // A directory and a database that don't belong together, an unreachable server, and another master key.
    let elsewhere = tempfile::tempdir().unwrap();
    let fresh = elsewhere.path().join("fresh").display().to_string();
    let strange = Cli::new().env("TIDEGATE_DATABASE_URL", &url);
    let mismatched = strange.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &fresh]).failed(1);
    assert!(mismatched.contains("master key"), "{mismatched}");
    let alone = Cli::new().run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &data]).failed(1);
    assert!(alone.contains("TIDEGATE_DATABASE_URL"), "{alone}");
    let gone =
        format!("postgres://tidegate:{PASSWORD}@127.0.0.1:{}/x", harness::process::free_port().unwrap());
    let away = cli.env("TIDEGATE_DATABASE_URL", &gone).run(&["init", "--data-dir", &fresh]).failed(1);
    assert!(away.contains("unavailable"), "{away}");
    assert!(!elsewhere.path().join("fresh").exists(), "nothing was begun");
    for message in [mismatched, alone, away] {
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

/// `TIDEGATE_OUTAGE_SECS` sets a longer outage.
#[tokio::test]
async fn the_database_goes_away_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let gateway = &on(&server).await;
    gateway.credential("openai", OWN).await;
    gateway.chat_ok(&question(MINI)).await;
    wait_for_usage(&gateway.admin(), 1, WITHIN).await;
    server.stop().await.unwrap();
    let away = number("TIDEGATE_OUTAGE_SECS").unwrap_or(3);
    let started = Instant::now();
    let mut served = 1_u64;
    while started.elapsed() < Duration::from_secs(away) || served < 50 {
        gateway.chat_ok(&if served.is_multiple_of(2) { question(MINI) } else { streaming(MINI) }).await;
        served += 1;
        a_moment().await;
    }
    // Routes that need the database return a 503; the gateway stays ready, so a load balancer keeps sending
    // inference traffic.
    gateway.admin().get("/v2/usage").await.unwrap().must_be(503);
    gateway.client().get("/health/ready").await.unwrap().must_be(200);
    server.start().await.unwrap();
    let back = Instant::now();
    let sums = wait_for_usage(&gateway.admin(), served, WITHIN).await;
    let (away, back) = (started.elapsed(), back.elapsed());
    println!("{served} requests over {away:?}; in the books {back:?} after the return");
    has(&sums, json!({"requests": served, "failed_requests": 0}));
    assert_eq!(gateway.requests(100).await.len() as u64, served);
    // Configuration changes are picked up again, too.
    let (key, _) = gateway.key(json!({"name": "after", "project_id": gateway.founded.project_id})).await;
    until_answered(gateway.pid(), &gateway.with_key(&key), 200, WITHIN).await;
    assert_eq!(gateway.emulator.violations(), []);
}

/// The gateway that books a batch dies, and another one continues.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_batch_is_booked_once_by_whichever_gateway_lives() {
    let mut gateway = on(&Server::shared().await.unwrap()).await;
    gateway.credential("openai", OWN).await;
    batches::slowly(&gateway, 250);
    let id = batches::made(&gateway.client(), &batches::asks(batches::MANY)).await;
    let deadline = Instant::now() + 4 * WITHIN;
    while batches::items(&gateway.admin()).await.is_empty() {
        assert!(Instant::now() < deadline, "nobody books it");
        a_moment().await;
    }
    // The first gateway holds the batch's job: the other can claim it when the lease expires, half a minute
    // after the death.
    let (other, origin) = gateway.replica().await;
    gateway.process().kill9().unwrap();
    gateway.emulator.clear_scripts();
    let admin = admin_at(&gateway, &origin);
    let some = batches::items(&admin).await.len();
    assert!((1..batches::MANY).contains(&some), "{some} were booked by the dead one");
    let rows = batches::until_booked(&admin, batches::MANY).await;
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), batches::MANY);
    // The batch has the same id on both gateways.
    let at_other = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    assert_eq!(batches::ended(&at_other, &id).await["id"], id.as_str());
    drop(other);
}
