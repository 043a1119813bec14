//! Signing a project in at an authorization server: the client that the gateway is there, the address that a person opens, and the
//! tokens that a code or a refresh token is redeemed for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::grants::{ClientProof, McpGrant, McpOauth, OauthClient, Renewal};
use domain::{Secret, WorkspaceId};
use egress::Client;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::discovery::{OFFLINE_ACCESS, ServerMetadata, metadata_of, resource_of};
use super::wire::{Asker, Denial, broken};
use crate::answer::CallFailure;
use crate::limits::{AUTHORIZATION_FIELD_BYTES_MAX, TOKEN_BYTES_MAX};

/// What a sign-in begins with.
#[derive(Debug, Clone)]
pub struct SignInOrder {
    /// The MCP server's.
    pub url: String,
    pub owner: WorkspaceId,
    pub oauth: McpOauth,
    /// Of the client that the project registered itself.
    pub client_secret: Option<Arc<Secret>>,
    /// The scopes that calls lacked, with those that were given before.
    pub wanted_scopes: Vec<String>,
    /// Where the browser comes back to.
    pub redirect: String,
    /// The client of an earlier sign-in, with its issuer and the address that it is registered with.
    pub known: Option<(OauthClient, String, String)>,
}

/// What was found out for a sign-in.
#[derive(Debug, Clone)]
pub struct SignInPlan {
    pub authorization_endpoint: String,
    pub party: Party,
}

/// The two ends of a sign-in, as they stay the same until tokens are given.
#[derive(Debug, Clone)]
pub struct Party {
    pub issuer: String,
    pub token_endpoint: String,
    /// Answers of the server without its issuer are refused (RFC 9207).
    pub names_issuer: bool,
    pub client: OauthClient,
    pub redirect: String,
    pub resource: String,
    pub scopes: Vec<String>,
}

/// What redeems a person's consent.
#[derive(Debug, Clone)]
pub struct CodeOrder {
    pub owner: WorkspaceId,
    pub party: Party,
    pub code: Arc<Secret>,
    pub verifier: Arc<Secret>,
    pub now_unix_ms: u64,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
    scope: Option<String>,
}

/// Finds out where a person signs in, and registers the gateway there unless it is known.
///
/// # Errors
/// The MCP server or its authorization server can't be reached, or offers less than is needed.
pub async fn plan_sign_in(client: &Client, order: SignInOrder) -> Result<SignInPlan, CallFailure> {
    let asker = Asker { client: client.clone(), owner: order.owner };
    let server = Url::parse(&order.url).map_err(|_| broken("the server's address isn't a URL"))?;
    let resource = resource_of(&asker, &server).await?;
    let metadata = metadata_of(&asker, &resource).await?;
    let scopes = requested(&order, resource.scopes, metadata.has_offline_access());
    let oauth_client = client_of(&asker, &order, &metadata, &scopes).await?;
    let party = Party {
        issuer: metadata.issuer,
        token_endpoint: metadata.token_endpoint,
        names_issuer: metadata.authorization_response_iss_parameter_supported,
        client: oauth_client,
        redirect: order.redirect,
        resource: resource.name,
        scopes,
    };
    Ok(SignInPlan { authorization_endpoint: metadata.authorization_endpoint, party })
}

/// What is requested: the scopes of the project alone, where it states some. What a server names, first or for a call that it
/// refused, never widens those.
fn requested(order: &SignInOrder, named: Vec<String>, has_offline_access: bool) -> Vec<String> {
    if !order.oauth.scopes.is_empty() {
        return order.oauth.scopes.clone();
    }
    let mut scopes = named;
    for wanted in &order.wanted_scopes {
        if !scopes.contains(wanted) {
            scopes.push(wanted.clone());
        }
    }
    // By itself the scope would take the place of those that the server gives by default.
    let lacks_it = !scopes.is_empty() && scopes.iter().all(|scope| scope != OFFLINE_ACCESS);
    if has_offline_access && lacks_it {
        scopes.push(OFFLINE_ACCESS.to_owned());
    }
    scopes
}

impl SignInPlan {
    /// The address that a person opens.
    ///
    /// # Errors
    /// The endpoint is no URL.
    pub fn address(&self, state: &Secret, verifier: &Secret) -> Result<String, CallFailure> {
        let endpoint = Url::parse(&self.authorization_endpoint);
        let mut url = endpoint.map_err(|_| broken("its authorization endpoint isn't a URL"))?;
        let challenge = URL_SAFE_NO_PAD.encode(proof::Digest::of(&[verifier.expose()]).0);
        let party = &self.party;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &party.client.id)
            .append_pair("redirect_uri", &party.redirect)
            .append_pair("state", state.expose_text().unwrap_or_default())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &party.resource);
        if !party.scopes.is_empty() {
            query.append_pair("scope", &party.scopes.join(" "));
        }
        drop(query);
        Ok(url.into())
    }
}

async fn client_of(
    asker: &Asker,
    order: &SignInOrder,
    metadata: &ServerMetadata,
    scopes: &[String],
) -> Result<OauthClient, CallFailure> {
    let methods = &metadata.token_endpoint_auth_methods_supported;
    let takes = |method: &str| methods.iter().any(|one| one == method);
    if let Some(id) = order.oauth.client_id.clone() {
        let proof = match &order.client_secret {
            None => ClientProof::None,
            // Without a list, a server takes the header (RFC 8414, section 2).
            Some(_) if methods.is_empty() || takes("client_secret_basic") => ClientProof::Basic,
            Some(_) => ClientProof::Post,
        };
        return Ok(OauthClient { id, secret: order.client_secret.clone(), proof });
    }
    let known = order.known.clone();
    let known = known
        .filter(|(_, issuer, redirect)| *issuer == metadata.issuer && *redirect == order.redirect)
        .map(|(client, ..)| client);
    if let Some(known) = known {
        return Ok(known);
    }
    let Some(endpoint) = &metadata.registration_endpoint else {
        return Err(broken(
            "it doesn't register clients automatically: send the client_id of one that you registered",
        ));
    };
    let proof = if methods.is_empty() || takes("none") { "none" } else { "client_secret_basic" };
    let proof = if proof != "none" && !takes(proof) { "client_secret_post" } else { proof };
    let mut body = json!({
        "client_name": "Tidegate", "redirect_uris": [order.redirect], "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": proof,
    });
    if let (Some(body), false) = (body.as_object_mut(), scopes.is_empty()) {
        body.insert("scope".to_owned(), json!(scopes.join(" ")));
    }
    let registered = asker.post_json::<Registered>(endpoint, &body).await.map_err(Denial::failure)?;
    registered.client()
}

impl Registered {
    fn client(self) -> Result<OauthClient, CallFailure> {
        let secret = self.client_secret.filter(|secret| !secret.is_empty());
        let length = self.client_id.len().max(secret.as_ref().map_or(0, String::len));
        if self.client_id.is_empty() || length > AUTHORIZATION_FIELD_BYTES_MAX {
            return Err(broken("it registers a client without an id, or with a very long one"));
        }
        let proof = match (&secret, self.token_endpoint_auth_method.as_deref()) {
            (None, _) | (_, Some("none")) => ClientProof::None,
            (Some(_), None | Some("client_secret_basic")) => ClientProof::Basic,
            (Some(_), Some("client_secret_post")) => ClientProof::Post,
            _ => {
                return Err(broken(
                    "it registers clients with an authentication method that isn't supported",
                ));
            }
        };
        let secret = secret.map(|secret| Arc::new(Secret::from_text(secret)));
        Ok(OauthClient { id: self.client_id, secret, proof })
    }
}

/// Redeems the code of a person's consent.
///
/// # Errors
/// The authorization server refuses it, or does not answer as its standard says.
pub async fn redeem_code(client: &Client, order: CodeOrder) -> Result<McpGrant, CallFailure> {
    let asker = Asker { client: client.clone(), owner: order.owner };
    let party = order.party;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", order.code.expose_text().unwrap_or_default()),
        ("redirect_uri", party.redirect.as_str()),
        ("code_verifier", order.verifier.expose_text().unwrap_or_default()),
        ("resource", party.resource.as_str()),
    ];
    let sent = asker.post_form::<Tokens>(&party.token_endpoint, &party.client, &fields).await;
    let tokens = sent.map_err(Denial::failure)?.checked()?;
    Ok(tokens.granted(party, None, order.now_unix_ms))
}

/// Renews a grant by its refresh token.
pub(crate) async fn renew(
    client: &Client,
    owner: WorkspaceId,
    grant: &McpGrant,
    now_unix_ms: u64,
) -> Renewed {
    let Some(refresh) = grant.refresh.clone() else {
        return Renewed { renewal: Renewal::Refused, why: None };
    };
    let asker = Asker { client: client.clone(), owner };
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose_text().unwrap_or_default()),
        ("resource", grant.resource.as_str()),
    ];
    let sent = asker.post_form::<Tokens>(&grant.token_endpoint, &grant.client, &fields).await;
    let checked = sent.and_then(|tokens| tokens.checked().map_err(Denial::Away));
    match checked {
        Ok(tokens) => {
            let party = Party {
                issuer: grant.issuer.clone(),
                token_endpoint: grant.token_endpoint.clone(),
                names_issuer: false,
                client: grant.client.clone(),
                redirect: grant.redirect.clone(),
                resource: grant.resource.clone(),
                scopes: grant.scopes.clone(),
            };
            let renewed = tokens.granted(party, Some(refresh), now_unix_ms);
            Renewed { renewal: Renewal::Renewed(Box::new(renewed)), why: None }
        }
        Err(Denial::Refused { error, .. }) if is_final(&error) => {
            Renewed { renewal: Renewal::Refused, why: None }
        }
        Err(denial) => Renewed { renewal: Renewal::NotMade, why: Some(denial.failure()) },
    }
}

/// What became of a renewal, and why there was none.
pub(crate) struct Renewed {
    pub renewal: Renewal,
    pub why: Option<CallFailure>,
}

/// Whether the same refresh token will never be taken again.
fn is_final(error: &str) -> bool {
    matches!(
        error,
        "invalid_grant" | "invalid_client" | "unauthorized_client" | "invalid_target" | "invalid_scope"
    )
}

impl Tokens {
    fn checked(self) -> Result<Self, CallFailure> {
        let is_sendable = |token: &str| {
            !token.is_empty()
                && token.len() <= TOKEN_BYTES_MAX
                && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !self.token_type.eq_ignore_ascii_case("bearer") {
            return Err(broken("it issues tokens of a type other than Bearer"));
        }
        let refresh =
            self.refresh_token.as_deref().is_none_or(|token| token.is_empty() || is_sendable(token));
        if !is_sendable(&self.access_token) || !refresh {
            return Err(broken("it issues tokens that can't be sent"));
        }
        Ok(self)
    }

    /// A server that gives no further refresh token lets the last one be used again.
    fn granted(self, party: Party, refresh: Option<Arc<Secret>>, now_unix_ms: u64) -> McpGrant {
        let given = self.refresh_token.filter(|token| !token.is_empty());
        let given = given.map(|token| Arc::new(Secret::from_text(token)));
        let scopes = match self.scope {
            Some(scope) => scope.split_ascii_whitespace().map(str::to_owned).collect(),
            None => party.scopes,
        };
        let lasts_ms = self.expires_in.map(|seconds| seconds.saturating_mul(1_000));
        McpGrant {
            access: Arc::new(Secret::from_text(self.access_token)),
            refresh: given.or(refresh),
            expires_unix_ms: lasts_ms.map(|lasts_ms| now_unix_ms.saturating_add(lasts_ms)),
            scopes,
            issuer: party.issuer,
            token_endpoint: party.token_endpoint,
            client: party.client,
            redirect: party.redirect,
            resource: party.resource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SignInPlan {
        let client = OauthClient { id: "c".to_owned(), secret: None, proof: ClientProof::None };
        let party = Party {
            issuer: "https://as.example".to_owned(),
            token_endpoint: "https://as.example/token".to_owned(),
            names_issuer: true,
            client,
            redirect: "https://gate.example/back".to_owned(),
            resource: "https://mcp.example/mcp".to_owned(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
        };
        SignInPlan { authorization_endpoint: "https://as.example/go?tenant=1".to_owned(), party }
    }

    #[test]
    fn a_person_is_sent_with_a_challenge_and_the_resource() {
        let verifier = Secret::from_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        let address = plan().address(&Secret::from_text("s".to_owned()), &verifier).unwrap();
        let url = Url::parse(&address).unwrap();
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        for (name, value) in [
            ("tenant", "1"),
            ("state", "s"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("resource", "https://mcp.example/mcp"),
            ("scope", "read write"),
        ] {
            assert!(query.contains(&(name.to_owned(), value.to_owned())), "{name}: {address}");
        }
    }

    #[test]
    fn a_project_that_states_its_scopes_gives_no_others() {
        let order = |scopes: &[&str], wanted: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            SignInOrder {
                url: "https://mcp.example/mcp".to_owned(),
                owner: WorkspaceId::new(0, [0; 10]),
                oauth: McpOauth { scopes: owned(scopes), client_id: None, has_client_secret: false },
                client_secret: None,
                wanted_scopes: owned(wanted),
                redirect: "https://gate.example/back".to_owned(),
                known: None,
            }
        };
        let named = || vec!["read".to_owned()];
        assert_eq!(requested(&order(&["a"], &["write"]), named(), true), ["a"]);
        assert_eq!(requested(&order(&[], &["read", "write"]), named(), false), ["read", "write"]);
        assert_eq!(requested(&order(&[], &[]), named(), true), ["read", "offline_access"]);
        assert_eq!(requested(&order(&[], &[]), Vec::new(), true), Vec::<String>::new());
    }

    #[test]
    fn tokens_that_can_not_be_sent_are_refused() {
        let read = |text: &str| serde_json::from_str::<Tokens>(text).unwrap().checked();
        assert!(read(r#"{"access_token":"a","token_type":"bearer"}"#).is_ok());
        for wrong in [
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"a\nb","token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","token_type":"Bearer","refresh_token":"a b"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_refresh_token_stays_where_none_is_given() {
        let tokens: Tokens =
            serde_json::from_str(r#"{"access_token":"a","token_type":"Bearer","expires_in":10}"#).unwrap();
        let before = Some(Arc::new(Secret::from_text("r".to_owned())));
        let grant = tokens.granted(plan().party, before, 5);
        assert_eq!(grant.expires_unix_ms, Some(10_005));
        assert_eq!(grant.refresh.unwrap().expose(), b"r");
        assert_eq!(grant.scopes, ["read", "write"]);
    }
}
