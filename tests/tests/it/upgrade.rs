//! An upgrade from the version before the newest migration to this one, under traffic, and an installation of that version to keep: `make prove-upgrade`
//! and `make dump` build it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use futures_util::FutureExt;
use harness::postgres::Server;
use http::Method;
use serde_json::json;

use crate::WITHIN;
use crate::ask::{MINI, question, scripted, streaming_usage, with};
use crate::fleet::{Fleet, GATEWAYS, Load, seen};
use crate::gateway::{Gateway, OWN, POOL, config, sums};
use crate::older::{Kept, collections, dumps, now_ms, rows, tar};
use crate::wait::found;
use crate::writes::{JOBS, Preparing, writing};

/// The previous version's program. Without it there is nothing to upgrade from, so `make test` does not list
/// this test (`default-filter` in `.config/nextest.toml`); how the store reads older rows, and an older
/// program newer ones, is tested with the store.
fn before() -> PathBuf {
    let named = std::env::var_os("TIDEGATE_BIN_BEFORE");
    named.map(PathBuf::from).expect("TIDEGATE_BIN_BEFORE names no program: `make prove-upgrade` builds one")
}

/// A rolling upgrade. Gateways of the old version keep serving, booking and reporting next to the new ones,
/// although the first new one has already migrated the schema.
#[tokio::test]
async fn gateways_are_upgraded_one_by_one_without_a_failed_request() {
    let server = Server::shared().await.unwrap();
    let mut fleet = Fleet::of(before(), &server, "upgrade").await;
    fleet.gateway.credential("openai", OWN).await;
    let main = fleet.gateway.founded.api_key.clone();
    seen(&fleet, &main, &question(MINI), |answer| answer.status == 200).await;
    let earlier = fleet.gateway.emulator.journal().len() as u64;
    fleet.gateway.wait_for_usage(earlier).await;
    let database = format!("upgrade_{}", std::process::id());
    let schema = "SELECT MAX(version) FROM _sqlx_migrations";
    let old_schema = server.run(&database, schema).await.unwrap();
    let slow = with(scripted(MINI, "chunks=20,interval=15"), json!({"stream": true}));
    let mut load = Load::start(&fleet, &[question(MINI), question(MINI), slow]);
    let mut noticed = 0;
    for index in (0..GATEWAYS).rev() {
        load.more(60).await;
        fleet.restart(index, Some(harness::process::tidegate().unwrap())).await;
        let new_schema = server.run(&database, schema).await.unwrap();
        assert_ne!(new_schema, old_schema, "the first new one brings the schema");
        load.more(60).await;
        // Both versions report from the books, and accept changes.
        for other in 0..GATEWAYS {
            let admin = fleet.admin(other);
            for path in ["/v2/usage", "/v2/requests?limit=5", "/v2/requests?limit=5&outcome=completed"] {
                let answer = admin.get(path).await.unwrap();
                assert_eq!(answer.status, 200, "{path} of gateway {other}: {}", answer.text());
            }
            let project = &fleet.gateway.founded.project_id;
            let body = json!({"name": format!("key {index} {other}"), "project_id": project});
            let made = admin.post("/v2/api-keys", &body).await.unwrap().must_be(201).json();
            let key = made["key"].as_str().unwrap().to_owned();
            noticed += seen(&fleet, &key, &question(MINI), |answer| answer.status == 200).await.len() as u64;
        }
    }
    let served = load.end().await;
    let reached = fleet.gateway.emulator.journal().len() as u64;
    let sums = fleet.gateway.wait_for_usage(reached).await;
    println!("from schema {old_schema}: {served} requests beside {GATEWAYS} upgrades, {reached} booked");
    assert_eq!(reached, earlier + served + noticed, "a request failed: {sums}");
    assert_eq!(sums["failed_requests"], 0, "{sums}");
    assert_eq!(sums["requests"], reached, "each upstream call is booked once, by whichever version: {sums}");
    let listed = found("each request is listed", async || {
        let rows = fleet.gateway.requests(1_000).await;
        let sent = rows.iter().filter(|row| row["attempts"].as_u64() > Some(0)).count() as u64;
        (sent >= reached).then_some(rows)
    })
    .await;
    assert!(listed.is_sorted_by_key(|row| row["id"].as_str().unwrap().to_owned()), "one list of both");
    fleet.gateway.process().stop(WITHIN).await.unwrap();
}

/// An installation of that version with something of everything that it can make, on each database, for each later version to open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_kept() {
    let server = Server::shared().await.unwrap();
    let name = format!("kept_{}", std::process::id());
    let gateway = filled(&[("TIDEGATE_DATABASE_URL", &server.database(&name).await.unwrap())]).await;
    let schema = server.run(&name, "SELECT MAX(version) FROM _sqlx_migrations").await.unwrap();
    let archive = |database: &str| dumps().join(format!("{schema:0>4}-{database}.tar.gz"));
    std::fs::create_dir_all(dumps()).unwrap();
    server.dump(&name, &gateway.directory().join("database.sql")).await.unwrap();
    tar("-cz", &archive("postgres"), gateway.directory(), &["."]);
    tar("-cz", &archive("sqlite"), filled(&[]).await.directory(), &["."]);
}

/// A stopped gateway of that version, with a list of its contents beside its data.
async fn filled(environment: &[(&str, &str)]) -> Gateway {
    let environment = [environment, &[("TIDEGATE_SUBSCRIPTIONS", "1")]].concat();
    let mut gateway = Gateway::of(before(), config(), &environment).await;
    gateway.credential("openai", OWN).await;
    gateway.account("openai", POOL).await;
    let (revoked, id) = gateway.key(json!({"name": "revoked"})).await;
    gateway.remove(&format!("/v2/api-keys/{id}")).await;
    serve_some(&gateway).await;
    let creating = writing().into_iter().filter(|(method, _)| method == Method::POST);
    for (number, (_, path)) in creating.enumerate() {
        // A job would still be running.
        let is_listed = !JOBS.contains(&path) && collections().any(|listed| listed == path);
        if !is_listed || rows(&gateway.admin(), path).await.is_none() {
            continue;
        }
        let preparing = Preparing { gateway: &gateway, number };
        let made = async { preparing.prepare(&Method::POST, path).await.call("").await };
        match AssertUnwindSafe(made).catch_unwind().await {
            Ok(answer) => println!("{path}: {}", answer.status),
            Err(_) => println!("{path}: what it takes can't be made in that version"),
        }
    }
    let usage = sums(&gateway.get("/v2/usage").await);
    let mut listed = BTreeMap::new();
    for collection in collections() {
        if let Some(rows) = rows(&gateway.admin(), collection).await.filter(|rows| !rows.is_empty()) {
            listed.insert(collection.to_owned(), rows);
        }
    }
    gateway.stop().await;
    let (founded, upstream) = (gateway.founded.clone(), gateway.emulator.origin());
    let kept = Kept { founded, unix_ms: now_ms(), upstream, revoked, usage, rows: listed };
    std::fs::write(gateway.directory().join("kept.json"), serde_json::to_vec(&kept).unwrap()).unwrap();
    gateway
}

/// Requests of each outcome.
async fn serve_some(gateway: &Gateway) {
    for number in 0..20 {
        gateway.chat_ok(&with(question(MINI), json!({"user": format!("one {}", number % 3)}))).await;
    }
    for asked in [scripted(MINI, "status=400"), question("nobody/serves-this"), streaming_usage(MINI)] {
        gateway.chat(&asked).await;
    }
    gateway.wait_for_usage(22).await;
}
