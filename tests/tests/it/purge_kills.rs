//! Purges that are killed: at each of their steps by name, each time by SIGKILL, they go on and end once.

use harness::canary::Canary;
use serde_json::{Value, json};

use crate::ask::words;
use crate::command::Cli;
use crate::gateway::{Gateway, OWN, config};
use crate::purge::{
    Planted, SECRET, audited, found_in, is_replayed, plant, readable, receipt_of, sealed, start,
    write_receipt,
};
use crate::wait::until;

/// The setting of builds for tests that names a file, which names the step at which a purge waits.
const HELD: &str = "TIDEGATE_HELD_PURGE_STEP";
const PLACES: &str = "idempotent_answers kept_turns agent_state batches tasks flow_runs data_exports \
    request_contents files response_cache held_prompts provider_objects provider_responses providers \
    node_caches";

/// Every step, in the order in which a purge goes through them.
fn steps() -> Vec<String> {
    let each = |step: &'static str| words(PLACES).into_iter().map(move |place| format!("{step} {place}"));
    let of_places =
        words(PLACES).into_iter().flat_map(|place| [format!("purge {place}"), format!("note {place}")]);
    let named = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
    let before = named(&["raise", "count"]).into_iter().chain(of_places);
    before.chain(named(&["scrub"])).chain(each("probe")).chain(named(&["sign", "store", "end"])).collect()
}

/// A gateway whose purges wait at the step that a file names.
struct Held {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

async fn held() -> Held {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(config(), &[(HELD, &folder.path().join("step").display().to_string())]).await;
    gateway.credential("openai", OWN).await;
    Held { gateway, folder }
}

impl Held {
    fn hold(&self, step: &str) {
        std::fs::write(self.folder.path().join("step"), step).unwrap();
    }

    /// Waits until the purge is at this step, and kills the process there; the next one waits at another step, or at none.
    async fn kill_at(&mut self, step: &str, next: &str) {
        let words = format!("a purge waits at its step \"{step}\"");
        let gateway = &mut self.gateway;
        until(&words, async || {
            let process = gateway.process();
            process.stderr().contains(&words) || process.stdout().contains(&words)
        })
        .await;
        self.hold(next);
        self.gateway.crash().await;
    }
}

fn receipts(gateway: &Gateway) -> u64 {
    let count = "print(db.execute('SELECT COUNT(*) FROM purge_receipts').fetchone()[0])";
    crate::vault::edit(gateway, count).trim().parse().unwrap()
}

/// The purge has ended once: its receipt holds, nothing of what was planted is found, and there is this number of receipts.
async fn ended(gateway: &Gateway, id: &str, planted: &Planted, slices: &[Vec<u8>], count: u64) -> Value {
    let receipt = receipt_of(gateway, id).await;
    assert_eq!(receipt["complete"], true, "{receipt}");
    assert_eq!((&receipt["sequence"], receipts(gateway)), (&json!(count), count), "{receipt}");
    assert_eq!(readable(gateway, planted).await, [""; 0]);
    assert!(!is_replayed(gateway, planted).await);
    assert_eq!(found_in(&gateway.data(), slices), 0);
    assert_eq!(Canary::new().plant("planted", SECRET).scan_path(&gateway.data()).unwrap(), []);
    audited(gateway, id).await;
    let key = gateway.get("/v2/audit/key").await["public_key"].as_str().unwrap().to_owned();
    let file = write_receipt(gateway.directory(), &format!("receipt {count}"), &receipt.to_string());
    Cli::new().run(&["receipt", "verify", &file, "--key", &key]).ok();
    receipt
}

/// One purge, whose process is killed at each of these steps, one after the other.
async fn killed_at_each(steps: &[String]) {
    let mut held = held().await;
    held.hold(&steps[0]);
    let planted = plant(&held.gateway, &held.gateway.founded.api_key).await;
    let slices = sealed(&held.gateway.data());
    assert_eq!(found_in(&held.gateway.data(), &slices), 4);
    let id = start(&held.gateway, json!({"project_id": held.gateway.founded.project_id})).await;
    for (number, step) in steps.iter().enumerate() {
        let next = steps.get(number + 1).map_or("", String::as_str);
        held.kill_at(step, next).await;
    }
    ended(&held.gateway, &id, &planted, &slices, 1).await;
}

fn is_of_the_end(step: &str) -> bool {
    step.starts_with("probe") || ["scrub", "sign", "store", "end"].contains(&step)
}

#[tokio::test]
async fn a_purge_that_is_killed_before_and_after_each_place_goes_on_and_ends_once() {
    let steps: Vec<_> = steps().into_iter().filter(|step| !is_of_the_end(step)).collect();
    assert_eq!(steps.len(), 2 + 2 * words(PLACES).len());
    killed_at_each(&steps).await;
}

#[tokio::test]
async fn a_purge_that_is_killed_at_each_look_and_while_it_signs_ends_once() {
    let steps: Vec<_> = steps().into_iter().filter(|step| is_of_the_end(step)).collect();
    assert_eq!(steps.len(), 4 + words(PLACES).len());
    killed_at_each(&steps).await;
}

/// A purge each, which is killed once, and goes on to its end.
#[tokio::test]
async fn a_purge_that_is_killed_once_is_over_after_the_next_start() {
    let mut held = held().await;
    let places = ["purge kept_turns", "note provider_objects", "probe provider_objects"];
    let steps = ["raise", "count"].into_iter().chain(places).chain(["scrub", "sign", "store", "end"]);
    for (number, step) in (1..).zip(steps) {
        held.hold(step);
        let planted = plant(&held.gateway, &held.gateway.founded.api_key).await;
        let slices = sealed(&held.gateway.data());
        let id = start(&held.gateway, json!({"project_id": held.gateway.founded.project_id})).await;
        held.kill_at(step, "").await;
        ended(&held.gateway, &id, &planted, &slices, number).await;
    }
}
