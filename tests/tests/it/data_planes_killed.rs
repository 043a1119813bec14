//! A data plane is killed at random moments under traffic, and now and then its control plane: every upstream call is in the control
//! plane's books exactly once.

use harness::client::Client;
use harness::day;
use harness::postgres::Server;
use harness::setting::number;
use serde_json::Value;
use tokio::sync::watch;

use crate::WITHIN;
use crate::data_planes::{Plane, Wire};
use crate::gateway::{Gateway, OWN, config, sums};
use crate::kill::{
    CLIENTS, Chance, Traffic, all_settled, booked_once, counts_are_the_providers, outcomes_are_true,
};
use crate::wait::{until, until_a_random_moment};

async fn requests_in(client: &Client) -> Value {
    match client.get("/v2/usage").await {
        Ok(answer) if answer.status == 200 => sums(&answer.json())["requests"].clone(),
        _ => Value::Null,
    }
}

async fn killed_again_and_again(kills: u64, environment: Vec<(String, String)>) {
    let seed = day::seed();
    println!("{kills} kills, seed {seed}");
    let mut chance = Chance(seed);
    let mut emulator = config();
    emulator.entries_max = 1_000_000;
    let mut control = Gateway::with(emulator, &[("TIDEGATE_LOG", "warn")]).await;
    control.credential("openai", OWN).await;
    let (admin, key) = (control.founded.admin_key.clone(), control.founded.api_key.clone());
    let wire = Wire::to(control.address()).await;
    let address = wire.url();
    let mut plane = Plane::join_by((&control, &admin, "fra-1"), wire, &address, environment).await;
    let (published, origin) = watch::channel(plane.origin().to_owned());
    let (traffic, clients) = Traffic::start(origin, &key);
    for kill in 0..kills {
        until_a_random_moment(chance.millis(250)).await;
        if kill % 7 == 3 {
            control.crash().await;
            plane.wire.lead_to(&control);
            until_a_random_moment(chance.millis(100)).await;
        }
        plane.crash().await;
        published.send(plane.origin().to_owned()).unwrap();
    }
    let reached = control.emulator.journal().len();
    control.emulator.wait_for(WITHIN, |journal| journal.len() > reached + CLIENTS).await.unwrap();
    traffic.end(clients).await;
    let (here, there) = (control.admin(), plane.with_key(&admin));
    until("both books to have the same", async || {
        let (at_control, at_plane) = (requests_in(&here).await, requests_in(&there).await);
        at_control == at_plane && at_control.as_u64() >= Some(reached as u64)
    })
    .await;
    let rows = all_settled(&control).await;
    booked_once(&control, &rows);
    counts_are_the_providers(&control, &rows);
    outcomes_are_true(&control, &rows, &traffic.answered.lock().unwrap());
}

#[tokio::test]
async fn every_call_of_a_data_plane_that_is_killed_is_booked_once_at_its_control_plane() {
    killed_again_and_again(number("TIDEGATE_KILLS").unwrap_or(8), Vec::new()).await;
}

#[tokio::test]
async fn so_it_is_where_the_data_plane_is_on_postgresql() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("killed_plane_{}", std::process::id())).await.unwrap();
    let environment = vec![("TIDEGATE_DATABASE_URL".to_owned(), url)];
    killed_again_and_again(number("TIDEGATE_KILLS").unwrap_or(5), environment).await;
}
