//! Finds the authorization server of an MCP server (RFC 9728), and what that server offers (RFC 8414).

use domain::CallOutcome;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::wire::{Asker, broken};
use crate::answer::CallFailure;
use crate::limits::AUTHORIZATION_FIELD_BYTES_MAX;

/// An MCP server as a protected resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// For which tokens are requested.
    pub name: String,
    pub issuer: String,
    /// The scopes that the server names.
    pub scopes: Vec<String>,
    /// Nothing but the server's origin says who its authorization server is.
    is_its_own: bool,
}

impl ServerMetadata {
    /// Whether refresh tokens are given for the scope `offline_access`.
    pub fn has_offline_access(&self) -> bool {
        self.scopes_supported.iter().any(|scope| scope == OFFLINE_ACCESS)
    }
}

/// The scope by which many servers give refresh tokens (OpenID Connect Core, section 11).
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// The parts of a server's metadata that are used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ServerMetadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub registration_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct ResourceMetadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What a server says to a request without a token.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    resource_metadata: Option<String>,
    scopes: Vec<String>,
    error: Option<String>,
}

/// The scopes that a token lacks by the challenge of a server which refuses it (RFC 6750, section 3.1).
pub(crate) fn wanted_scopes(challenge: &str) -> Vec<String> {
    let challenge = read_challenge(challenge);
    if challenge.error.as_deref() == Some("insufficient_scope") { challenge.scopes } else { Vec::new() }
}

/// Finds the authorization server that an MCP server trusts.
///
/// # Errors
/// It can't be reached, or what it says contradicts its address.
pub(crate) async fn resource_of(asker: &Asker, server: &Url) -> Result<Resource, CallFailure> {
    let challenge = challenge_of(asker, server).await?;
    let named = challenge.resource_metadata.clone();
    let places = named.map_or_else(|| well_known(server, "oauth-protected-resource"), |named| vec![named]);
    for place in places {
        let Some(found) = asker.document::<ResourceMetadata>(&place).await? else { continue };
        if !is_for(&found.resource, server) {
            return Err(broken("the server's metadata is about another resource"));
        }
        let issuer = found.authorization_servers.into_iter().next();
        let issuer = issuer.ok_or_else(|| broken("the MCP server's metadata doesn't name it"))?;
        let scopes = if challenge.scopes.is_empty() { found.scopes_supported } else { challenge.scopes };
        return Ok(Resource { name: found.resource, issuer, scopes, is_its_own: false });
    }
    // Servers of the revision 2025-03-26 have no such document: they are their own authorization servers.
    let mut name = server.clone();
    name.set_fragment(None);
    let issuer = server.origin().ascii_serialization();
    Ok(Resource { name: name.into(), issuer, scopes: challenge.scopes, is_its_own: true })
}

/// Reads what an authorization server offers. Without PKCE it is not used: a code could be redeemed by whoever sees it.
///
/// # Errors
/// It can't be reached, is another one than was named, or lacks what is needed.
pub(crate) async fn metadata_of(asker: &Asker, resource: &Resource) -> Result<ServerMetadata, CallFailure> {
    let issuer = resource.issuer.as_str();
    asker.check(issuer)?;
    let url = Url::parse(issuer).map_err(|_| broken("its issuer isn't a URL"))?;
    let mut places = vec![one_well_known(&url, "oauth-authorization-server")];
    places.push(one_well_known(&url, "openid-configuration"));
    if url.path() != "/" {
        places.push(format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')));
    }
    for place in places {
        let Some(found) = asker.document::<ServerMetadata>(&place).await? else { continue };
        if !is_named(&found.issuer, resource) {
            return Err(broken("its metadata has another issuer"));
        }
        if !found.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(broken("it does not support PKCE with S256"));
        }
        asker.check(&found.authorization_endpoint)?;
        asker.check(&found.token_endpoint)?;
        return Ok(found);
    }
    Err(broken("its metadata is not found"))
}

/// Whether an issuer is the one of a resource. The revision 2025-03-26 has the document at the origin whatever path the issuer has:
/// where the origin is all that is known, every issuer of it is the same party.
fn is_named(issuer: &str, resource: &Resource) -> bool {
    let of_origin =
        |text: &str| Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == resource.issuer);
    issuer.trim_end_matches('/') == resource.issuer.trim_end_matches('/')
        || (resource.is_its_own && of_origin(issuer))
}

/// Asks without a token for what it takes.
async fn challenge_of(asker: &Asker, server: &Url) -> Result<Challenge, CallFailure> {
    let headers = vec![
        (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    let ping = bytes::Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let answer = asker.send(Method::POST, server, headers, Some(ping)).await?;
    if answer.status.is_redirection() {
        let text = "The MCP server redirects, and redirects aren't followed.";
        return Err(CallFailure::new(CallOutcome::Refused, text));
    }
    if answer.status != StatusCode::UNAUTHORIZED {
        return Ok(Challenge::default());
    }
    Ok(answer.headers.text("www-authenticate").map(read_challenge).unwrap_or_default())
}

/// The parameters of a bearer challenge.
fn read_challenge(header: &str) -> Challenge {
    let mut challenge = Challenge::default();
    let is_bearer = header.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    let mut rest = if is_bearer { header.get(7..).unwrap_or_default() } else { "" };
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(',').trim().to_ascii_lowercase();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if value.len() <= AUTHORIZATION_FIELD_BYTES_MAX {
            match name.as_str() {
                "resource_metadata" => challenge.resource_metadata = Some(value.trim().to_owned()),
                "error" => challenge.error = Some(value.trim().to_owned()),
                "scope" => challenge.scopes = value.split_ascii_whitespace().map(str::to_owned).collect(),
                _ => {}
            }
        }
        rest = next;
    }
    challenge
}

/// Whether tokens for a resource may be shown to a server: same origin, and at or above its path.
fn is_for(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let path = resource.path().trim_end_matches('/');
    let below = server.path().strip_prefix(path);
    resource.origin() == server.origin() && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a document may be: for the path first, then for the host.
fn well_known(url: &Url, name: &str) -> Vec<String> {
    let mut places = vec![one_well_known(url, name)];
    let root = format!("{}/.well-known/{name}", url.origin().ascii_serialization());
    if !places.contains(&root) {
        places.push(root);
    }
    places
}

fn one_well_known(url: &Url, name: &str) -> String {
    let path = url.path().trim_end_matches('/');
    format!("{}/.well-known/{name}{path}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_challenge_is_read_by_its_parameters() {
        let read = read_challenge(
            r#"Bearer realm="a, b=c", resource_metadata="https://a.example/.well-known/x", scope="read write""#,
        );
        assert_eq!(read.resource_metadata.as_deref(), Some("https://a.example/.well-known/x"));
        assert_eq!(read.scopes, ["read", "write"]);
        assert_eq!(read_challenge("bearer scope=read, error=x").scopes, ["read"]);
        for other in ["Basic realm=\"a\"", "Bearer", "", "Bearer =", "Bearer scope=\""] {
            assert_eq!(read_challenge(other), Challenge::default(), "{other}");
        }
    }

    #[test]
    fn scopes_are_wanted_where_the_token_lacks_them() {
        let lacks = r#"Bearer error="insufficient_scope", scope="read write""#;
        assert_eq!(wanted_scopes(lacks), ["read", "write"]);
        for other in [r#"Bearer error="invalid_token", scope="read""#, r#"Bearer scope="read""#, ""] {
            assert_eq!(wanted_scopes(other), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn an_origin_alone_vouches_for_its_issuers() {
        let resource = |issuer: &str, is_its_own| {
            let (name, issuer) = ("https://a.example/mcp".to_owned(), issuer.to_owned());
            Resource { name, issuer, scopes: Vec::new(), is_its_own }
        };
        for (issuer, named, is_its_own, is_it) in [
            ("https://a.example/", "https://a.example", false, true),
            ("https://a.example/oauth", "https://a.example", true, true),
            ("https://a.example/oauth", "https://a.example", false, false),
            ("https://b.example/oauth", "https://a.example", true, false),
            ("http://a.example/oauth", "https://a.example", true, false),
            ("nonsense", "https://a.example", true, false),
        ] {
            assert_eq!(is_named(issuer, &resource(named, is_its_own)), is_it, "{issuer} {is_its_own}");
        }
    }

    #[test]
    fn a_resource_is_at_or_above_its_server() {
        let server = url("https://a.example/v1/mcp");
        for (resource, is_it) in [
            ("https://a.example/v1/mcp", true),
            ("https://a.example/v1/", true),
            ("https://a.example", true),
            ("https://a.example/v1/m", false),
            ("https://a.example/v1/mcp/more", false),
            ("https://b.example/v1/mcp", false),
            ("http://a.example/v1/mcp", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_for(resource, &server), is_it, "{resource}");
        }
    }

    #[test]
    fn documents_are_where_their_standards_say() {
        let places = well_known(&url("https://a.example/v1/mcp"), "oauth-protected-resource");
        assert_eq!(
            places,
            [
                "https://a.example/.well-known/oauth-protected-resource/v1/mcp",
                "https://a.example/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(well_known(&url("https://a.example/"), "x"), ["https://a.example/.well-known/x"]);
    }
}
