//! Clients: dynamic registration, and the addresses that a browser may be sent to.

use api::names::checked_name;
use api::state::Control;
use domain::ports::KeyHash;
use reconcilers::milliseconds;
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};

use crate::answer::Refusal;
use crate::claims::{Claims as _, ClientClaims};
use crate::limits::{CLIENT_TIME_MAX, REDIRECT_BYTES_MAX, REDIRECTS_MAX};

/// Schemes that a browser runs or reads itself.
const UNSAFE_SCHEMES: [&str; 16] = [
    "javascript",
    "data",
    "file",
    "blob",
    "vbscript",
    "about",
    "ws",
    "wss",
    "view-source",
    "chrome",
    "resource",
    "filesystem",
    "jar",
    "smb",
    "ftp",
    "intent",
];

#[derive(Deserialize)]
struct Registration {
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
}

/// Answers a registration (RFC 7591). Clients are public: none is given a secret.
pub(crate) fn register(control: &Control, body: &[u8]) -> Result<Value, Refusal> {
    let (name, redirects) = read_registration(body)?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let expires_unix_ms = now_unix_ms.saturating_add(milliseconds(CLIENT_TIME_MAX));
    let claims = ClientClaims { name, redirects, expires_unix_ms };
    Ok(json!({
        "client_id": claims.seal(&*control.deps.vault.hasher),
        "client_id_issued_at": now_unix_ms / 1_000,
        "client_name": claims.name,
        "redirect_uris": claims.redirects,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }))
}

/// The name of a client, and where it has browsers sent.
pub(crate) fn read_registration(body: &[u8]) -> Result<(String, Vec<String>), Refusal> {
    let invalid = |why: &str| Refusal::bad("invalid_client_metadata", why);
    let sent: Registration =
        serde_json::from_slice(body).map_err(|_| invalid("The body isn't a registration."))?;
    let count = sent.redirect_uris.len();
    if count == 0 || count > REDIRECTS_MAX {
        return Err(Refusal::bad("invalid_redirect_uri", "Give from 1 to 5 redirect_uris."));
    }
    if let Some(wrong) = sent.redirect_uris.iter().find(|uri| !is_redirect(uri)) {
        let excerpt: String = wrong.chars().filter(|letter| !letter.is_control()).take(100).collect();
        let why =
            format!("\"{excerpt}\" is neither https, nor http on this machine, nor an app's own scheme.");
        return Err(Refusal::bad("invalid_redirect_uri", &why));
    }
    let name =
        sent.client_name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "MCP client".to_owned());
    let name =
        checked_name(Some(name), "client_name").map_err(|_| invalid("\"client_name\" isn't a name."))?;
    Ok((name, sent.redirect_uris))
}

/// The client of an id, if it may have a browser sent to this address.
pub(crate) fn client(
    hasher: &dyn KeyHash,
    id: &str,
    redirect: &str,
    now_unix_ms: u64,
) -> Option<ClientClaims> {
    let client = ClientClaims::open(hasher, id, now_unix_ms)?;
    client.redirects.iter().any(|registered| is_same(registered, redirect)).then_some(client)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_redirect(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    if uri.len() > REDIRECT_BYTES_MAX || url.fragment().is_some() || !url.username().is_empty() {
        return false;
    }
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(&url),
        own => !UNSAFE_SCHEMES.contains(&own) && uri.contains("://"),
    }
}

/// As it is registered; on this machine with any port (RFC 8252), since programs listen where there is room.
fn is_same(registered: &str, sent: &str) -> bool {
    if registered == sent {
        return true;
    }
    let (Ok(mut registered), Ok(sent)) = (Url::parse(registered), Url::parse(sent)) else { return false };
    let is_local = registered.scheme() == "http" && is_loopback(&registered) && sent.scheme() == "http";
    is_local && registered.set_port(sent.port()).is_ok() && registered == sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_safe_addresses_alone() {
        for (uri, is_safe) in [
            ("https://a.example/callback", true),
            ("http://localhost:33418/", true),
            ("http://127.0.0.1/callback", true),
            ("http://[::1]:9/", true),
            ("editor://app/oauth/callback", true),
            ("http://a.example/callback", false),
            ("http://localhost.a.example/", false),
            ("javascript://a/%0aalert(1)", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("view-source://a.example/", false),
            ("jar://a.example/", false),
            ("smb://a.example/share", false),
            ("https://a.example/#x", false),
            ("https://me@a.example/", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_redirect(uri), is_safe, "{uri}");
        }
        assert!(!is_redirect(&format!("https://a.example/{}", "x".repeat(REDIRECT_BYTES_MAX))));
    }

    #[test]
    fn the_port_is_free_on_this_machine_alone() {
        for (registered, sent, same) in [
            ("https://a.example/c", "https://a.example/c", true),
            ("https://a.example/c", "https://a.example:444/c", false),
            ("https://a.example/c", "https://a.example/c?x=1", false),
            ("http://127.0.0.1/c", "http://127.0.0.1:5000/c", true),
            ("http://127.0.0.1:1/c", "http://127.0.0.1:5000/c", true),
            ("http://127.0.0.1/c", "http://127.0.0.1:5000/d", false),
            ("http://127.0.0.1/c", "http://a.example/c", false),
        ] {
            assert_eq!(is_same(registered, sent), same, "{registered} {sent}");
        }
    }
}
