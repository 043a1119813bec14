//! The document of the API: it is what the gateway serves, and a validator of others takes it.

use std::process::Command;

use serde_json::Value;

use crate::command::workspace;
use crate::gateway::Gateway;

#[tokio::test]
async fn the_served_document_is_the_checked_in_one() {
    let gateway = Gateway::start().await;
    let served = gateway.client().get("/v2/openapi.json").await.unwrap();
    assert_eq!(served.status, 200, "{}", served.text());
    let kept = std::fs::read(workspace().join("docs/openapi.json")).unwrap();
    assert_eq!(served.json(), serde_json::from_slice::<Value>(&kept).unwrap());
}

#[test]
fn the_document_is_valid_by_another_program() {
    let directory = workspace().join("tests/node");
    assert!(
        directory.join("node_modules/@apidevtools/swagger-parser").exists(),
        "run scripts/node-env.sh first"
    );
    let mut validator = Command::new("node");
    let output =
        validator.args(["document.mjs", "../../docs/openapi.json"]).current_dir(directory).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.starts_with("ok Tidegate "), "{stdout}{stderr}");
}
