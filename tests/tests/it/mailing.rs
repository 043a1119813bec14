//! Events as email: to members alone, by the operator's server, which is a real one here.

use std::net::SocketAddr;

use harness::tls_front::TlsFront;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::WITHIN;
use crate::ask::{has, problem};
use crate::command::workspace;
use crate::gateway::{Gateway, config, id_of};
use crate::isolation::second_workspace;
use crate::program::Program;
use crate::wait::until;

const USERNAME: &str = "tidegate@acme.example";
const PASSWORD: &str = "correct-horse-battery-staple-4711";
const ANN: &str = "ann@acme.example";

/// A mail server in Python, behind TLS.
struct MailServer {
    program: Program,
    front: TlsFront,
    directory: TempDir,
}

impl MailServer {
    async fn start() -> Self {
        let mut command = Command::new(workspace().join(".venv/bin/python"));
        command.arg(workspace().join("tests/tools/mail_server.py")).args([USERNAME, PASSWORD]);
        let mut program = Program::start(&mut command);
        let port = program.next(WITHIN).await["port"].as_u64().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        let front = TlsFront::before(address).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), &front.ca_pem).unwrap();
        std::fs::write(directory.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { program, front, directory }
    }

    /// The next email that it accepted.
    async fn taken(&mut self) -> Value {
        self.program.next(WITHIN).await
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A gateway that sends by it, trusting this file of certificates and signing in with that file's password.
    async fn gateway(&self) -> Gateway {
        let server = format!("smtps://{}", self.front.address);
        let (roots, password) = (self.file("ca.pem"), self.file("password"));
        let settings = [
            ("TIDEGATE_MAIL_SERVER", server.as_str()),
            ("TIDEGATE_MAIL_FROM", "Tidegate <alerts@acme.example>"),
            ("TIDEGATE_MAIL_USERNAME", USERNAME),
            ("TIDEGATE_MAIL_PASSWORD_FILE", &password),
            ("TIDEGATE_CA_FILE", &roots),
        ];
        Gateway::with(config(), &settings).await
    }
}

async fn add(gateway: &Gateway, url: &str) -> Value {
    gateway.make("/v2/webhooks", json!({"format": "email", "url": url, "events": ["key.created"]})).await
}

async fn test(gateway: &Gateway, webhook: &str) -> Value {
    let path = format!("/v2/webhooks/{webhook}/test");
    gateway.admin().post(&path, &json!({})).await.unwrap().must_be(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_mailed_to_a_member() {
    let mut server = MailServer::start().await;
    let mut gateway = server.gateway().await;
    gateway.member(&gateway.admin(), ANN, "viewer").await;
    let cli = gateway.cli();
    let arguments = ["webhook", "add", ANN, "--format", "email", "--event", "key.created", "--json"];
    let added = cli.run(&arguments).json();
    has(&added, json!({"url": "mailto:ann@acme.example", "secret": null}));
    let id = id_of(&added);

    has(&test(&gateway, &id).await, json!({"delivered": true, "error": null}));
    let mail = server.taken().await;
    has(&mail, json!({"from": "alerts@acme.example", "to": [ANN]}));
    assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");

    gateway.make("/v2/api-keys", json!({"name": "checkout\u{fc}"})).await;
    let mail = server.taken().await;
    assert_eq!(mail["headers"]["Subject"], "API key checkout\u{fc} was created");
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("API key checkout\u{fc} was created."), "{text}");
    assert!(text.contains("Alerts: http://") && text.contains("/webhooks"), "{text}");
    let path = format!("/v2/webhooks/{id}/deliveries");
    until("it is delivered", async || gateway.get(&path).await["data"][0]["status"] == "delivered").await;
    let event = gateway.get(&path).await["data"][0]["event_id"].as_str().unwrap().to_owned();
    assert_eq!(mail["headers"]["Message-ID"], format!("<{event}@acme.example>"));

    // The password is read each time. One that is wrong is told without the server's words, and appears nowhere.
    std::fs::write(server.file("password"), "wrong-horse-0815").unwrap();
    let refused = "the mail server refuses the gateway's sign-in";
    has(&test(&gateway, &id).await, json!({"delivered": false, "status": 535, "error": refused}));
    let said = gateway.process().stderr();
    assert!(!said.contains(PASSWORD) && !said.contains("wrong-horse"), "{said}");
    only_the_operator_reads_the_servers_words(&gateway, &server).await;
}

async fn only_the_operator_reads_the_servers_words(gateway: &Gateway, server: &MailServer) {
    let mail = gateway.get("/v2/mail").await;
    let address = server.front.address.to_string();
    has(&mail, json!({"from": "Tidegate <alerts@acme.example>", "server": address}));
    assert_eq!(mail["last_email"]["accepted"], false, "{mail}");
    let error = mail["last_email"]["error"].as_str().unwrap();
    assert!(error.contains("535") && error.contains("Authentication credentials invalid"), "{error}");
    assert!(!error.contains("wrong-horse") && !error.contains(PASSWORD), "{error}");

    let other = second_workspace(gateway).await;
    let mail = gateway.with_key(&other.admin_key).get("/v2/mail").await.unwrap().json();
    has(&mail, json!({"configured": true, "server": null, "last_email": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_members_gets_mail() {
    let mut server = MailServer::start().await;
    let gateway = server.gateway().await;
    let admin = gateway.admin();
    let ask =
        async |url: &str| admin.post("/v2/webhooks", &json!({"format": "email", "url": url})).await.unwrap();
    let unknown = "mem_01a222fbc9d77f50a51cd079f09843a4";
    for stranger in ["eve@evil.example", "mailto:eve@evil.example", unknown, "ann"] {
        let refused = ask(stranger).await;
        assert_eq!(problem(&refused, 400, "invalid_value")["param"], "url", "{stranger}");
    }
    // Somebody who was invited has not said that they want any.
    gateway.make("/v2/members", json!({"email": "invited@acme.example", "role": "viewer"})).await;
    problem(&ask("invited@acme.example").await, 400, "invalid_value");

    gateway.member(&admin, ANN, "viewer").await;
    gateway.member(&admin, "full.ann@acme.example", "viewer").await;
    let id = id_of(&add(&gateway, "mailto:ANN@acme.example").await);
    let rotated = admin.post(&format!("/v2/webhooks/{id}/rotate"), &json!({})).await.unwrap();
    problem(&rotated, 400, "invalid_value");
    // It can be led to another member, and everything else be changed by itself.
    let path = format!("/v2/webhooks/{id}");
    let patch = async |body: Value| {
        let json = [("content-type", "application/json")];
        admin.call(Method::PATCH, &path, &json, body.to_string()).await.unwrap().must_be(200).json()
    };
    let described = patch(json!({"description": "on call"})).await;
    has(&described, json!({"url": "mailto:ann@acme.example", "description": "on call"}));
    assert_eq!(patch(json!({"url": "full.ann@acme.example"})).await["url"], "mailto:full.ann@acme.example");
    let full = json!({"status": 452, "error": "the mail server answered 452"});
    has(&test(&gateway, &id).await, full);
    patch(json!({"url": ANN})).await;
    assert_eq!(test(&gateway, &id).await["delivered"], true);
    assert_eq!(server.taken().await["to"], json!([ANN]));

    let members = gateway.get("/v2/members").await;
    let member = members["data"].as_array().unwrap().iter().find(|member| member["email"] == ANN).unwrap();
    let gone = format!("/v2/members/{}?keys=keep", id_of(member));
    admin.call(Method::DELETE, &gone, &[], "").await.unwrap().must_be(204);
    gateway.make("/v2/api-keys", json!({"name": "later"})).await;
    until("nobody is written to", async || gateway.get(&path).await["status"] == "disabled").await;
    let webhook = gateway.get(&path).await;
    assert_eq!(webhook["disabled_reason"], "its receiver is no longer a member of the workspace");
    assert!(webhook["url"].as_str().unwrap().starts_with("mem_"), "{webhook}");
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_no_mail_is_promised() {
    let gateway = Gateway::start().await;
    gateway.member(&gateway.admin(), ANN, "viewer").await;
    let body = json!({"format": "email", "url": ANN});
    let told = problem(&gateway.admin().post("/v2/webhooks", &body).await.unwrap(), 400, "invalid_value");
    assert_eq!(told["param"], "format");
    assert!(told["fix"].as_str().unwrap().contains("mail.server"), "{told}");
}
