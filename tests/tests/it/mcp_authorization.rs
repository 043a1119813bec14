//! MCP servers whose tokens come from an authorization server: signed in for by a person, renewed once whoever needs it, and what is
//! refused on the way.

use harness::client::{Answer, Client};
use harness::mcp::{McpAnswer, McpBehaviour, McpServer, McpTool};
use harness::oauth::{OauthBehaviour, OauthServer};
use harness::{Behaviour, ToolMode};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, one_call, problem, question, said, with};
use crate::gateway::{Gateway, OWN, config, id_of, row};
use crate::person::Person;
use crate::tools::{ask, outcome, refreshed};

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
        let sum = McpAnswer::Text("the sum is 42".to_owned());
        let mcp = McpServer::start([McpTool::new("add", "Adds.", sum)]).unwrap();
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

    /// Where a browser comes back to that a person signs in with.
    async fn browse(&self) -> String {
        let begun = self.begin().await.must_be(200).json();
        browse(begun["authorization_url"].as_str().unwrap()).await
    }

    /// A person signs in.
    async fn sign_in(&self) -> Value {
        let back = self.browse().await;
        // The server takes the token that is given next.
        self.wants(None);
        let ended = self.end(&self.owner, &back).await.must_be(200).json();
        self.wants(self.issuer.access().as_deref());
        ended
    }

    async fn shown(&self) -> Value {
        self.gateway.get(&format!("/v2/mcp-servers/{}", self.server)).await
    }

    async fn ask(&self, client: &Client) -> Answer {
        self.gateway.plays(OWN, one_call("maths__add", r#"{"a":"1"}"#));
        client.clone().header("agent-tools", "maths").post(CHAT, &question(MINI)).await.unwrap()
    }
}

/// A browser opens an address of the authorization server; returns where it is sent.
async fn browse(address: &str) -> String {
    let url: url::Url = address.parse().unwrap();
    let client = Client::new(url.origin().ascii_serialization());
    let path = address.strip_prefix(&url.origin().ascii_serialization()).unwrap();
    client.get(path).await.unwrap().must_be(302).header("location").unwrap().to_owned()
}

fn query(address: &str) -> Value {
    let url: url::Url = address.parse().unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), json!(value))).collect()
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
    let sign_in = person.post(&format!("/v2/mcp-servers/{server}/authorize"), json!({})).await.must_be(200);
    query(&browse(sign_in.json()["authorization_url"].as_str().unwrap()).await)
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_person_signs_in_and_models_call_the_servers_tools() {
    let scene = Scene::start().await;
    has(&scene.shown().await, json!({"health": "authorization_needed", "/authorization/state": "needed"}));
    let refused = scene.ask(&scene.gateway.client()).await;
    assert_eq!(refused.must_be(409).json()["error"]["code"], "mcp_authorization_needed");
    let signed_in = scene.sign_in().await;
    assert_eq!(signed_in["health"], "ready", "{signed_in}");
    let authorization = json!({
        "state": "authorized", "scopes": ["read", "write"], "wanted_scopes": [], "expires_at": null,
        "client_id": null,
    });
    assert_eq!(signed_in["authorization"], authorization, "{signed_in}");
    let answer = scene.ask(&scene.gateway.client()).await.must_be(200);
    assert_eq!(said(&answer), "You said: hello there", "{}", answer.text());
    assert_eq!(scene.mcp.calls().len(), 1);
    assert_eq!((scene.issuer.violations(), scene.mcp.violations()), (vec![], vec![]));
    let token = scene.issuer.access().unwrap();
    let server = format!("/v2/mcp-servers/{}", scene.server);
    for path in ["/v2/mcp-servers", &server, "/v2/audit"] {
        assert!(!scene.gateway.get(path).await.to_string().contains(&token), "{path}");
    }
    let audit = scene.gateway.get("/v2/audit").await.to_string();
    assert!(audit.contains("mcp_server.authorize"), "{audit}");
    // At another address is another server: nothing is shown to it.
    scene.gateway.patch(&server, json!({"url": format!("{}/other", scene.mcp.url())})).await;
    assert_eq!(scene.shown().await["authorization"]["state"], "needed");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_one_that_is_revoked_is_said_to_be() {
    let scene = Scene::start().await;
    scene.sign_in().await;
    // The server takes the token no more, whatever it said about its end.
    scene.wants(Some("access-next"));
    scene.ask(&scene.gateway.client()).await.must_be(200);
    assert_eq!((scene.issuer.refreshes(), scene.mcp.calls().len()), (1, 0), "the new token is another, too");
    scene.wants(scene.issuer.access().as_deref());
    assert_eq!(scene.ask(&scene.gateway.client()).await.status, 200);
    assert_eq!((scene.issuer.refreshes(), scene.mcp.calls().len()), (1, 1));
    // The person takes the consent back.
    scene.behave(|behaviour| behaviour.refuses_refresh = true);
    scene.wants(Some("nothing"));
    let answer = scene.ask(&scene.gateway.client()).await;
    assert_eq!(answer.status, 200, "the model is told of the call that failed: {}", answer.text());
    has(&scene.shown().await, json!({"health": "authorization_needed", "/authorization/state": "needed"}));
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
    scene.ask(&scene.gateway.client()).await.must_be(200);
    let shown = scene.shown().await;
    assert_eq!(shown["health"], "ready", "{shown}");
    has(&shown["authorization"], json!({"state": "authorized", "wanted_scopes": ["write", "admin"]}));
    // What was given stays among what is requested.
    scene.behave(|behaviour| behaviour.scopes = Some("read write admin".to_owned()));
    let again = scene.sign_in().await;
    has(&again["authorization"], json!({"scopes": ["read", "write", "admin"], "wanted_scopes": []}));
    assert_eq!(scene.ask(&scene.gateway.client()).await.status, 200);
    assert_eq!((scene.mcp.calls().len(), scene.issuer.violations()), (1, vec![]));
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn two_gateways_renew_a_token_once_at_a_time() {
    let scene = Scene::of(Gateway::over_postgres("mcp", config(), &[]).await).await;
    // Each token is as good as over when it is given.
    scene.behave(|behaviour| behaviour.expires_in = Some(1));
    scene.sign_in().await;
    scene.wants(None);
    let (mut other, origin) = scene.gateway.replica().await;
    let clients = [scene.gateway.client(), scene.gateway.client_at(&origin)];
    let call = Behaviour::ok().tools(ToolMode::Single).call("maths__add", r#"{"a":"1"}"#);
    scene.gateway.emulator.script(OWN, (0..16).map(|_| call.clone()));
    let asking = (0..8).map(|at| {
        let client = clients[at % 2].clone().header("agent-tools", "maths").header("agent-tool-steps", "1");
        async move { client.post(CHAT, &question(MINI)).await.unwrap() }
    });
    for answer in futures_util::future::join_all(asking).await {
        answer.must_be(200);
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
        let back = scene.browse().await;
        let ended = scene.end(&scene.owner, &back).await;
        problem(&ended, 502, "mcp_authorization_failed");
        assert!(ended.text().contains(what), "{}", ended.text());
        assert_eq!(scene.shown().await["authorization"]["state"], "needed");
    }
    let plain = json!({"name": "plain", "url": scene.mcp.url()});
    let plain = id_of(&scene.gateway.make("/v2/mcp-servers", plain).await);
    let begun = scene.owner.post(&format!("/v2/mcp-servers/{plain}/authorize"), json!({})).await;
    problem(&begun, 409, "mcp_server_without_oauth");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_sign_in_is_ended_once_by_who_began_it() {
    let scene = Scene::start().await;
    let back = scene.browse().await;
    let other = scene.gateway.member(&scene.owner.client(), "admin@example.com", "admin").await;
    problem(&scene.end(&other, &back).await, 409, "mcp_sign_in_over");
    let without_issuer = with(query(&back), json!({"iss": null}));
    problem(&scene.owner.post(END, without_issuer).await, 502, "mcp_authorization_failed");
    problem(&scene.end(&scene.owner, &back).await, 409, "mcp_sign_in_over");
    problem(&scene.gateway.admin().post(END, &query(&back)).await.unwrap(), 403, "person_needed");
    // A later beginning takes the place of the earlier one.
    let first = scene.browse().await;
    scene.sign_in().await;
    problem(&scene.end(&scene.owner, &first).await, 409, "mcp_sign_in_over");
    let denied = with(query(&scene.browse().await), json!({"error": "access_denied"}));
    let answer = scene.owner.post(END, denied).await;
    assert!(answer.text().contains("access_denied"), "{}", answer.text());
    assert_eq!(scene.shown().await["authorization"]["state"], "authorized", "what there was stays");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_command_begins_what_an_admin_ends() {
    let scene = Scene::start().await;
    let begun = scene.gateway.cli().run(&["mcp-server", "authorize", "maths", "--no-wait", "--json"]).json();
    let back = browse(begun["authorization_url"].as_str().unwrap()).await;
    scene.wants(None);
    // A key has no session: any admin of the workspace may end what it began.
    assert_eq!(scene.end(&scene.owner, &back).await.must_be(200).json()["health"], "ready");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_gateway_is_the_authorization_server_of_another() {
    let scene = Scene::start().await;
    let there = Gateway::start().await;
    let host = there.owner().await;
    let made = json!({"name": "there", "url": format!("{}/mcp", there.origin), "auth": {"type": "oauth"}});
    let id = id_of(&scene.gateway.make("/v2/mcp-servers", made).await);
    let begun = scene.owner.post(&format!("/v2/mcp-servers/{id}/authorize"), json!({})).await.must_be(200);
    let consent = query(begun.json()["authorization_url"].as_str().unwrap());
    assert_eq!(host.post("/v2/oauth/consent", consent.clone()).await.json()["client_name"], "Tidegate");
    let consent = with(consent, json!({"approve": true, "project_id": there.founded.project_id}));
    let consent = host.post("/v2/oauth/consent", consent).await.json();
    let shown = scene.end(&scene.owner, consent["redirect_to"].as_str().unwrap()).await.must_be(200).json();
    has(&shown, json!({"health": "ready", "/authorization/state": "authorized"}));
    assert!(shown["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "file_list"), "{shown}");
    scene.gateway.plays(OWN, one_call("there__file_list", "{}"));
    let answer = ask(&scene.gateway, "there", CHAT, &question(MINI)).await.must_be(200);
    assert_eq!(outcome(&scene.gateway, &answer).await, "answered");
    // The key that was given there is revoked: the next call asks for a person.
    let keys = host.get("/v2/api-keys").await.json();
    let key = row(&keys["data"], "name", "Tidegate (signed in)");
    there.remove(&format!("/v2/api-keys/{}", id_of(key))).await;
    let read = refreshed(&scene.gateway, &id).await;
    has(&read, json!({"health": "authorization_needed", "/authorization/state": "needed"}));
}
