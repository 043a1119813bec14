//! OAuth token requests: a secret is exchanged for a short-lived access token.

use bytes::Bytes;
use domain::{Fault, FaultClass, Secret};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, Method};
use serde::Deserialize;

use crate::escape::{UNRESERVED, escape};
use crate::{Classified, ExchangeReach, GrantStep, Granted, Outgoing, classify};

/// Assumed lifetime of a token without `expires_in`; shorter than that of any provider's tokens.
const LIFE_UNKNOWN_S: u64 = 300;

/// A form that requests a token.
pub(crate) fn form(url: String, fields: &[(&str, &[u8])]) -> GrantStep {
    GrantStep::Request { outgoing: Box::new(form_to(url, fields)), reach: ExchangeReach::Cloud }
}

/// A form, not yet wrapped as a grant step.
pub(crate) fn form_to(url: String, fields: &[(&str, &[u8])]) -> Outgoing {
    let mut body = String::new();
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(name);
        body.push('=');
        escape(value, UNRESERVED, &mut body);
    }
    let content = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = vec![(CONTENT_TYPE, content), (ACCEPT, HeaderValue::from_static("application/json"))];
    Outgoing { body: vec![Bytes::from(body)], ..Outgoing::without_body(Method::POST, url, headers) }
}

/// A request to the machine's metadata service.
pub(crate) fn look(method: Method, url: String, name: HeaderName, value: HeaderValue) -> GrantStep {
    let outgoing = Outgoing::without_body(method, url, vec![(name, value)]);
    GrantStep::Request { outgoing: Box::new(outgoing), reach: ExchangeReach::Machine }
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// Some servers write numbers as strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

/// The token in an answer.
pub(crate) fn read(body: &[u8]) -> Result<GrantStep, Box<Fault>> {
    let token: Token = serde_json::from_slice(body).map_err(|_| not_a_token())?;
    let lives_s = match token.expires_in {
        Some(Seconds::Number(seconds)) => seconds,
        Some(Seconds::Text(text)) => text.parse().map_err(|_| not_a_token())?,
        None => LIFE_UNKNOWN_S,
    };
    if token.access_token.is_empty() {
        return Err(not_a_token());
    }
    Ok(GrantStep::Granted(Granted { secret: Secret::from_text(token.access_token), lives_s }))
}

fn not_a_token() -> Box<Fault> {
    let message = "The answer to the exchange of the secret holds no token.";
    let fault = Fault::new(FaultClass::Upstream, "token_unreadable", message);
    Box::new(fault.fix("Correct the address where tokens are asked for, or report it to the provider."))
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

/// Classifies `{"error": "invalid_client", "error_description"}` by the code; the description is for people.
pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let mut classified = classify::classify(status, headers, body, provider);
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return classified };
    classified.class = match refusal.error.as_str() {
        "invalid_client"
        | "invalid_grant"
        | "unauthorized_client"
        | "invalid_scope"
        | "access_denied"
        | "invalid_request"
        | "invalid_resource"
        | "invalid_target" => FaultClass::UpstreamAuth,
        "temporarily_unavailable" => FaultClass::Overloaded,
        _ => classified.class,
    };
    // The first line states the reason; ids and times follow.
    let description = refusal.error_description.unwrap_or_default();
    classified.report.message = description.lines().next().filter(|line| !line.is_empty()).map(str::to_owned);
    classified.report.code = Some(refusal.error);
    classified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_escapes_what_a_secret_may_hold() {
        let GrantStep::Request { outgoing, reach: door } =
            form("https://h/t".to_owned(), &[("a", b"x"), ("b", b"p&q =\xff~")])
        else {
            panic!("nothing was granted yet")
        };
        assert_eq!(outgoing.body.concat(), b"a=x&b=p%26q%20%3D%FF~");
        assert_eq!((outgoing.method, door), (Method::POST, ExchangeReach::Cloud));
    }

    #[test]
    fn a_token_is_read_with_its_life() {
        let life = |body: &str| match read(body.as_bytes()) {
            Ok(GrantStep::Granted(granted)) => Some((granted.secret.expose().to_vec(), granted.lives_s)),
            _ => None,
        };
        let token = || b"t".to_vec();
        assert_eq!(
            life(r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#),
            Some((token(), 3_599))
        );
        assert_eq!(life(r#"{"access_token":"t","expires_in":"86400"}"#), Some((token(), 86_400)));
        assert_eq!(life(r#"{"access_token":"t"}"#), Some((token(), LIFE_UNKNOWN_S)));
        for wrong in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"t","expires_in":"soon"}"#] {
            assert_eq!(life(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let body = Bytes::from_static(
            br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: x"}"#,
        );
        let classified = classify(401, &HeaderMap::new(), &body, "azure");
        assert_eq!(classified.class, FaultClass::UpstreamAuth);
        assert_eq!(classified.report.message.as_deref(), Some("AADSTS7000215: Invalid client secret."));
        let grant = Bytes::from_static(br#"{"error":"invalid_grant"}"#);
        assert_eq!(classify(400, &HeaderMap::new(), &grant, "x").class, FaultClass::UpstreamAuth);
        // The audience of a pool that does not exist. The exchange's parameters come from the configuration,
        // so this is not the client's fault.
        let pool = Bytes::from_static(
            br#"{"error":"invalid_target","error_description":"The target service indicated by the \"audience\" parameters is invalid."}"#,
        );
        let classified = classify(400, &HeaderMap::new(), &pool, "vertex_ai");
        assert_eq!(classified.class, FaultClass::UpstreamAuth);
        assert_eq!(classified.report.code.as_deref(), Some("invalid_target"));
        let down = Bytes::from_static(b"<html>");
        assert_eq!(classify(503, &HeaderMap::new(), &down, "x").class, FaultClass::Overloaded);
    }
}
