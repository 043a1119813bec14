//! People: how they sign in, how they are identified, what their roles allow, and how sessions and
//! memberships end.

use std::time::Instant;

use harness::canary::Canary;
use harness::client::Client;
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{has, problem};
use crate::gateway::{Gateway, config};
use crate::person::{Person, token_of};

const PASSWORD: &str = "a sentence that nobody guesses";

async fn sign_in(gateway: &Gateway, email: &str, password: &str) -> harness::client::Answer {
    gateway.browser().post("/v2/sign-in", &json!({"email": email, "password": password})).await.unwrap()
}

#[tokio::test]
async fn the_link_of_a_start_signs_the_owner_in_once() {
    let mut gateway = Gateway::start().await;
    let line = gateway.process().stdout();
    let line = line.lines().find_map(|line| line.strip_prefix("  Console  ")).unwrap().to_owned();
    let link = line.split_whitespace().next().unwrap();
    assert!(link.starts_with(&format!("{}/sign-in#token=", gateway.origin)), "{link}");
    let owner = Person::of(&gateway.origin, &gateway.open_link(link).await);
    assert_eq!(owner.me["role"], "owner");
    assert_eq!(owner.me["member"]["email"], "owner@localhost");
    assert_eq!(owner.me["workspace_id"], gateway.founded.workspace_id.as_str());
    assert_eq!(owner.get("/v2/me").await.json(), owner.me);
    problem(&gateway.open_link(link).await, 401, "link_over");
    problem(&gateway.open_link("/sign-in#token=nonsense").await, 401, "link_over");
    // The token is stored nowhere: not in the database, not in the log.
    let canary = Canary::new().plant("token", token_of(link)).plant("cookie", &owner.cookie);
    assert_eq!(canary.scan_path(&gateway.data()).unwrap(), []);
    // Later starts print no link, and the command line creates new ones from the data directory while the
    // gateway runs.
    gateway.crash().await;
    let printed = gateway.process().stdout();
    assert!(!printed.contains("#token=") && printed.contains("tidegate login --link"), "{printed}");
    let data = gateway.data().display().to_string();
    let login = ["login", "--link", "--data-dir", &data, "--url", &gateway.origin];
    let made = crate::command::Cli::new().run(&login).ok();
    assert_eq!(Person::of(&gateway.origin, &gateway.open_link(made.trim()).await).id, owner.id);
    let kept = Client::new(&gateway.origin).header("cookie", &owner.cookie).get("/v2/me").await.unwrap();
    assert_eq!(kept.status, 200, "a session outlives the process");
    let me = gateway.get("/v2/me").await;
    assert_eq!(me["key"]["scopes"], json!(["inference", "read", "admin", "operator"]), "{me}");
    assert_eq!(me["workspace_id"], gateway.founded.workspace_id.as_str());
    assert!(me.get("csrf_token").is_none(), "{me}");
}

/// A container's output is retained, so the link appears in it once; and restarts don't fill the audit log.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_link_that_nobody_used_is_not_printed_again() {
    let mut gateway = Gateway::start().await;
    assert!(gateway.process().stdout().contains("/sign-in#token="));
    for _ in 0..3 {
        gateway.crash().await;
        let printed = gateway.process().stdout();
        assert!(!printed.contains("#token=") && printed.contains("tidegate login --link"), "{printed}");
    }
    let audit = gateway.get("/v2/audit?limit=100").await;
    let links = audit["data"].as_array().unwrap().iter().filter(|row| row["action"] == "sign_in.link");
    assert_eq!(links.count(), 1, "{audit}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_password_is_set_used_and_changed() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let short = owner.patch("/v2/me", json!({"password": "short"})).await;
    assert_eq!(problem(&short, 400, "invalid_value")["param"], "password");
    let other = gateway.owner().await;
    let wanted = json!({"name": "Ada", "email": " Ada@Example.com ", "password": PASSWORD});
    let set = Person::of(&gateway.origin, &owner.patch("/v2/me", wanted).await);
    has(&set.me["member"], json!({"email": "ada@example.com", "name": "Ada"}));
    assert_ne!((&set.cookie, &set.csrf), (&owner.cookie, &owner.csrf), "a new session goes on");
    for over in [&owner, &other] {
        problem(&over.get("/v2/me").await, 401, "session_over");
    }
    let signed_in = Person::of(&gateway.origin, &sign_in(&gateway, "ADA@example.com", PASSWORD).await);
    assert_eq!(signed_in.id, owner.id);
    let mut answers = Vec::new();
    for (email, password) in [("ada@example.com", "wrong password!!"), ("nobody@example.com", PASSWORD)] {
        let mut document = problem(&sign_in(&gateway, email, password).await, 401, "sign_in_failed");
        document["request_id"] = Value::Null;
        answers.push(document);
    }
    assert_eq!(answers[0], answers[1], "who is known here is nobody's business");
    // Whatever would let a stolen session take over the account requires the password.
    let change = json!({"password": "another sentence of mine"});
    problem(&signed_in.patch("/v2/me", change.clone()).await, 403, "wrong_password");
    let wrong = json!({"password": "another sentence of mine", "current_password": "no"});
    problem(&signed_in.patch("/v2/me", wrong).await, 403, "wrong_password");
    problem(&signed_in.patch("/v2/me", json!({"email": "x@example.com"})).await, 403, "wrong_password");
    let right = json!({"password": "another sentence of mine", "current_password": PASSWORD});
    Person::of(&gateway.origin, &signed_in.patch("/v2/me", right).await);
    problem(&sign_in(&gateway, "ada@example.com", PASSWORD).await, 401, "sign_in_failed");
    // A link replaces a forgotten password.
    Person::of(&gateway.origin, &gateway.owner().await.patch("/v2/me", change).await);
    assert_eq!(Canary::new().plant("password", PASSWORD).scan_path(&gateway.data()).unwrap(), []);
    let audit = gateway.get("/v2/audit?limit=1000").await;
    let rows = audit["data"].as_array().unwrap();
    for action in ["sign_in.start", "sign_in.fail", "sign_in.link", "member.set_password", "member.rename"] {
        assert!(rows.iter().any(|row| row["action"] == action), "{action} is missing: {audit}");
    }
}

/// Response time must not reveal whether an email is known, and attempts are limited.
#[tokio::test]
async fn guessing_takes_as_long_for_everybody_and_has_an_end() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    Person::of(&gateway.origin, &owner.patch("/v2/me", json!({"password": PASSWORD})).await);
    let mut shortest = [u128::MAX; 2];
    for _ in 0..5 {
        for (index, email) in ["owner@localhost", "nobody@localhost"].into_iter().enumerate() {
            let began = Instant::now();
            problem(&sign_in(&gateway, email, "not the password").await, 401, "sign_in_failed");
            shortest[index] = shortest[index].min(began.elapsed().as_micros());
        }
    }
    let [known, unknown] = shortest;
    assert!(known < unknown * 3 && unknown < known * 3, "known {known} us, unknown {unknown} us");
    for _ in 0..5 {
        problem(&sign_in(&gateway, "owner@localhost", "not the password").await, 401, "sign_in_failed");
    }
    let over = sign_in(&gateway, "owner@localhost", PASSWORD).await;
    problem(&over, 429, "too_many_attempts");
    assert!(over.header("retry-after").is_some(), "{over:?}");
    // Other people, and the link, still get in.
    problem(&sign_in(&gateway, "third@localhost", "not the password").await, 401, "sign_in_failed");
    gateway.owner().await;
}

/// Sign-in attempts are limited across all gateways together.
#[cfg(feature = "control")]
#[tokio::test]
async fn tries_count_at_every_gateway() {
    let gateway = Gateway::over_postgres("s", config(), &[]).await;
    let (_second, second) = gateway.replica_in("second").await;
    let owner = gateway.owner().await;
    Person::of(&gateway.origin, &owner.patch("/v2/me", json!({"password": PASSWORD})).await);
    let other = Client::new(&second).within(WITHIN).header("origin", &second);
    let body = |password: &str| json!({"email": "owner@localhost", "password": password});
    for _ in 0..4 {
        problem(&sign_in(&gateway, "owner@localhost", "not the password").await, 401, "sign_in_failed");
    }
    // A success at either gateway resets the counter at both.
    assert_eq!(other.post("/v2/sign-in", &body(PASSWORD)).await.unwrap().status, 200);
    let (mut here, mut there) = (0, 0);
    for number in 0..16 {
        let wrong = body("not the password");
        if number % 2 == 0 {
            here += usize::from(gateway.browser().post("/v2/sign-in", &wrong).await.unwrap().status == 401);
        } else {
            there += usize::from(other.post("/v2/sign-in", &wrong).await.unwrap().status == 401);
        }
    }
    // The reset of the earlier attempts is written after the answer; gateways that count separately would
    // have let 6 and 8 through.
    assert!((10..=12).contains(&(here + there)), "{here} and {there}");
    problem(&sign_in(&gateway, "owner@localhost", PASSWORD).await, 429, "too_many_attempts");
    let over = other.post("/v2/sign-in", &body(PASSWORD)).await.unwrap();
    problem(&over, 429, "too_many_attempts");
    assert!(over.header("retry-after").is_some(), "{over:?}");
    // Other people can still try.
    let stranger = json!({"email": "third@localhost", "password": "not the password"});
    problem(&other.post("/v2/sign-in", &stranger).await.unwrap(), 401, "sign_in_failed");
}

#[tokio::test]
async fn members_are_invited_changed_and_removed() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let invited = owner.post("/v2/members", json!({"email": "Dev@Example.com", "role": "developer"})).await;
    assert_eq!(invited.status, 201, "{}", invited.text());
    let member = invited.json();
    let path = format!("/v2/members/{}", member["id"].as_str().unwrap());
    assert_eq!(invited.header("location"), Some(path.as_str()));
    assert_eq!((&member["status"], &member["email"]), (&json!("invited"), &json!("dev@example.com")));
    let again = owner.post("/v2/members", json!({"email": "dev@example.com", "role": "viewer"})).await;
    problem(&again, 409, "already_member");
    let link = member["invite_link"].as_str().unwrap();
    let developer = Person::of(&gateway.origin, &gateway.open_link(link).await);
    assert_eq!(developer.me["role"], "developer");
    let listed = developer.get("/v2/members").await.json();
    let one = listed["data"].as_array().unwrap().iter().find(|row| row["id"] == member["id"]).unwrap();
    assert_eq!(one["status"], "active");
    assert!(one.get("invite_link").is_none(), "the link is shown once: {one}");
    // A role change takes effect at once, in the existing session.
    problem(&developer.post("/v2/projects", json!({"name": "x"})).await, 403, "insufficient_role");
    let etag = owner.get(&path).await.header("etag").unwrap().to_owned();
    let json = [("content-type", "application/json"), ("if-match", etag.as_str())];
    let body = json!({"role": "admin"}).to_string();
    let raised = owner.client().call(Method::PATCH, &path, &json, body.clone()).await.unwrap();
    assert_eq!(raised.json()["role"], "admin", "{}", raised.text());
    problem(&owner.client().call(Method::PATCH, &path, &json, body).await.unwrap(), 412, "version_mismatch");
    assert_eq!(developer.post("/v2/projects", json!({"name": "x"})).await.status, 201);
    // An admin can neither create nor change an owner.
    let of_owner = format!("/v2/members/{}", owner.id);
    for answer in [
        developer.post("/v2/members", json!({"email": "me2@example.com", "role": "owner"})).await,
        developer.patch(&path, json!({"role": "owner"})).await,
        developer.patch(&of_owner, json!({"role": "viewer"})).await,
        developer.post(&format!("{of_owner}/link"), json!({})).await,
        developer.client().delete(&of_owner).await.unwrap(),
    ] {
        problem(&answer, 403, "insufficient_role");
    }
    problem(&owner.patch(&of_owner, json!({"role": "admin"})).await, 409, "last_owner");
    problem(&owner.client().delete(&of_owner).await.unwrap(), 409, "last_owner");
    for (body, param) in [
        (json!({"role": "viewer"}), "email"),
        (json!({"email": "nobody", "role": "viewer"}), "email"),
        (json!({"email": "a@b"}), "role"),
        (json!({"email": "a@b", "role": "root"}), "role"),
    ] {
        assert_eq!(owner.post("/v2/members", body).await.json()["param"], param);
    }
    // A session ends together with the membership, not at the next sign-in.
    assert_eq!(owner.client().delete(&path).await.unwrap().status, 204);
    problem(&developer.get("/v2/me").await, 401, "session_over");
    problem(&owner.get(&path).await, 404, "not_found");
}

/// API keys belong to the workspace, so a member's departure does not stop a program unasked; and nobody who
/// left keeps calling unnoticed.
#[cfg(feature = "control")]
#[tokio::test]
async fn keys_that_a_member_made_are_kept_or_revoked_once_they_leave() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    for (email, word, end) in [("kept@example.com", "keep", 200), ("ended@example.com", "revoke", 401)] {
        let admin = gateway.member(&owner.client(), email, "admin").await;
        let body = json!({"name": format!("of {email}"), "scopes": ["admin", "read"]});
        let own = admin.post("/v2/api-keys", body).await.json();
        let own_key = gateway.with_key(own["key"].as_str().unwrap());
        let body = json!({"name": format!("handed on {word}"), "scopes": ["read"]});
        let handed_on = own_key.post("/v2/api-keys", &body).await.unwrap().json();
        assert_eq!([&own["created_by"], &handed_on["created_by"]], [&json!(admin.id), &json!(admin.id)]);
        let path = format!("/v2/members/{}", admin.id);
        let document = problem(&owner.client().delete(&path).await.unwrap(), 409, "member_has_keys");
        assert_eq!(document["param"], "keys", "{document}");
        for made in [&own, &handed_on] {
            let holds = document["detail"].as_str().unwrap().contains(made["id"].as_str().unwrap());
            assert!(holds, "{document}");
        }
        let wrong = owner.client().delete(&format!("{path}?keys=burn")).await.unwrap();
        assert_eq!((wrong.status, &wrong.json()["param"]), (400, &json!("keys")));
        // A refused removal changed nothing.
        assert_eq!(admin.get("/v2/me").await.status, 200);
        assert_eq!(owner.client().delete(&format!("{path}?keys={word}")).await.unwrap().status, 204);
        problem(&admin.get("/v2/me").await, 401, "session_over");
        for made in [&own, &handed_on] {
            let client = gateway.with_key(made["key"].as_str().unwrap());
            assert_eq!(client.get("/v2/api-keys").await.unwrap().status, end, "{word}: {made}");
        }
        let audit = owner.get("/v2/audit?limit=1").await.json();
        let text = audit.to_string();
        assert!(text.contains("member.remove") && text.contains("2 keys that they made"), "{audit}");
    }
    // A developer makes keys that may no more than call and look.
    let developer = gateway.member(&owner.client(), "dev@example.com", "developer").await;
    let mine = json!({"name": "mine", "scopes": ["inference", "read"]});
    let key = developer.post("/v2/api-keys", mine).await.must_be(201).json();
    assert_eq!(gateway.with_key(key["key"].as_str().unwrap()).get("/v2/usage").await.unwrap().status, 200);
    let more = developer.post("/v2/api-keys", json!({"name": "more", "scopes": ["admin"]})).await;
    problem(&more, 403, "insufficient_role");
    let keys = gateway.get("/v2/api-keys").await;
    let admin = keys["data"].as_array().unwrap().iter().find(|row| row["name"] == "admin").unwrap();
    let path = format!("/v2/api-keys/{}", admin["id"].as_str().unwrap());
    problem(&developer.client().delete(&path).await.unwrap(), 403, "insufficient_role");
    problem(&developer.patch(&path, json!({"name": "mine now"})).await, 403, "insufficient_role");
    let own = format!("/v2/api-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(developer.client().delete(&own).await.unwrap().status, 204);
    // Nor can an admin key delete the operator's key.
    let (admin_key, _) = gateway.key(json!({"name": "a", "scopes": ["admin"]})).await;
    problem(&gateway.with_key(&admin_key).delete(&path).await.unwrap(), 403, "insufficient_scope");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_command_line_manages_members() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    let invited = cli.run(&["member", "invite", "ops@example.com", "--role", "billing", "--json"]).json();
    let link = invited["invite_link"].as_str().unwrap();
    let person = Person::of(&gateway.origin, &gateway.open_link(link).await);
    assert_eq!(person.me["role"], "billing");
    let table = cli.run(&["member", "list"]).ok();
    assert!(table.contains("ops@example.com") && table.contains("owner@localhost"), "{table}");
    for (role, more) in [("viewer", &["viewer"][..]), ("billing", &["--role", "billing"][..])] {
        let set = [&["member", "set-role", "ops@example.com", "--json"][..], more].concat();
        assert_eq!(cli.run(&set).json()["role"], role);
    }
    let link = cli.run(&["login", "--link", "--email", "ops@example.com"]).ok();
    Person::of(&gateway.origin, &gateway.open_link(link.trim()).await);
    cli.run(&["member", "set-role", "ops@example.com", "root"]).failed(2);
    cli.run(&["member", "remove", "nobody@example.com", "--yes"]).failed(3);
    let developer = gateway.member(&gateway.admin(), "dev@example.com", "developer").await;
    assert_eq!(developer.post("/v2/api-keys", json!({"name": "ci"})).await.status, 201);
    let kept = cli.run(&["member", "remove", "dev@example.com", "--yes"]).failed(6);
    assert!(kept.contains("ci (key_"), "the keys are named");
    cli.run(&["member", "remove", "dev@example.com", "--keys", "revoke", "--yes"]).ok();
    cli.run(&["member", "remove", "ops@example.com", "--yes"]).ok();
    problem(&person.get("/v2/me").await, 401, "session_over");
    let output = cli.run(&["whoami"]).ok();
    assert!(output.contains(&gateway.founded.workspace_id) && output.contains("operator"), "{output}");
}

/// One person in two workspaces; and nobody can take over an identity that another workspace knows.
#[cfg(feature = "control")]
#[tokio::test]
async fn one_person_in_two_workspaces() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let others = owner.post("/v2/workspaces", json!({"name": "the others"})).await.must_be(201).json();
    let other_id = others["workspace_id"].as_str().unwrap();
    let me = owner.get("/v2/me").await.json();
    assert_eq!(me["workspaces"].as_array().unwrap().len(), 2, "who makes a workspace owns it: {me}");
    let there = owner.client().header("tidegate-workspace", other_id);
    assert_eq!(there.get("/v2/me").await.unwrap().json()["workspace_id"], other_id);
    assert_eq!(there.get("/v2/projects").await.unwrap().json()["data"][0]["id"], others["project_id"]);
    // The pool and the installation belong to the operator, not to an owner of some workspace.
    problem(&there.get("/v2/accounts").await.unwrap(), 403, "insufficient_role");
    assert_eq!(owner.get("/v2/accounts").await.status, 200);
    for foreign in ["ws_01900000000070008000000000000000", "nonsense"] {
        let answer = owner.client().header("tidegate-workspace", foreign).get("/v2/me").await.unwrap();
        problem(&answer, 404, "not_found");
    }
    // The other workspace's admin invites the first workspace's member.
    let member = gateway.member(&owner.client(), "ada@example.com", "viewer").await;
    let admin = gateway.with_key(others["admin_key"].as_str().unwrap());
    let ada = json!({"email": "ada@example.com", "role": "viewer"});
    let invited = admin.post("/v2/members", &ada).await.unwrap().json();
    let is_told = invited["id"] == member.id.as_str() || invited["name"] != "ada";
    assert!(!is_told, "who it is elsewhere is not told: {invited}");
    let link = invited["invite_link"].as_str().unwrap().to_owned();
    problem(&gateway.open_link(&link).await, 401, "sign_in_first");
    assert_eq!(member.get("/v2/me").await.json()["workspaces"].as_array().unwrap().len(), 1);
    let joined = member.client().post("/v2/sign-in/link", &json!({"token": token_of(&link)})).await.unwrap();
    assert_eq!(Person::of(&gateway.origin, &joined).me["workspaces"].as_array().unwrap().len(), 2);
    problem(&member.get("/v2/me").await, 401, "session_over");
    let answer = admin.post(&format!("/v2/members/{}/link", member.id), &json!({})).await.unwrap();
    let link = answer.json()["sign_in_link"].as_str().unwrap().to_owned();
    problem(&gateway.open_link(&link).await, 401, "sign_in_first");
    // The admin key of a workspace without an owner can appoint one, once.
    let third = gateway.with_key(&gateway.workspace("third").await.admin_key);
    gateway.member(&third, "boss@example.com", "owner").await;
    let another = json!({"email": "x@example.com", "role": "owner"});
    problem(&third.post("/v2/members", &another).await.unwrap(), 403, "insufficient_role");
    let own = format!("/v2/workspaces/{}", gateway.founded.workspace_id);
    problem(&owner.client().delete(&own).await.unwrap(), 409, "operators_workspace");
}

/// Claiming another person's email blocks nothing: neither their invitation nor their sign-in.
#[cfg(feature = "control")]
#[tokio::test]
async fn an_email_that_another_took_blocks_nobody() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let squatter = gateway.member(&owner.client(), "viewer@example.com", "viewer").await;
    squatter.patch("/v2/me", json!({"email": "ceo@corp.example", "password": PASSWORD})).await.must_be(200);
    let others = gateway.workspace("corp").await;
    let invited = json!({"email": "ceo@corp.example", "role": "owner"});
    let invited = gateway.with_key(&others.admin_key).post("/v2/members", &invited).await.unwrap();
    let link = invited.json()["invite_link"].as_str().unwrap().to_owned();
    problem(&gateway.open_link(&link).await, 401, "sign_in_first");
    let new = json!({"token": token_of(&link), "new_person": true});
    let ceo = Person::of(&gateway.origin, &gateway.browser().post("/v2/sign-in/link", &new).await.unwrap());
    assert_eq!(ceo.me["workspace_id"], others.workspace_id.as_str());
    assert_ne!(ceo.id, squatter.id);
    let own = "another sentence that nobody guesses";
    ceo.patch("/v2/me", json!({"password": own})).await.must_be(200);
    for (password, id) in [(own, &ceo.id), (PASSWORD, &squatter.id)] {
        let signed_in = sign_in(&gateway, "ceo@corp.example", password).await;
        assert_eq!(Person::of(&gateway.origin, &signed_in).id, *id);
    }
    let neither = sign_in(&gateway, "ceo@corp.example", "neither of the two sentences").await;
    problem(&neither, 401, "sign_in_failed");
}
