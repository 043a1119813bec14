//! The audit as evidence: a proof is checked without the gateway, and whatever is done to the database is found.

use std::process::Command;

use serde_json::{Value, json};

use crate::ask::problem;
use crate::command::{Cli, workspace};
use crate::gateway::Gateway;

/// Changes the database while the gateway is down.
fn edit(gateway: &Gateway, statement: &str) {
    let program =
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()";
    let database = gateway.data().join("tidegate.db");
    let mut python = Command::new(workspace().join(".venv/bin/python"));
    let output = python.args(["-c", program]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Checks a proof in a folder that holds nothing else, with no gateway at hand.
fn verify(proof: &str, more: &[&str]) -> crate::command::Done {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proof.json");
    std::fs::write(&file, proof).unwrap();
    let file = file.display().to_string();
    Cli::new().run(&[&["audit", "verify", &file], more].concat())
}

async fn busy() -> Gateway {
    let gateway = Gateway::start().await;
    for name in ["a", "b", "c", "d"] {
        gateway.make("/v2/projects", json!({"name": name})).await;
    }
    gateway
}

#[tokio::test]
async fn a_proof_is_checked_without_the_gateway() {
    let gateway = busy().await;
    let proof = gateway.cli().run(&["audit", "proof"]).ok();
    let key = gateway.get("/v2/audit/key").await;
    let (public, fingerprint) = (key["public_key"].as_str().unwrap(), key["fingerprint"].as_str().unwrap());
    let told = verify(&proof, &[]).ok();
    assert!(told.contains("holds from entry 1 to ") && told.contains("the key inside the file"), "{told}");
    assert!(told.contains(public) && told.contains(fingerprint), "{told}");
    let trusted = verify(&proof, &["--key", public, "--json"]).json();
    assert_eq!((&trusted["ok"], trusted["trusted"].as_str()), (&json!(true), Some("given")));
    let other = format!("{:064x}", 7);
    assert!(verify(&proof, &["--key", &other]).failed(11).contains(fingerprint));
    let stretch = gateway.cli().run(&["audit", "proof", "--from", "3", "--to", "4"]).ok();
    assert!(verify(&stretch, &[]).ok().contains("from entry 3 to 4"));
    let mut touched: Value = serde_json::from_str(&proof).unwrap();
    touched["entries"][2]["actor"] = json!("key_of_somebody_else");
    assert!(verify(&touched.to_string(), &[]).failed(11).contains("entry 3 was changed"));
    touched["entries"].as_array_mut().unwrap().remove(2);
    assert!(verify(&touched.to_string(), &[]).failed(11).contains("entry 3 is missing"));
    verify("{}", &[]).failed(2);
    let entries = gateway.get("/v2/audit?limit=1000").await;
    let listed = &entries["data"][0];
    assert_eq!(listed["hash"], serde_json::from_str::<Value>(&proof).unwrap()["head"]["hash"], "{listed}");
}

#[tokio::test]
async fn what_is_done_to_the_database_is_found() {
    let mut gateway = busy().await;
    let cases = [
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 5", "entry 5 was changed"),
        ("DELETE FROM audit WHERE sequence = 4", "entry 4 is missing"),
        ("UPDATE audit SET sequence = 4 WHERE sequence = 5", "entry 4 was changed"),
    ];
    for (statement, found) in cases {
        gateway.stop().await;
        edit(&gateway, statement);
        gateway.start_again().await;
        let told = verify(&gateway.cli().run(&["audit", "proof"]).ok(), &[]).failed(11);
        assert!(told.contains(found), "{statement}: {told}");
    }
    gateway.stop().await;
    edit(&gateway, "DELETE FROM audit WHERE sequence = (SELECT MAX(sequence) FROM audit)");
    gateway.start_again().await;
    let told = verify(&gateway.cli().run(&["audit", "proof", "--from", "7"]).ok(), &[]).failed(11);
    // The next start writes an entry of its own, after the place of the one that is gone.
    assert!(told.contains("is missing"), "{told}");
}

#[tokio::test]
async fn chains_are_of_workspaces() {
    let gateway = busy().await;
    let other = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let theirs = gateway.with_key(other["admin_key"].as_str().unwrap());
    let proof = theirs.get("/v2/audit/proof").await.unwrap().json();
    assert_eq!(proof["chain"], other["workspace_id"]);
    assert_eq!(proof["entries"].as_array().unwrap().len(), 1);
    let account = gateway.account("openai", crate::gateway::POOL).await;
    let installation = gateway.get("/v2/audit/proof?chain=installation").await;
    assert_eq!(
        (&installation["chain"], &installation["entries"][0]["target"]),
        (&json!("installation"), &json!(account))
    );
    verify(&installation.to_string(), &[]).ok();
    problem(&theirs.get("/v2/audit?chain=installation").await.unwrap(), 403, "insufficient_scope");
    problem(&theirs.get("/v2/audit/proof?from=99").await.unwrap(), 400, "invalid_value");
    problem(&theirs.get("/v2/audit/proof?from=0").await.unwrap(), 400, "invalid_value");
}
