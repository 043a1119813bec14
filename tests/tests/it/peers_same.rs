//! What a name means among peers: models of the same name and other weights are not mixed, an adapter that only peers have comes by
//! itself, and who computes is listed.

use std::path::{Path, PathBuf};

use engine::Numbers;
use harness::process::workspace;
use serde_json::{Value, json};
use weights::Source;
use weights::synthetic::SyntheticAdapter;

use crate::WITHIN;
use crate::ask::{fails, has, said, says};
use crate::peers::{MODEL, Peer, SERVES, demo, list_of, machines};
use crate::wait::{found, until};

/// The built-in model with other numbers in it.
fn other_weights(root: &Path) -> String {
    let directory = root.join("other");
    std::fs::create_dir(&directory).unwrap();
    for entry in std::fs::read_dir(workspace().join("builtin/model")).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if entry.file_name() == "model.safetensors" {
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
        }
        std::fs::write(directory.join(entry.file_name()), bytes).unwrap();
    }
    directory.display().to_string()
}

async fn digest(near: &Peer, of: &Peer) -> String {
    found("a digest", async || near.sees(of).await["digests"][MODEL].as_str().map(str::to_owned)).await
}

#[tokio::test]
async fn the_same_name_with_other_weights_is_not_served_as_the_same() {
    let (_network, [near, far, other, third]) = machines(["near", "far", "other", "third"]);
    let (_directory, list) = list_of(&[&near, &far, &other, &third]);
    let files = tempfile::tempdir().unwrap();
    let _near = near.start("echo", &list, &[]).await;
    let _far = far.start(&demo(), &list, &SERVES).await;
    let _other = other.start(&other_weights(files.path()), &list, &SERVES).await;
    assert_ne!(digest(&near, &far).await, digest(&near, &other).await);
    let refused = near.ask(MODEL).await;
    fails(&refused, 503, "peers_failed");
    says(&refused.text(), &["as many peers have others under this name"]);

    let _third = third.start(&demo(), &list, &SERVES).await;
    assert_eq!(digest(&near, &third).await, digest(&near, &far).await);
    for _ in 0..6 {
        let answer = near.ask(MODEL).await;
        assert!([Some("far"), Some("third")].contains(&answer.header("x-tidegate-peer")), "{answer:?}");
    }
}

fn adapters(peer: &Peer) -> PathBuf {
    Path::new(&peer.data()).join("adapters")
}

/// Writes an adapter of the built-in model.
fn write_adapter(peer: &Peer, name: &str, rank: usize) {
    let source = Source::open(&workspace().join("builtin/model")).unwrap();
    let made = SyntheticAdapter::new(source.shape(), &["q_proj", "v_proj"], rank, 1);
    std::fs::create_dir_all(adapters(peer)).unwrap();
    made.write(&adapters(peer).join(name), Numbers::F32).unwrap();
}

#[tokio::test]
async fn an_adapter_that_only_peers_have_comes_by_itself_if_it_may() {
    let (_network, [near, far, attic, strict]) = machines(["near", "far", "attic", "strict"]);
    let (_directory, list) = list_of(&[&near, &far, &attic, &strict]);
    write_adapter(&far, "law", 8);
    write_adapter(&attic, "tax", 8);
    let serves = [&SERVES[..], &["--peer-fetch-adapters", "64"]].concat();
    let _far = far.start(&demo(), &list, &SERVES).await;
    // It has an adapter and no model for it.
    let _attic = attic.start("echo", &list, &[]).await;
    let _near = near.start(&demo(), &list, &serves).await;
    let _strict = strict.start(&demo(), &list, &SERVES).await;
    for one in [&near, &strict] {
        one.meets(&far).await;
        one.meets(&attic).await;
    }

    // Whoever has it serves until it is here.
    let law = format!("{MODEL}:law");
    let first = near.ask(&law).await;
    assert_eq!(first.header("x-tidegate-peer"), Some("far"), "{}", first.text());
    let here = found("the adapter comes", async || {
        let answer = near.ask(&law).await;
        (answer.status == 200 && answer.header("x-tidegate-peer").is_none()).then_some(answer)
    })
    .await;
    assert_eq!(said(&here), said(&first));
    assert!(adapters(&near).join("law/adapter_model.safetensors").is_file());

    // Nobody serves this one: the request waits for it.
    let waited = near.ask(&format!("{MODEL}:tax")).await;
    assert_eq!((waited.status, waited.header("x-tidegate-peer")), (200, None), "{}", waited.text());
    // Nothing comes by itself where it may not.
    strict.ask(&format!("{MODEL}:tax")).await.must_be(404);
    assert!(!adapters(&strict).join("tax").exists());
}

#[tokio::test]
async fn an_adapter_above_the_bound_does_not_come() {
    let (_network, [near, attic]) = machines(["near", "attic"]);
    let (_directory, list) = list_of(&[&near, &attic]);
    write_adapter(&attic, "law", 8);
    write_adapter(&attic, "tome", 256);
    let bytes = std::fs::metadata(adapters(&attic).join("tome/adapter_model.safetensors")).unwrap().len();
    assert!(bytes > 1 << 20, "{bytes}");
    let _attic = attic.start("echo", &list, &[]).await;
    let fetches = [&SERVES[..], &["--peer-fetch-adapters", "1"]].concat();
    let mut process = near.start(&demo(), &list, &fetches).await;
    near.meets(&attic).await;
    near.ask(&format!("{MODEL}:tome")).await.must_be(404);
    process.wait_text("up to 1048576 are fetched", WITHIN).await.unwrap();
    assert!(!adapters(&near).join("tome").exists());
    assert!(!adapters(&near).join(".coming/tome").exists(), "none of it came");
    // One within it comes.
    near.ask(&format!("{MODEL}:law")).await.must_be(200);
}

async fn computing(peer: &Peer) -> Vec<Value> {
    let listed = peer.client.get("/v1/compute/peers").await.unwrap().must_be(200);
    listed.json()["peers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn who_computes_is_listed_and_members_are_added_and_removed_there() {
    let (_network, [near, far]) = machines(["near", "far"]);
    let (_none, nobody) = list_of(&[]);
    let (_directory, list) = list_of(&[&near]);
    write_adapter(&far, "law", 8);
    let _far = far.start(&demo(), &list, &SERVES).await;
    let _near = near.start("echo", &nobody, &[]).await;
    let alone = computing(&near).await;
    assert_eq!(alone.len(), 1, "{alone:?}");
    has(&alone[0], json!({"self": true, "id": near.public_key}));

    let path = "/v1/compute/peers";
    let by_address = json!({"name": "far", "realtime_peer_url": "http://10.0.0.5:8080"});
    fails(&near.client.post(path, &by_address).await.unwrap(), 400, "invalid_peer");
    let member = json!({"name": "far", "public_key": far.public_key, "addresses": [format!("{}:7000", far.machine.address)]});
    has(&near.client.post(path, &member).await.unwrap().must_be(201).json()["peer"], json!({"name": "far"}));
    near.meets(&far).await;
    let row = found("a description", async || {
        let row = computing(&near).await.into_iter().find(|row| row["name"] == "far")?;
        row["digests"][MODEL].is_string().then_some(row)
    })
    .await;
    has(
        &row,
        json!({"models": [MODEL], "adapters": [format!("{MODEL}:law")], "device": "cpu", "reachable": true}),
    );
    has(&row["load"], json!({"running": 0}));
    let one = format!("{path}/{}", far.public_key);
    near.client.delete(&one).await.unwrap().must_be(200);
    near.client.delete(&one).await.unwrap().must_be(404);
    until("far is gone", async || computing(&near).await.len() == 1).await;
}
