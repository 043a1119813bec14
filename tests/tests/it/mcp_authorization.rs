//! MCP servers whose tokens come from an authorization server: signed in for by a person, renewed once whoever needs it, and what is
//! refused on the way.

use harness::client::{Answer, Client};
use harness::mcp::{McpAnswer, McpBehaviour, McpServer, McpTool};
use harness::oauth::{OauthBehaviour, OauthServer};
use harness::postgres::Server;
use harness::{Behaviour, ToolMode};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, problem, question, said};
use crate::gateway::{Gateway, OWN, config, id_of};
use crate::person::Person;

const END: &str = "/v2/mcp-servers/authorized";

/// A gateway with an MCP server that wants tokens of an authorization server, and a person who may sign in.
struct Scene {
    gateway: Gateway,
    owner: Person,
    mcp: McpServer,
    issuer: OauthServer,
    server: String,
}

impl Scene {
    async fn of(gateway: Gateway) -> Self {
        gateway.credential("openai", OWN).await;
        let owner = gateway.owner().await;
        let mcp =
            McpServer::start([McpTool::new("add", "Adds.", McpAnswer::Text("the sum is 42".to_owned()))]);
        let mcp = mcp.unwrap();
        let issuer = OauthServer::start(&mcp.url()).unwrap();
        let made = json!({"name": "maths", "url": mcp.url(), "auth": {"type": "oauth"}});
        let server = id_of(&gateway.make("/v2/mcp-servers", made).await);
        let scene = Self { gateway, owner, mcp, issuer, server };
        scene.wants(Some("nothing"));
        scene
    }

    async fn start() -> Self {
        Self::of(Gateway::start().await).await
    }

    fn wants(&self, token: Option<&str>) {
        let (token, challenge) = (token.map(str::to_owned), Some(self.issuer.challenge()));
        self.mcp.behave(McpBehaviour { token, challenge, ..McpBehaviour::default() });
    }

    fn behave(&self, change: impl FnOnce(&mut OauthBehaviour)) {
        let mut behaviour = OauthBehaviour { resource: self.mcp.url(), ..OauthBehaviour::default() };
        change(&mut behaviour);
        self.issuer.behave(behaviour);
    }

    async fn begin(&self) -> Answer {
        self.owner.post(&format!("/v2/mcp-servers/{}/authorize", self.server), json!({})).await
    }

    async fn end(&self, person: &Person, back: &str) -> Answer {
        person.post(END, query(back)).await
    }

    /// A person signs in.
    async fn sign_in(&self) -> Value {
        let begun = self.begin().await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        let back = browse(begun.json()["authorization_url"].as_str().unwrap()).await;
        // The server takes the token that is given next.
        self.wants(None);
        let ended = self.end(&self.owner, &back).await;
        assert_eq!(ended.status, 200, "{}", ended.text());
        self.wants(self.issuer.access().as_deref());
        ended.json()
    }

    async fn shown(&self) -> Value {
        self.gateway.get(&format!("/v2/mcp-servers/{}", self.server)).await
    }

    async fn ask(&self, client: &Client) -> Answer {
        self.gateway.emulator.clear_scripts();
        let call = Behaviour::ok().tools(ToolMode::Single).call("maths__add", r#"{"a":"1"}"#);
        self.gateway.emulator.script(OWN, [call, Behaviour::ok().tools(ToolMode::None)]);
        client.clone().header("agent-tools", "maths").post(CHAT, &question(MINI)).await.unwrap()
    }
}

/// A browser opens an address of the authorization server; returns where it is sent.
async fn browse(address: &str) -> String {
    let url: url::Url = address.parse().unwrap();
    let client = Client::new(url.origin().ascii_serialization());
    let path = address.strip_prefix(&url.origin().ascii_serialization()).unwrap();
    let answer = client.get(path).await.unwrap();
    assert_eq!(answer.status, 302, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

fn query(address: &str) -> Value {
    let url: url::Url = address.parse().unwrap();
    url.query_pairs()
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// An MCP server of a gateway that a person can sign in for, as long as the tests run.
pub async fn wanting(gateway: &Gateway) -> String {
    let mcp = McpServer::start([]).unwrap();
    let issuer = OauthServer::start(&mcp.url()).unwrap();
    let challenge = Some(issuer.challenge());
    mcp.behave(McpBehaviour { token: Some("nothing".to_owned()), challenge, ..McpBehaviour::default() });
    let name = format!("server-{}", mcp.url().rsplit_once(':').unwrap().1.replace('/', "-"));
    let made = json!({"name": name, "url": mcp.url(), "auth": {"type": "oauth"}});
    let made = gateway.make("/v2/mcp-servers", made).await;
    std::mem::forget((mcp, issuer));
    id_of(&made)
}

/// What a browser brings back of a person who signed in for such a server.
pub async fn returned(gateway: &Gateway, person: &Person) -> Value {
    let server = wanting(gateway).await;
    let sign_in = person.post(&format!("/v2/mcp-servers/{server}/authorize"), json!({})).await;
    assert_eq!(sign_in.status, 200, "{}", sign_in.text());
    query(&browse(sign_in.json()["authorization_url"].as_str().unwrap()).await)
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_person_signs_in_and_models_call_the_servers_tools() {
    let scene = Scene::start().await;
    let shown = scene.shown().await;
    assert_eq!(
        (&shown["health"], &shown["authorization"]["state"]),
        (&json!("authorization_needed"), &json!("needed")),
        "{shown}"
    );
    let refused = scene.ask(&scene.gateway.client()).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (409, &json!("mcp_authorization_needed")),
        "{}",
        refused.text()
    );
    let signed_in = scene.sign_in().await;
    assert_eq!(
        (&signed_in["health"], &signed_in["authorization"]),
        (
            &json!("ready"),
            &json!({"state": "authorized", "scopes": ["read", "write"], "wanted_scopes": [], "expires_at": null,
                "client_id": null})
        ),
        "{signed_in}"
    );
    let answer = scene.ask(&scene.gateway.client()).await;
    assert_eq!(
        (answer.status, said(&answer)),
        (200, "You said: hello there".to_owned()),
        "{}",
        answer.text()
    );
    assert_eq!(scene.mcp.calls().len(), 1);
    assert_eq!((scene.issuer.violations(), scene.mcp.violations()), (vec![], vec![]));
    let token = scene.issuer.access().unwrap();
    for path in
        ["/v2/mcp-servers".to_owned(), format!("/v2/mcp-servers/{}", scene.server), "/v2/audit".to_owned()]
    {
        let text = scene.gateway.get(&path).await.to_string();
        assert!(!text.contains(&token), "{path}");
    }
    let audit = scene.gateway.get("/v2/audit").await.to_string();
    assert!(audit.contains("mcp_server.authorize"), "{audit}");
    // At another address is another server: nothing is shown to it.
    scene
        .gateway
        .patch(
            &format!("/v2/mcp-servers/{}", scene.server),
            json!({"url": format!("{}/other", scene.mcp.url())}),
        )
        .await;
    assert_eq!(scene.shown().await["authorization"]["state"], "needed");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_one_that_is_revoked_is_said_to_be() {
    let scene = Scene::start().await;
    scene.sign_in().await;
    // The server takes the token no more, whatever it said about its end.
    scene.wants(Some("access-next"));
    let answer = scene.ask(&scene.gateway.client()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((scene.issuer.refreshes(), scene.mcp.calls().len()), (1, 0), "the new token is another, too");
    scene.wants(scene.issuer.access().as_deref());
    assert_eq!(scene.ask(&scene.gateway.client()).await.status, 200);
    assert_eq!((scene.issuer.refreshes(), scene.mcp.calls().len()), (1, 1));
    // The person takes the consent back.
    scene.behave(|behaviour| behaviour.refuses_refresh = true);
    scene.wants(Some("nothing"));
    let answer = scene.ask(&scene.gateway.client()).await;
    assert_eq!(answer.status, 200, "the model is told of the call that failed: {}", answer.text());
    let shown = scene.shown().await;
    assert_eq!(
        (&shown["health"], &shown["authorization"]["state"]),
        (&json!("authorization_needed"), &json!("needed")),
        "{shown}"
    );
    let refused = scene.ask(&scene.gateway.client()).await;
    assert_eq!(refused.json()["error"]["code"], "mcp_authorization_needed", "{}", refused.text());
    // The authorization server knows the client still; the person signs in again.
    scene.behave(|_| ());
    assert_eq!(scene.sign_in().await["health"], "ready");
    assert_eq!(scene.issuer.violations(), Vec::<String>::new());
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_call_that_lacks_scopes_says_which_and_the_next_sign_in_requests_them() {
    let scene = Scene::start().await;
    scene.sign_in().await;
    let insufficient = Some(r#"Bearer error="insufficient_scope", scope="write admin""#.to_owned());
    let (token, challenge) = (scene.issuer.access(), Some(scene.issuer.challenge()));
    scene.mcp.behave(McpBehaviour { token, challenge, insufficient, ..McpBehaviour::default() });
    let answer = scene.ask(&scene.gateway.client()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = scene.shown().await;
    assert_eq!(
        (&shown["health"], &shown["authorization"]["state"], &shown["authorization"]["wanted_scopes"]),
        (&json!("ready"), &json!("authorized"), &json!(["write", "admin"])),
        "{shown}"
    );
    // What was given stays among what is requested.
    scene.behave(|behaviour| behaviour.scopes = Some("read write admin".to_owned()));
    let again = scene.sign_in().await;
    assert_eq!(
        (&again["authorization"]["scopes"], &again["authorization"]["wanted_scopes"]),
        (&json!(["read", "write", "admin"]), &json!([])),
        "{again}"
    );
    assert_eq!(scene.ask(&scene.gateway.client()).await.status, 200);
    assert_eq!((scene.mcp.calls().len(), scene.issuer.violations()), (1, vec![]));
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn two_gateways_renew_a_token_once_at_a_time() {
    let postgres = Server::shared().await.unwrap();
    let url = postgres.database(&format!("mcp_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let scene = Scene::of(Gateway::with(config(), &environment).await).await;
    // Each token is as good as over when it is given.
    scene.behave(|behaviour| behaviour.expires_in = Some(1));
    scene.sign_in().await;
    scene.wants(None);
    let (mut other, origin) = scene.gateway.replica().await;
    let key = scene.gateway.founded.api_key.clone();
    let clients = [scene.gateway.client(), Client::new(&origin).bearer(&key).within(crate::WITHIN)];
    let call = Behaviour::ok().tools(ToolMode::Single).call("maths__add", r#"{"a":"1"}"#);
    scene.gateway.emulator.script(OWN, (0..16).map(|_| call.clone()));
    let asking = (0..8).map(|at| {
        let client = clients[at % 2].clone().header("agent-tools", "maths").header("agent-tool-steps", "1");
        async move { client.post(CHAT, &question(MINI)).await.unwrap() }
    });
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(scene.issuer.refreshes() > 0);
    assert_eq!(scene.issuer.violations(), Vec::<String>::new(), "no refresh token is used twice");
    other.stop(crate::WITHIN).await.unwrap();
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn an_authorization_server_that_is_wrong_is_not_used() {
    let scene = Scene::start().await;
    let elsewhere = "http://169.254.169.254/latest".to_owned();
    for (what, behaviour) in [
        ("another issuer", OauthBehaviour { wrong_issuer: true, ..Default::default() }),
        ("PKCE", OauthBehaviour { no_pkce: true, ..Default::default() }),
        ("may not reach", OauthBehaviour { redirect: Some(elsewhere), ..Default::default() }),
        ("register clients automatically", OauthBehaviour { no_registration: true, ..Default::default() }),
    ] {
        scene.issuer.behave(OauthBehaviour { resource: scene.mcp.url(), ..behaviour });
        let begun = scene.begin().await;
        problem(&begun, 502, "mcp_authorization_failed");
        assert!(begun.text().contains(what), "{what}: {}", begun.text());
    }
    scene.behave(|behaviour| behaviour.resource = "https://elsewhere.example/mcp".to_owned());
    problem(&scene.begin().await, 502, "mcp_authorization_failed");
    // What answers otherwise than its standard says gives nothing.
    for (what, garbage, mixed_up) in
        [("its standard", true, false), ("another authorization server", false, true)]
    {
        scene.behave(|behaviour| (behaviour.garbage, behaviour.mixed_up) = (garbage, mixed_up));
        let back = browse(scene.begin().await.json()["authorization_url"].as_str().unwrap()).await;
        let ended = scene.end(&scene.owner, &back).await;
        problem(&ended, 502, "mcp_authorization_failed");
        assert!(ended.text().contains(what), "{}", ended.text());
        assert_eq!(scene.shown().await["authorization"]["state"], "needed");
    }
    let plain =
        id_of(&scene.gateway.make("/v2/mcp-servers", json!({"name": "plain", "url": scene.mcp.url()})).await);
    let begun = scene.owner.post(&format!("/v2/mcp-servers/{plain}/authorize"), json!({})).await;
    problem(&begun, 409, "mcp_server_without_oauth");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_sign_in_is_ended_once_by_who_began_it() {
    let scene = Scene::start().await;
    let back = browse(scene.begin().await.json()["authorization_url"].as_str().unwrap()).await;
    let other = scene.gateway.member(&scene.owner.client(), "admin@example.com", "admin").await;
    problem(&scene.end(&other, &back).await, 409, "mcp_sign_in_over");
    let mut without_issuer = query(&back);
    without_issuer.as_object_mut().unwrap().remove("iss");
    problem(&scene.owner.post(END, without_issuer).await, 502, "mcp_authorization_failed");
    problem(&scene.end(&scene.owner, &back).await, 409, "mcp_sign_in_over");
    problem(&scene.gateway.admin().post(END, &query(&back)).await.unwrap(), 403, "person_needed");
    // A later beginning takes the place of the earlier one.
    let first = browse(scene.begin().await.json()["authorization_url"].as_str().unwrap()).await;
    scene.sign_in().await;
    problem(&scene.end(&scene.owner, &first).await, 409, "mcp_sign_in_over");
    let mut denied = query(&browse(scene.begin().await.json()["authorization_url"].as_str().unwrap()).await);
    denied["error"] = json!("access_denied");
    let answer = scene.owner.post(END, denied).await;
    assert!(answer.text().contains("access_denied"), "{}", answer.text());
    assert_eq!(scene.shown().await["authorization"]["state"], "authorized", "what there was stays");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_command_begins_what_an_admin_ends() {
    let scene = Scene::start().await;
    let cli = scene.gateway.cli();
    let begun = cli.run(&["mcp-server", "authorize", "maths", "--no-wait", "--json"]).json();
    let back = browse(begun["authorization_url"].as_str().unwrap()).await;
    scene.wants(None);
    // A key has no session: any admin of the workspace may end what it began.
    let ended = scene.end(&scene.owner, &back).await;
    assert_eq!((ended.status, &ended.json()["health"]), (200, &json!("ready")), "{}", ended.text());
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_gateway_is_the_authorization_server_of_another() {
    let scene = Scene::start().await;
    let there = Gateway::start().await;
    let host = there.owner().await;
    let made = json!({"name": "there", "url": format!("{}/mcp", there.origin), "auth": {"type": "oauth"}});
    let id = id_of(&scene.gateway.make("/v2/mcp-servers", made).await);
    let begun = scene.owner.post(&format!("/v2/mcp-servers/{id}/authorize"), json!({})).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let mut consent = query(begun.json()["authorization_url"].as_str().unwrap());
    assert_eq!(host.post("/v2/oauth/consent", consent.clone()).await.json()["client_name"], "Tidegate");
    consent["approve"] = json!(true);
    consent["project_id"] = json!(there.founded.project_id);
    let consent = host.post("/v2/oauth/consent", consent).await.json();
    let ended = scene.end(&scene.owner, consent["redirect_to"].as_str().unwrap()).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    let shown = ended.json();
    assert_eq!(
        (&shown["health"], &shown["authorization"]["state"]),
        (&json!("ready"), &json!("authorized")),
        "{shown}"
    );
    assert!(shown["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "file_list"), "{shown}");
    scene.gateway.emulator.clear_scripts();
    let call = Behaviour::ok().call("there__file_list", "{}");
    scene.gateway.emulator.script(OWN, [call, Behaviour::ok().tools(ToolMode::None)]);
    let answer =
        scene.gateway.client().header("agent-tools", "there").post(CHAT, &question(MINI)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = scene.gateway.settled_with_calls(&crate::ask::trace_of(&answer)).await;
    assert_eq!(request["tool_calls"][0]["outcome"], "answered", "{request}");
    // The key that was given there is revoked: the next call asks for a person.
    let keys = host.get("/v2/api-keys").await.json();
    let key =
        keys["data"].as_array().unwrap().iter().find(|key| key["name"] == "Tidegate (signed in)").unwrap();
    there.remove(&format!("/v2/api-keys/{}", key["id"].as_str().unwrap())).await;
    let refresh = format!("/v2/mcp-servers/{id}/refresh");
    let read = scene.gateway.admin().post(&refresh, &json!({})).await.unwrap().json();
    assert_eq!(
        (&read["health"], &read["authorization"]["state"]),
        (&json!("authorization_needed"), &json!("needed")),
        "{read}"
    );
}
