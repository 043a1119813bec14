//! A workspace as a declarative document: applied, applied again, pruned, exported elsewhere, and refused if
//! it is wrong.

use std::path::PathBuf;

use harness::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ask::has;
use crate::command::{Cli, Done};
use crate::gateway::{Gateway, OWN, id_of};

const DOCUMENT: &str = r#"
[[route]]
scope = { project = "web", model = "openai/*" }
profiles = ["byok"]
credentials = ["ours"]
fallback_on = ["timeout", "auth"]

[[project]]
name = "web"
environment = "staging"

[[credential]]
name = "ours"
provider = "openai"
project = "web"
base_url = "BASE/"
secret = { env = "OUR_SECRET" }
metadata = { team = "tide" }
limits = { tokens_per_minute = 90000 }
retention = { days = 30 }
commitment = { amount_micros = 5000000, period = "year" }
compliance = ["soc2", "gdpr"]

[[node]]
name = "rack"
base_url = "BASE"
models = ["tide-1"]
labels = ["gpu", "eu"]
status = "draining"
secret = { file = "node.key" }

[[key]]
project = "web"
name = "ci"
scopes = ["read", "inference"]
ip_allowlist = ["127.0.0.1", "10.0.0.0/8"]
expires_at = "2030-01-01"

[[member]]
email = "dev@example.com"
role = "developer"
"#;

struct Desk {
    gateway: Gateway,
    directory: TempDir,
    admin_key: String,
}

impl Desk {
    /// A workspace without operator rights, and a directory with the document.
    async fn new() -> Self {
        let gateway = Gateway::start().await;
        let admin_key = gateway.workspace("tenant").await.admin_key;
        let desk = Self { admin_key, directory: tempfile::tempdir().unwrap(), gateway };
        desk.write("all.toml", &DOCUMENT.replace("BASE", &desk.gateway.emulator.base_url()));
        desk.write("node.key", crate::gateway::NODE);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn cli(&self) -> Cli {
        self.as_key(&self.admin_key).env("OUR_SECRET", OWN)
    }

    fn as_key(&self, key: &str) -> Cli {
        Cli::new().env("TIDEGATE_URL", &self.gateway.origin).env("TIDEGATE_API_KEY", key)
    }

    fn client(&self) -> Client {
        self.gateway.with_key(&self.admin_key)
    }

    fn apply(&self, more: &[&str]) -> Done {
        let file = self.path("all.toml").display().to_string();
        self.cli().run(&[&["apply", "-f", &*file][..], more].concat())
    }

    async fn all(&self, path: &str) -> Vec<Value> {
        let answer = self.gateway.with_key(&self.admin_key).get(path).await.unwrap().must_be(200);
        answer.json()["data"].as_array().unwrap().clone()
    }
}

/// What is done to which object.
fn actions(lines: &[Value]) -> Vec<String> {
    let changes = lines.iter().filter(|line| line["object"] == "change" && line["action"] != "keep");
    changes
        .map(|line| ["action", "kind", "name"].map(|part| line[part].as_str().unwrap()).join(" "))
        .collect()
}

/// The object of a list with this name.
fn named<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["name"] == name).unwrap()
}

#[tokio::test]
async fn it_is_applied_once_and_then_there_is_no_change() {
    let desk = Desk::new().await;
    let dry = desk.apply(&["--dry-run"]).ok();
    assert!(dry.contains("+ project    web") && dry.contains("Would make 6"), "{dry}");
    assert!(!dry.contains(OWN) && desk.all("/v2/provider-credentials").await.is_empty(), "{dry}");
    let made = desk.apply(&["--json"]).lines();
    let expected = "create project web, create credential ours, create node rack, create key web/ci, \
        create route model=openai/ project=web, create member dev@example.com";
    assert_eq!(actions(&made).join(", "), expected);
    let key = made.iter().find(|line| line["kind"] == "key").unwrap()["key"].as_str().unwrap().to_owned();
    assert_eq!(desk.gateway.with_key(&key).get("/v2/usage").await.unwrap().status, 200);
    let node = desk.all("/v2/byoc/nodes").await.remove(0);
    assert_eq!((&node["status"], &node["has_secret"]), (&json!("draining"), &json!(true)), "{node}");
    let credential = desk.all("/v2/provider-credentials").await.remove(0);
    assert_eq!(credential["metadata"], json!({"team": "tide", "managed_by": "tidegate apply"}));

    // Without a change to the credential, its secret is not even read.
    let file = desk.path("all.toml").display().to_string();
    let bare = desk.as_key(&desk.admin_key);
    assert_eq!(bare.run(&["apply", "-f", &file]).ok(), "No change: 6 objects are as declared.\n");
    assert_eq!(desk.all("/v2/provider-credentials").await, std::slice::from_ref(&credential));

    // Only what differs is changed; what the document doesn't mention stays.
    let text = std::fs::read_to_string(desk.path("all.toml")).unwrap();
    let text = text.replace("team = \"tide\"", "tier = 2").replace("\"gpu\", \"eu\"", "\"eu\"");
    desk.write("all.toml", &text.replace("status = \"draining\"\n", ""));
    let changed = desk.apply(&[]).ok();
    let diff = "    metadata: {\"team\":\"tide\"} -> {\"tier\":2}\n";
    assert!(changed.contains(diff) && changed.contains("labels: [\"gpu\",\"eu\"] -> [\"eu\"]"), "{changed}");
    let node = desk.all("/v2/byoc/nodes").await.remove(0);
    assert_eq!((&node["status"], &node["labels"]), (&json!("draining"), &json!(["eu"])), "{node}");
    let metadata = desk.all("/v2/provider-credentials").await.remove(0)["metadata"].clone();
    assert_eq!(metadata, json!({"tier": 2, "managed_by": "tidegate apply"}));
    assert!(desk.apply(&[]).ok().starts_with("No change"));
}

#[tokio::test]
async fn only_what_it_manages_is_pruned_and_only_when_asked() {
    let desk = Desk::new().await;
    desk.apply(&["--keys-to", &desk.path("keys").display().to_string()]).ok();
    let keys = std::fs::read_to_string(desk.path("keys")).unwrap();
    assert!(keys.contains("tg_test_") && keys.contains("sign-in#token="), "{keys}");
    let permissions = std::fs::metadata(desk.path("keys")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777, 0o600);
    // Objects that were created manually are never pruned.
    let base_url = desk.gateway.emulator.base_url();
    let acme = ["credential", "add", "acme", "--no-verify", "--base-url", &base_url];
    desk.cli().run_with(&acme, "sk-x").ok();
    let route = desk.cli().run(&["route", "add", "--model", "meta/", "--json"]).json();
    desk.write("all.toml", "[[project]]\nname = \"web\"\nenvironment = \"staging\"\n");
    let kept = desk.apply(&[]).ok();
    assert!(kept.contains("removed with --prune: credential ours, node rack"), "{kept}");
    assert!(desk.apply(&["--prune"]).failed(2).contains("--yes"));
    let pruned = desk.apply(&["--prune", "--yes", "--json"]).lines();
    assert_eq!(actions(&pruned), ["delete node rack", "delete credential ours"]);
    let seen = desk.all("/v2/routes").await.len();
    assert_eq!(seen, 2, "routes bear no mark: only a document that owns them prunes them");
    desk.write("all.toml", "owns = [\"route\"]\n[[project]]\nname = \"web\"\nenvironment = \"staging\"\n");
    let pruned = desk.apply(&["--prune", "--yes", "--json"]).lines();
    assert_eq!(actions(&pruned), ["delete route model=meta/", "delete route model=openai/ project=web"]);
    assert_eq!(desk.all("/v2/provider-credentials").await.len(), 1);
    assert!(desk.all("/v2/byoc/nodes").await.is_empty() && desk.all("/v2/routes").await.is_empty());
    let members = desk.all("/v2/members").await;
    assert!(members.iter().any(|row| row["email"] == "dev@example.com"), "no member is pruned unasked");
    desk.client().get(&format!("/v2/routes/{}", id_of(&route))).await.unwrap().must_be(404);
}

#[tokio::test]
async fn a_workspace_is_taken_elsewhere_whole() {
    let desk = Desk::new().await;
    desk.apply(&[]).ok();
    let exported = desk.cli().run(&["export"]).ok();
    for secret in [OWN, crate::gateway::NODE, "tg_live_", "tg_test_"] {
        assert!(!exported.contains(secret), "{exported}");
    }
    let fresh = desk.gateway.workspace("elsewhere").await.admin_key;
    let there = desk.as_key(&fresh).env("TIDEGATE_SECRET_CREDENTIAL_OURS", OWN);
    desk.write("exported.toml", &exported);
    let file = desk.path("exported.toml").display().to_string();
    there.run(&["apply", "-f", &file]).ok();
    assert_eq!(there.run(&["export"]).ok(), exported);
    assert!(there.run(&["apply", "-f", &file]).ok().starts_with("No change"));
    // The JSON export is equivalent.
    desk.write("exported.json", &desk.cli().run(&["export", "--json"]).ok());
    let json = desk.path("exported.json").display().to_string();
    assert!(there.run(&["apply", "-f", &json]).ok().starts_with("No change"));
}

fn refusal_text(desk: &Desk, text: &str) -> String {
    desk.write("wrong.toml", &text.replace("BASE", &desk.gateway.emulator.base_url()));
    let done = desk.cli().run(&["apply", "-f", &desk.path("wrong.toml").display().to_string()]);
    assert_ne!(done.code, 0, "{done:?}");
    assert!(!format!("{done:?}").contains("sk-canary"), "{done:?}");
    done.stderr
}

#[cfg(feature = "control")]
#[tokio::test]
async fn what_is_wrong_is_told_by_file_and_line_before_anything_is_done() {
    let desk = Desk::new().await;
    const CREDENTIAL: &str = "[[credential]]\nname = \"x\"\nprovider = \"openai\"\n";
    let good = "[[project]]\nname = \"first\"\n\n";
    let account = CREDENTIAL.replace("credential", "account") + "secret = { env = \"OUR_SECRET\" }\n";
    for (text, part) in [
        ("[[key]]\nname = \"x\"\nproject = \"nowhere\"\n", "there is no project nowhere"),
        ("[[project]]\nname = \"first\"\n", "the project first is declared at"),
        (CREDENTIAL, "a new credential needs its secret"),
        (&*format!("{CREDENTIAL}secret = {{ env = \"UNSET\" }}\n"), "UNSET is not set"),
        (&*format!("{CREDENTIAL}secret = \"sk-canary\"\n"), "a secret does not belong"),
        (&*account, "this key may not manage accounts"),
    ] {
        let message = refusal_text(&desk, &format!("{good}{text}"));
        assert!(message.contains(&format!("wrong.toml:4: {part}")), "{message}");
    }
    assert!(!desk.all("/v2/projects").await.iter().any(|row| row["name"] == "first"), "nothing was begun");
    // Errors that only the server finds name the place in the document, too.
    let refused = refusal_text(&desk, "[[node]]\nname = \"n\"\nbase_url = \"ftp://x\"\n");
    assert!(refused.contains("wrong.toml:1: node n: ") && refused.contains("fix:"), "{refused}");
    // A change to an immutable field is refused before anything else is applied.
    desk.apply(&[]).ok();
    let refused = refusal_text(&desk, "[[credential]]\nname = \"ours\"\nprovider = \"nebius\"\n");
    let holds = refused.contains("provider of the credential ours is \"openai\" and can't be changed");
    assert!(holds, "{refused}");
    // Without the secret, a credential's address can't be redirected.
    let elsewhere = "[[credential]]\nname = \"ours\"\nprovider = \"openai\"\nbase_url = \"BASE/other\"\n";
    let refused = refusal_text(&desk, elsewhere);
    assert!(refused.contains("wrong.toml:1: credential ours") && refused.contains("secret"), "{refused}");
    desk.cli().run(&["apply", "-f", "/nonexistent/document.toml"]).failed(2);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn whoever_was_faster_is_not_overwritten() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let desk = Desk::new().await;
    desk.apply(&[]).ok();
    let node = desk.all("/v2/byoc/nodes").await.remove(0);
    let path = format!("/v2/byoc/nodes/{}", id_of(&node));
    // In two files of one directory, in either format; the command asks for the secret after it planned and
    // showed the changes.
    let parts = desk.path("parts");
    std::fs::create_dir(&parts).unwrap();
    let other = format!("{}/other", desk.gateway.emulator.base_url());
    std::fs::write(parts.join("a.json"), json!({"project": [{"name": "more"}]}).to_string()).unwrap();
    let text = format!("[[node]]\nname = \"rack\"\nbase_url = \"{other}\"\nsecret = {{ stdin = true }}\n");
    std::fs::write(parts.join("b.toml"), text).unwrap();
    let mut child = std::process::Command::new(harness::process::tidegate().unwrap())
        .args(["apply", "-f", &parts.display().to_string()])
        .env("TIDEGATE_URL", &desk.gateway.origin)
        .env("TIDEGATE_API_KEY", &desk.admin_key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("secret sent") {}
    let faster = json!({"labels": ["theirs"]}).to_string();
    let json = [("content-type", "application/json")];
    desk.client().call(http::Method::PATCH, &path, &json, faster).await.unwrap().must_be(200);
    child.stdin.take().unwrap().write_all(b"sk-new").unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("b.toml:1: node rack: ") && stderr.contains("changed meanwhile"), "{stderr}");
    let node = desk.all("/v2/byoc/nodes").await.remove(0);
    has(&node, json!({"labels": ["theirs"], "base_url": desk.gateway.emulator.base_url()}));
}

const BOUNDS: &str = r#"
owns = ["budget", "webhook"]

[[project]]
name = "web"

[[key]]
project = "web"
name = "ci"

[[budget]]
name = "all of it"
workspace = true
limit_micros = 50_000_000

[[budget]]
name = "web by the day"
project = "web"
limit_micros = 5_000_000
period = "day"
on_reached = "allow"
alerts = [90]

[[budget]]
name = "ci"
key = "web/ci"
limit_micros = 1_000_000
counts = "owed"

[[webhook]]
url = "https://example.com/hook"
events = ["budget.alert", "key.revoked"]
description = "ops"

[[webhook]]
url = "https://example.com/later"
status = "disabled"
"#;

#[cfg(feature = "control")]
#[tokio::test]
async fn budgets_and_webhooks_are_declared_too() {
    let desk = Desk::new().await;
    desk.write("all.toml", BOUNDS);
    assert!(desk.apply(&["--dry-run"]).ok().contains("Would make 7"));
    assert!(desk.all("/v2/budgets").await.is_empty() && desk.all("/v2/webhooks").await.is_empty());
    let made = desk.apply(&["--json"]).lines();
    let webhook = made.iter().find(|line| line["kind"] == "webhook").unwrap();
    let secret = webhook["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{webhook}");
    let (budgets, webhooks) = (desk.all("/v2/budgets").await, desk.all("/v2/webhooks").await);
    let key = id_of(named(&desk.all("/v2/api-keys").await, "ci"));
    has(named(&budgets, "ci"), json!({"key_id": key, "counts": "owed", "alerts": [50, 80, 100]}));
    let states: Vec<_> = webhooks.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "disabled"]);
    assert_eq!(desk.apply(&[]).ok(), "No change: 7 objects are as declared.\n");

    // Everything without secrets, exported and applied again.
    let exported = desk.cli().run(&["export"]).ok();
    assert!(exported.contains("[[budget]]") && exported.contains("[[webhook]]"), "{exported}");
    assert!(!exported.contains("whsec_") && !exported.contains("secret ="), "{exported}");
    desk.write("exported.toml", &exported);
    let file = desk.path("exported.toml").display().to_string();
    let again = desk.cli().run(&["apply", "-f", &file, "--json"]).lines();
    // What `apply` did not create stays unmanaged until the document says otherwise.
    assert_eq!(actions(&again), [""; 0]);
    assert!(desk.cli().run(&["apply", "-f", &file]).ok().starts_with("No change"));
    assert_eq!(exported.matches("managed = false").count(), 1, "{exported}");
    desk.write("exported.toml", &exported.replace("managed = false\n", ""));
    let adopted = desk.cli().run(&["apply", "-f", &file, "--json"]).lines();
    assert_eq!(actions(&adopted), ["update project default"]);
    let whole = desk.cli().run(&["export"]).ok();
    assert!(!whole.contains("managed"), "{whole}");

    // Only what differs is changed, and a webhook keeps its secret; an immutable field is refused before
    // anything is applied.
    let changed = BOUNDS.replace("5_000_000\nperiod", "6_000_000\nperiod").replace(", \"key.revoked\"", "");
    desk.write("all.toml", &changed);
    let output = desk.apply(&[]).ok();
    let expected =
        ["limit_micros: 5000000 -> 6000000", "[\"budget.alert\",\"key.revoked\"] -> [\"budget.alert\"]"];
    assert!(expected.iter().all(|part| output.contains(part)) && !output.contains("whsec_"), "{output}");
    assert_eq!(desk.all("/v2/webhooks").await[0]["secrets"], webhooks[0]["secrets"]);
    desk.write("all.toml", &changed.replace("\"day\"", "\"week\"").replace("50_000_000", "1"));
    let refused = desk.apply(&[]).failed(2);
    let holds = refused.contains("period of the budget web by the day is \"day\" and can't be changed");
    assert!(holds, "{refused}");
    assert_eq!(named(&desk.all("/v2/budgets").await, "all of it")["limit_micros"], 50_000_000);

    what_is_no_longer_declared_goes(&desk).await;
}

/// A budget whose key was removed is in no export, and is pruned with the rest.
async fn what_is_no_longer_declared_goes(desk: &Desk) {
    let key = id_of(named(&desk.all("/v2/api-keys").await, "ci"));
    desk.client().delete(&format!("/v2/api-keys/{key}")).await.unwrap().must_be(204);
    let without = desk.cli().run(&["export"]);
    let is_left_out = without.stderr.contains("The budget ci is left out");
    assert!(is_left_out && !without.stdout.contains(&key), "{without:?}");
    let projects = "[[project]]\nname = \"web\"\n[[project]]\nname = \"default\"\n";
    desk.write("all.toml", &format!("owns = [\"budget\", \"webhook\"]\n{projects}"));
    let pruned = actions(&desk.apply(&["--prune", "--yes", "--json"]).lines()).join(", ");
    let expected = "delete webhook https://example.com/later, delete webhook https://example.com/hook, \
        delete budget ci, delete budget web by the day, delete budget all of it";
    assert_eq!(pruned, expected);
    assert!(desk.all("/v2/budgets").await.is_empty() && desk.all("/v2/webhooks").await.is_empty());
}

/// The gateway would refuse the second object: a dry run says so before anything is made, and what is made before a refusal is named.
#[cfg(feature = "control")]
#[tokio::test]
async fn what_the_gateway_would_refuse_is_found_by_a_dry_run() {
    let desk = Desk::new().await;
    desk.write("all.toml", "[[project]]\nname = \"halfway\"\n\n[[budget]]\nname = \"wrong\"\nworkspace = true\nlimit_micros = 5\nalerts = [400]\n");
    let why = desk.apply(&["--dry-run"]).failed(2);
    assert!(why.contains("all.toml:4: budget wrong: ") && why.contains("alerts"), "{why}");
    assert!(!why.contains("Carried out"), "{why}");
    let projects = desk.all("/v2/projects").await.len();
    let why = desk.apply(&[]).failed(2);
    assert!(why.contains("Carried out before it: project halfway."), "{why}");
    assert_eq!(desk.all("/v2/projects").await.len(), projects + 1);
}
