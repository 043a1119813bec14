//! Requests to authorization servers: documents that are read, and forms that are sent, under the address guard and bounded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::grants::{ClientProof, OauthClient};
use domain::{CallOutcome, WorkspaceId};
use egress::{Answer, Client, Destination, OutBody, Request, TargetKind};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;
use url::form_urlencoded;

use crate::answer::{CallFailure, quoted};
use crate::limits::{AUTHORIZATION_BYTES_MAX, AUTHORIZATION_REDIRECTS_MAX, AUTHORIZATION_TIME_MAX};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Who asks: with connections that no other workspace shares.
#[derive(Clone)]
pub(crate) struct Asker {
    pub client: Client,
    pub owner: WorkspaceId,
}

/// Why an authorization server gives nothing.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It says no, with its code of RFC 6749.
    Refused { error: String, description: String },
    /// It could not be reached, or its answer can't be read.
    Away(CallFailure),
}

impl Denial {
    /// What is shown of it.
    pub fn failure(self) -> CallFailure {
        match self {
            Self::Away(failure) => failure,
            Self::Refused { error, description } => {
                let (error, description) = (quoted(&error), quoted(&description));
                let text = format!("The authorization server refuses: {error} {description}");
                CallFailure::new(CallOutcome::Refused, text.trim_end())
            }
        }
    }
}

pub(crate) fn broken(what: &str) -> CallFailure {
    CallFailure::unreachable(format!("The authorization server can't be used: {what}."))
}

fn parsed(url: &str) -> Result<Url, CallFailure> {
    Url::parse(url).map_err(|_| broken("it names an address that isn't a URL"))
}

impl Asker {
    /// Whether a browser, or this gateway, may be sent to an address that a document names.
    pub fn check(&self, url: &str) -> Result<(), CallFailure> {
        let plain = url.split('?').next().unwrap_or_default();
        egress::check_base_url(plain, self.client.settings(), TargetKind::Provider)
            .map_err(|_| broken("it names an address that the gateway may not reach"))
    }

    /// Sends one request, without following redirects.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Option<Bytes>,
    ) -> Result<Answer, CallFailure> {
        let uri = Uri::try_from(url.as_str()).map_err(|_| broken("it names an address that isn't a URL"))?;
        let mut request = Request::new(method, uri);
        request.headers =
            vec![(USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION"))))];
        request.headers.extend(headers);
        if let Some(body) = body {
            request.body = OutBody::from(body);
        }
        let destination = Destination { kind: TargetKind::Provider, owner: Some(self.owner) };
        let answer = timeout(AUTHORIZATION_TIME_MAX, self.client.send(&request, destination)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| CallFailure::of(&error)),
            Err(_) => Err(CallFailure::new(
                CallOutcome::Timeout,
                "The authorization server did not answer in time.",
            )),
        }
    }

    /// Reads a document, over a few redirects, each hop under the guard; `None` where there is none.
    pub async fn document<T: DeserializeOwned>(&self, url: &str) -> Result<Option<T>, CallFailure> {
        let mut url = parsed(url)?;
        for _ in 0..=AUTHORIZATION_REDIRECTS_MAX {
            self.check(url.as_str())?;
            let answer = self.send(Method::GET, &url, vec![(ACCEPT, JSON)], None).await?;
            if answer.status.is_redirection() {
                let next = answer.headers.text("location").and_then(|to| url.join(to).ok());
                url = next.ok_or_else(|| broken("it redirects without saying where"))?;
                continue;
            }
            if answer.status.is_client_error() {
                return Ok(None);
            }
            if answer.status != StatusCode::OK {
                return Err(broken(&format!("a document has the status {}", answer.status.as_u16())));
            }
            let bytes = read(answer).await?;
            let document = serde_json::from_slice(&bytes);
            return document.map(Some).map_err(|_| broken("a document doesn't follow its standard"));
        }
        Err(broken("it redirects too often"))
    }

    /// Sends JSON, as registrations are.
    pub async fn post_json<T: DeserializeOwned>(&self, url: &str, body: &Value) -> Result<T, Denial> {
        let body = Bytes::from(body.to_string());
        let headers = vec![(ACCEPT, JSON), (CONTENT_TYPE, JSON)];
        self.post(url, headers, body).await
    }

    /// Sends a form, as clients send it to token endpoints.
    pub async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        oauth_client: &OauthClient,
        fields: &[(&str, &str)],
    ) -> Result<T, Denial> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let mut headers = vec![(ACCEPT, JSON), (CONTENT_TYPE, FORM)];
        let secret = oauth_client.secret.as_ref().and_then(|secret| secret.expose_text());
        match (oauth_client.proof, secret) {
            (ClientProof::Basic, Some(secret)) => {
                headers.push((AUTHORIZATION, basic(&oauth_client.id, secret)?))
            }
            (ClientProof::Post, Some(secret)) => {
                form.append_pair("client_id", &oauth_client.id).append_pair("client_secret", secret);
            }
            _ => {
                form.append_pair("client_id", &oauth_client.id);
            }
        }
        self.post(url, headers, Bytes::from(form.finish())).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<T, Denial> {
        self.check(url).map_err(Denial::Away)?;
        let url = parsed(url).map_err(Denial::Away)?;
        let answer = self.send(Method::POST, &url, headers, Some(body)).await.map_err(Denial::Away)?;
        let status = answer.status;
        if status.is_redirection() {
            return Err(Denial::Away(broken("it redirects POST requests")));
        }
        let bytes = read(answer).await.map_err(Denial::Away)?;
        if status.is_success() {
            let unreadable = |_| Denial::Away(broken("its answer doesn't follow its standard"));
            return serde_json::from_slice(&bytes).map_err(unreadable);
        }
        let written: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |name| written.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let error = text("error");
        if status.is_client_error() && !error.is_empty() {
            return Err(Denial::Refused { error, description: text("error_description") });
        }
        Err(Denial::Away(broken(&format!("it answers with status {}", status.as_u16()))))
    }
}

async fn read(answer: Answer) -> Result<Bytes, CallFailure> {
    let reading = timeout(AUTHORIZATION_TIME_MAX, answer.body.read_to_end(AUTHORIZATION_BYTES_MAX)).await;
    match reading {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(broken("its answer is too long, or broke off")),
        Err(_) => {
            Err(CallFailure::new(CallOutcome::Timeout, "The authorization server did not answer in time."))
        }
    }
}

/// Both parts are encoded as in a form first (RFC 6749, section 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, Denial> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {pair}"));
    let mut value = value.map_err(|_| Denial::Away(broken("its client can't be named in a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_its_secret_are_encoded_before_they_are_joined() {
        let value = basic("a b", "c:d").unwrap();
        let pair = STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(pair, b"a+b:c%3Ad");
    }

    #[test]
    fn what_a_server_says_is_one_line() {
        let denial = Denial::Refused { error: "invalid\ngrant".to_owned(), description: String::new() };
        assert_eq!(denial.failure().text, "The authorization server refuses: invalid grant");
    }
}
