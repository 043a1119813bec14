//! Token endpoints of the clouds, which exchange a proof of identity for an access token: Microsoft Entra ID,
//! Google's OAuth endpoint, and the instance metadata service. A token maps to one of the emulator's keys, so
//! that the key's state applies to its tokens.

pub mod google;
pub(crate) mod issuer;
pub mod pool;
pub mod vendor;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::emulator::KeyState;
use crate::emulator::service::{Answer, Call, json_answer, read};
use crate::emulator::state::{Shared, lock};

/// The only tenant, and the only application in it. The application's client secrets are the emulator's keys.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
pub const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
/// The base path of Entra ID.
pub const ENTRA: &str = "/entra";
const TOKEN_PATH: &str = "/oauth2/v2.0/token";
const MACHINE_PATH: &str = "/metadata/identity/oauth2/token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const LIVES: Duration = Duration::from_secs(3_599);

/// The issued tokens.
pub(crate) struct State(Mutex<Issued>);

struct Issued {
    tokens: HashMap<String, Token>,
    count: u64,
    lives: Duration,
    /// The key that the machine's identity maps to.
    machine: Option<String>,
    /// Google's service accounts: from e-mail address to key.
    accounts: HashMap<String, String>,
    /// Workloads that the issuer vouches for: from subject to key.
    workloads: HashMap<String, String>,
    /// Unused refresh tokens of subscriptions, with their keys.
    refresh_tokens: HashMap<String, String>,
    /// Keys whose accounts have no permissions.
    denied: HashSet<String>,
    /// How far this clock is ahead of the real time.
    clock_ahead_s: i64,
}

/// The claims of a token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) key: String,
    /// The service that the token is for.
    pub(crate) audience: String,
    until: Instant,
}

impl State {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Issued {
            tokens: HashMap::new(),
            count: 0,
            lives: LIVES,
            machine: None,
            accounts: HashMap::new(),
            workloads: HashMap::new(),
            refresh_tokens: HashMap::new(),
            denied: HashSet::new(),
            clock_ahead_s: 0,
        }))
    }

    /// Credentials that tests hold stay valid: accounts, workloads and tokens.
    pub(crate) fn reset(&self) {
        let mut issued = lock(&self.0);
        issued.lives = LIVES;
        issued.machine = None;
        issued.denied.clear();
        issued.clock_ahead_s = 0;
    }

    /// Issues a token; returns it with its lifetime in seconds.
    pub(crate) fn issue(&self, key: &str, audience: &str) -> (String, u64) {
        let mut issued = lock(&self.0);
        issued.count += 1;
        let token = format!("tok-{}-of-the-emulator", issued.count);
        let until = Instant::now() + issued.lives;
        let stands_for = Token { key: key.to_owned(), audience: audience.to_owned(), until };
        issued.tokens.insert(token.clone(), stands_for);
        (token, issued.lives.as_secs())
    }

    /// The claims of a token, until it expires.
    pub(crate) fn token(&self, token: &str) -> Option<Token> {
        lock(&self.0).tokens.get(token).filter(|token| Instant::now() < token.until).cloned()
    }

    /// Whether a token was ever issued, even if it has expired.
    pub(crate) fn was_issued(&self, token: &str) -> bool {
        lock(&self.0).tokens.contains_key(token)
    }

    /// Creates a service account for a key; returns its e-mail address.
    pub(crate) fn add_account(&self, key: &str) -> String {
        let mut issued = lock(&self.0);
        let email =
            format!("robot-{}@{}.iam.gserviceaccount.com", issued.accounts.len() + 1, google::PROJECT);
        issued.accounts.insert(email.clone(), key.to_owned());
        email
    }

    pub(crate) fn account(&self, email: &str) -> Option<String> {
        lock(&self.0).accounts.get(email).cloned()
    }

    /// Creates a workload for a key; returns its subject.
    pub(crate) fn add_workload(&self, key: &str) -> String {
        let mut issued = lock(&self.0);
        let subject = format!("workload-{}", issued.workloads.len() + 1);
        issued.workloads.insert(subject.clone(), key.to_owned());
        subject
    }

    pub(crate) fn workload(&self, subject: &str) -> Option<String> {
        lock(&self.0).workloads.get(subject).cloned()
    }

    /// A refresh token of a subscription that maps to a key.
    pub(crate) fn add_refresh_token(&self, key: &str) -> String {
        let mut issued = lock(&self.0);
        issued.count += 1;
        let token = format!("ref-{}-of-the-emulator", issued.count);
        issued.refresh_tokens.insert(token.clone(), key.to_owned());
        token
    }

    pub(crate) fn take_refresh_token(&self, token: &str) -> Option<String> {
        lock(&self.0).refresh_tokens.remove(token)
    }

    pub(crate) fn deny(&self, key: &str) {
        lock(&self.0).denied.insert(key.to_owned());
    }

    pub(crate) fn is_denied(&self, key: &str) -> bool {
        lock(&self.0).denied.contains(key)
    }

    pub(crate) fn be_ahead(&self, seconds: i64) {
        lock(&self.0).clock_ahead_s = seconds;
    }

    pub(crate) fn clock_ahead_s(&self) -> i64 {
        lock(&self.0).clock_ahead_s
    }

    pub(crate) fn machine(&self) -> Option<String> {
        lock(&self.0).machine.clone()
    }

    pub(crate) fn be_machine_of(&self, key: &str) {
        lock(&self.0).machine = Some(key.to_owned());
    }

    pub(crate) fn count(&self) -> u64 {
        lock(&self.0).count
    }

    pub(crate) fn revoke(&self) {
        lock(&self.0).tokens.clear();
    }

    pub(crate) fn expire(&self) {
        lock(&self.0).tokens.values_mut().for_each(|token| token.until = Instant::now());
    }

    pub(crate) fn lives(&self, lives: Duration) {
        lock(&self.0).lives = lives;
    }
}

pub(crate) fn serves(head: &http::request::Parts) -> bool {
    let path = head.uri.path();
    [MACHINE_PATH, google::PATH, google::MACHINE_PATH, pool::PATH, vendor::PATH].contains(&path)
        || path.starts_with(pool::ACCOUNTS)
        || (path.starts_with(ENTRA) && path.ends_with(TOKEN_PATH))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let found = match read(call.shared, call.guard, body).await {
        Ok(body) => match call.head.uri.path() {
            MACHINE_PATH => machine(call),
            google::MACHINE_PATH => google::machine(call),
            google::PATH => google::exchange(call, &body),
            pool::PATH => pool::exchange(call, &body),
            vendor::PATH => vendor::renew(call, &body),
            path if path.starts_with(pool::ACCOUNTS) => pool::impersonate(call, path, &body),
            _ => entra(call, &body),
        },
        Err(_) => Err(refusal("invalid_request", "AADSTS900144: The request body is too large.")),
    };
    let (status, body) = match found {
        Ok(body) => (200, body),
        Err((status, body)) => (status, body),
    };
    json_answer(status, Vec::new(), &body)
}

type Refusal = (u16, Value);

fn refusal(error: &str, description: &str) -> Refusal {
    let status = if error == "invalid_client" { 401 } else { 400 };
    // Entra ID puts its ids and the time on separate lines.
    let description =
        format!("{description} Trace ID: 0 Correlation ID: 0\r\nTimestamp: 2026-01-01 00:00:00Z");
    (status, json!({"error": error, "error_description": description, "error_codes": [], "trace_id": "0"}))
}

/// Entra ID's token endpoint: a form with an application's proof of identity (its secret or an assertion),
/// for one service.
fn entra(call: &Call<'_>, body: &Bytes) -> Result<Value, Refusal> {
    let head = call.head;
    let form = form(body);
    let field = |name: &str| form.get(name).map(String::as_str);
    let tenant = head.uri.path().strip_prefix(ENTRA).and_then(|path| path.strip_suffix(TOKEN_PATH));
    let missing = |name: &str| {
        refusal(
            "invalid_request",
            &format!("AADSTS900144: The request body must contain the following parameter: '{name}'."),
        )
    };
    if !call.is_form() {
        return Err(refusal(
            "invalid_request",
            "AADSTS900561: The endpoint only accepts POST requests with a form.",
        ));
    }
    if tenant != Some(&format!("/{TENANT}")) {
        return Err(refusal("invalid_request", "AADSTS90002: Tenant not found."));
    }
    if field("grant_type") != Some("client_credentials") {
        return Err(refusal(
            "unsupported_grant_type",
            "AADSTS70003: The app requested an unsupported grant type.",
        ));
    }
    if field("client_id").ok_or_else(|| missing("client_id"))? != CLIENT {
        return Err(refusal(
            "unauthorized_client",
            "AADSTS700016: Application was not found in the directory.",
        ));
    }
    let scope = field("scope").ok_or_else(|| missing("scope"))?;
    let Some(audience) = scope.strip_suffix("/.default") else {
        return Err(refusal("invalid_scope", "AADSTS1002012: The provided value for scope is not valid."));
    };
    let proof = match (field("client_secret"), field("client_assertion"), field("client_assertion_type")) {
        (Some(secret), None, None) => secret,
        (None, Some(assertion), Some(ASSERTION)) => assertion,
        _ => return Err(missing("client_assertion' or 'client_secret")),
    };
    if call.shared.key_state(proof) != Some(KeyState::Ok) {
        return Err(refusal("invalid_client", "AADSTS7000215: Invalid client secret provided."));
    }
    let (token, lives) = call.shared.directory.issue(proof, audience);
    Ok(json!({"token_type": "Bearer", "expires_in": lives, "ext_expires_in": lives, "access_token": token}))
}

/// Azure's instance metadata service: a token for the machine's own identity.
fn machine(call: &Call<'_>) -> Result<Value, Refusal> {
    let head = call.head;
    let has_metadata_header = head.headers.get("metadata").is_some_and(|value| value == "true");
    let query = form(head.uri.query().unwrap_or_default().as_bytes());
    let field = |name: &str| query.get(name).map(String::as_str);
    // A request forwarded by a proxy carries this header.
    if !has_metadata_header || head.headers.contains_key("x-forwarded-for") {
        return Err((
            400,
            json!({"error": "invalid_request", "error_description": "Required metadata header not specified"}),
        ));
    }
    if head.method != Method::GET || field("api-version") != Some("2018-02-01") {
        return Err((400, json!({"error": "invalid_request", "error_description": "Invalid api-version"})));
    }
    let identity =
        call.shared.directory.machine().filter(|_| field("client_id").is_none_or(|id| id == CLIENT));
    let (Some(key), Some(resource)) = (identity, field("resource")) else {
        return Err((400, json!({"error": "invalid_request", "error_description": "Identity not found"})));
    };
    let (token, lives) = call.shared.directory.issue(&key, resource);
    // This endpoint encodes numbers as strings.
    Ok(
        json!({"access_token": token, "client_id": CLIENT, "expires_in": lives.to_string(), "resource": resource, "token_type": "Bearer"}),
    )
}

pub(crate) fn form(body: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// The key of a token that was issued for one of these services.
pub(crate) fn is_for(shared: &Shared, token: &str, services: &[&str]) -> Option<String> {
    shared
        .directory
        .token(token)
        .filter(|token| services.contains(&token.audience.as_str()))
        .map(|token| token.key)
}
