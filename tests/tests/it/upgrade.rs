//! An upgrade from the version before the newest migration to this one, under traffic: `make prove-upgrade`
//! builds that version.

use std::path::PathBuf;

use harness::postgres::Server;
use serde_json::json;

use crate::WITHIN;
use crate::ask::{MINI, question, scripted, with};
use crate::fleet::{Fleet, GATEWAYS, Load, seen};
use crate::gateway::OWN;
use crate::wait::found;

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
            let body = json!({"name": format!("key {index} {other}"), "project_id": fleet.gateway.founded.project_id});
            let made = admin.post("/v2/api-keys", &body).await.unwrap();
            assert_eq!(made.status, 201, "{}", made.text());
            let key = made.json()["key"].as_str().unwrap().to_owned();
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
