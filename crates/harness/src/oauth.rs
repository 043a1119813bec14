//! A strict emulator of an authorization server for MCP servers: it refuses what OAuth 2.1 does not allow, gives each refresh token
//! for one use, and misbehaves on request. Whoever opens its address has consented.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded;

use crate::loopback::{HttpRequest, Loopback, Reply};
use crate::members::put;

/// How the server behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OauthBehaviour {
    /// Its metadata names another issuer.
    pub wrong_issuer: bool,
    /// Its metadata does not name PKCE.
    pub no_pkce: bool,
    /// Its metadata is elsewhere.
    pub redirect: Option<String>,
    /// Its token endpoint answers with no JSON.
    pub garbage: bool,
    /// It takes no refresh token any more.
    pub refuses_refresh: bool,
    /// Its answers to browsers name another issuer.
    pub mixed_up: bool,
    /// It registers no clients.
    pub no_registration: bool,
    /// How many seconds its tokens last.
    pub expires_in: Option<u64>,
    /// The scopes that are requested and given, in place of those of its challenge.
    pub scopes: Option<String>,
    /// The resource that its documents are about.
    pub resource: String,
}

impl OauthBehaviour {
    fn scopes(&self) -> String {
        self.scopes.clone().unwrap_or_else(|| "read write".to_owned())
    }
}

#[derive(Default)]
struct State {
    behaviour: OauthBehaviour,
    origin: String,
    /// The address that each client registered.
    clients: BTreeMap<String, String>,
    /// What each code is for: its client, its address and its challenge.
    codes: BTreeMap<String, (String, String, String)>,
    access: Option<String>,
    refresh: Option<String>,
    made: u64,
    refreshes: u64,
    violations: Vec<String>,
}

/// A running server; dropping it closes its address.
pub struct OauthServer {
    state: Arc<Mutex<State>>,
    loopback: Loopback,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OauthServer {
    /// Starts for the tokens of a resource.
    ///
    /// # Errors
    /// Of the socket.
    pub fn start(resource: &str) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let answering = Arc::clone(&state);
        let loopback = Loopback::start(move |request| Some(reply(&mut locked(&answering), request)))?;
        locked(&state).origin = loopback.origin();
        let server = Self { state, loopback };
        server.behave(OauthBehaviour { resource: resource.to_owned(), ..OauthBehaviour::default() });
        Ok(server)
    }

    /// With what an MCP server sends clients here.
    #[must_use]
    pub fn challenge(&self) -> String {
        format!("Bearer resource_metadata=\"{}/resource\", scope=\"read write\"", self.loopback.origin())
    }

    pub fn behave(&self, behaviour: OauthBehaviour) {
        locked(&self.state).behaviour = behaviour;
    }

    #[must_use]
    pub fn behaviour(&self) -> OauthBehaviour {
        locked(&self.state).behaviour.clone()
    }

    /// The access token that it takes now.
    #[must_use]
    pub fn access(&self) -> Option<String> {
        locked(&self.state).access.clone()
    }

    /// How often tokens were renewed.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        locked(&self.state).refreshes
    }

    /// What OAuth does not allow.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        locked(&self.state).violations.clone()
    }
}

fn reply(state: &mut State, request: &HttpRequest) -> Reply {
    let origin = state.origin.clone();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let json = |body: &Value| Reply::of(200, body.to_string()).with("content-type", "application/json");
    match (request.method.as_str(), path) {
        ("GET", "/resource") => {
            json(&json!({"resource": state.behaviour.resource, "authorization_servers": [origin]}))
        }
        ("GET", "/.well-known/oauth-authorization-server") => match &state.behaviour.redirect {
            Some(to) => Reply::of(302, "").with("location", to.clone()),
            None => json(&metadata(state)),
        },
        ("POST", "/register") => register(state, &request.body),
        ("GET", "/authorize") => authorize(state, query),
        ("POST", "/token") if state.behaviour.garbage => Reply::of(200, "<html>"),
        ("POST", "/token") => token(state, request),
        _ => Reply::of(404, ""),
    }
}

fn metadata(state: &State) -> Value {
    let (origin, behaviour) = (&state.origin, &state.behaviour);
    let issuer = if behaviour.wrong_issuer { "https://elsewhere.example" } else { origin.as_str() };
    let mut metadata = json!({
        "issuer": issuer, "authorization_endpoint": format!("{origin}/authorize"), "token_endpoint": format!("{origin}/token"),
        "authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": ["none"],
    });
    if !behaviour.no_pkce {
        put(&mut metadata, "code_challenge_methods_supported", json!(["S256"]));
    }
    if !behaviour.no_registration {
        put(&mut metadata, "registration_endpoint", format!("{origin}/register"));
    }
    metadata
}

fn refused(error: &str) -> Reply {
    Reply::of(400, json!({"error": error}).to_string()).with("content-type", "application/json")
}

fn register(state: &mut State, body: &[u8]) -> Reply {
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    let redirect = sent.pointer("/redirect_uris/0").and_then(Value::as_str).unwrap_or_default();
    if redirect.is_empty() || sent.get("token_endpoint_auth_method") != Some(&json!("none")) {
        state.violations.push(format!("a registration is {sent}"));
    }
    state.made += 1;
    let id = format!("client-{}", state.made);
    state.clients.insert(id.clone(), redirect.to_owned());
    let body = json!({"client_id": id, "token_endpoint_auth_method": "none"});
    Reply::of(201, body.to_string()).with("content-type", "application/json")
}

/// A person consents, and their browser is sent back.
fn authorize(state: &mut State, query: &str) -> Reply {
    let sent: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| sent.get(name).cloned().unwrap_or_default();
    let (client, redirect) = (of("client_id"), of("redirect_uri"));
    if state.clients.get(&client) != Some(&redirect) {
        state.violations.push("a client sends a browser with an address that it did not register".to_owned());
    }
    let scopes = state.behaviour.scopes();
    for (name, expected) in [
        ("response_type", "code"),
        ("code_challenge_method", "S256"),
        ("resource", state.behaviour.resource.as_str()),
        ("scope", scopes.as_str()),
    ] {
        if of(name) != expected {
            state.violations.push(format!("{name} is {}", of(name)));
        }
    }
    state.made += 1;
    let code = format!("code-{}", state.made);
    state.codes.insert(code.clone(), (client, redirect.clone(), of("code_challenge")));
    let issuer = if state.behaviour.mixed_up { "https://elsewhere.example" } else { &state.origin };
    let Ok(mut to) = Url::parse(&redirect) else { return Reply::of(400, "") };
    to.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &of("state"))
        .append_pair("iss", issuer);
    Reply::of(302, "").with("location", String::from(to))
}

fn token(state: &mut State, request: &HttpRequest) -> Reply {
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        state.violations.push("a token is requested otherwise than by a form".to_owned());
    }
    let sent: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
    let of = |name: &str| sent.get(name).cloned().unwrap_or_default();
    if of("resource") != state.behaviour.resource {
        state.violations.push(format!("a token is requested for {}", of("resource")));
    }
    match of("grant_type").as_str() {
        "authorization_code" => {
            let known = state.codes.remove(&of("code"));
            let challenge = challenge_of(&of("code_verifier"));
            if known != Some((of("client_id"), of("redirect_uri"), challenge)) {
                return refused("invalid_grant");
            }
        }
        "refresh_token" => {
            if state.behaviour.refuses_refresh {
                return refused("invalid_grant");
            }
            if state.refresh != Some(of("refresh_token")) {
                state.violations.push("a refresh token is used twice".to_owned());
                return refused("invalid_grant");
            }
            state.refreshes += 1;
        }
        _ => return refused("unsupported_grant_type"),
    }
    state.made += 1;
    let (access, refresh) = (format!("access-{}", state.made), format!("refresh-{}", state.made));
    (state.access, state.refresh) = (Some(access.clone()), Some(refresh.clone()));
    let mut body = json!({
        "access_token": access, "token_type": "Bearer", "refresh_token": refresh, "scope": state.behaviour.scopes(),
    });
    if let Some(seconds) = state.behaviour.expires_in {
        put(&mut body, "expires_in", seconds);
    }
    Reply::of(200, body.to_string()).with("content-type", "application/json")
}

fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}
