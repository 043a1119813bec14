//! Google's workload identity federation: another issuer's token is exchanged for a Google token, and that
//! for a service account's token if the file names one.

use bytes::Bytes;
use domain::{AuthKind, Fault, FaultClass, Secret};
use gemini::read_gemini_error;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::google::{SCOPE, endpoint, is_google, unusable};
use super::{bearer, federated_token, file, oauth};
use crate::retry_after::moment_unix_ms;
use crate::{Classified, ExchangeReach, GrantStep, Granted, Outgoing, Signer};

const ENDPOINT: &str = "https://sts.googleapis.com/v1/token";
const GRANT: &[u8] = b"urn:ietf:params:oauth:grant-type:token-exchange";
const REQUESTED: &[u8] = b"urn:ietf:params:oauth:token-type:access_token";
const LIVES: &str = "3600s";

/// The fields of an `external_account` file that are read.
#[derive(Deserialize)]
struct Account {
    #[serde(rename = "type")]
    kind: String,
    audience: String,
    subject_token_type: String,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    credential_source: Option<Source>,
    /// Our own extension: the token itself, where no credential source gives its location.
    subject_token: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

/// Reads a file, if the token is in one; then makes one request, or two if a service account is named.
pub(super) fn grant(signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    let account = read(signer.secret)?;
    let Some((content, answers)) = federated_token(signer, answers) else {
        let named = account.credential_source.as_ref().and_then(|source| source.file.as_ref());
        return file(signer, named);
    };
    match (answers, &account.service_account_impersonation_url) {
        ([], _) => account.ask(signer, content),
        ([answer], None) => oauth::read(answer),
        ([answer], Some(url)) => impersonate(signer, url, answer),
        ([_, answer, ..], _) => read_impersonated(answer, signer.unix_s),
    }
}

fn read(secret: &Secret) -> Result<Account, Box<Fault>> {
    let account: Option<Account> = serde_json::from_slice(secret.expose()).ok();
    account.filter(|account| account.kind == "external_account").ok_or_else(|| {
        let message = "The secret isn't a configuration of a workload identity pool.";
        unusable(message, "Rotate the credential with the JSON that gcloud made for the pool, whole.")
    })
}

impl Account {
    fn ask(&self, signer: &Signer<'_>, content: &[u8]) -> Result<GrantStep, Box<Fault>> {
        let token_url = self.token_url.as_deref().unwrap_or(ENDPOINT);
        let url = endpoint(token_url, signer.hosting.token_url.as_deref())?;
        let is_filed = signer.hosting.auth == AuthKind::WorkloadIdentityFile;
        let token = if is_filed {
            self.token_in_file(content)
        } else {
            self.subject_token.clone().map(String::into_bytes)
        };
        let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
            let message = "There is no token of another issuer beside the configuration of the pool.";
            unusable(message, "Put the token into the JSON as subject_token, or use a file of the machine.")
        })?;
        let fields: [(&str, &[u8]); 6] = [
            ("grant_type", GRANT),
            ("audience", self.audience.as_bytes()),
            ("scope", SCOPE.as_bytes()),
            ("requested_token_type", REQUESTED),
            ("subject_token", &token),
            ("subject_token_type", self.subject_token_type.as_bytes()),
        ];
        Ok(oauth::form(url.to_owned(), &fields))
    }

    /// The token in a file's content: the whole text, or a field of its JSON.
    fn token_in_file(&self, content: &[u8]) -> Option<Vec<u8>> {
        let format = self.credential_source.as_ref().and_then(|source| source.format.as_ref());
        let is_json = format.is_some_and(|format| format.kind.as_deref() == Some("json"));
        let Some(format) = format.filter(|_| is_json) else { return Some(content.to_vec()) };
        let fields: Value = serde_json::from_slice(content).ok()?;
        let token = fields.get(format.subject_token_field_name.as_deref()?)?.as_str()?;
        Some(token.as_bytes().to_vec())
    }
}

/// Exchanges the federated token for the service account's.
fn impersonate(signer: &Signer<'_>, url: &str, answer: &[u8]) -> Result<GrantStep, Box<Fault>> {
    let GrantStep::Granted(pooled) = oauth::read(answer)? else { return Err(no_token()) };
    if !is_google(url) && !signer.hosting.token_url.as_deref().is_some_and(|own| is_beside(own, url)) {
        let message = "The configuration names an address for its service account that is not Google's.";
        return Err(unusable(message, "Use the configuration as gcloud made it."));
    }
    let json = HeaderValue::from_static("application/json");
    let headers = vec![(CONTENT_TYPE, json.clone()), (ACCEPT, json)];
    let body = Bytes::from(json!({"scope": [SCOPE], "lifetime": LIVES}).to_string());
    let mut outgoing =
        Outgoing { body: vec![body], ..Outgoing::without_body(Method::POST, url.to_owned(), headers) };
    bearer::sign(&mut outgoing, &pooled.secret)?;
    Ok(GrantStep::Request { outgoing: Box::new(outgoing), reach: ExchangeReach::Cloud })
}

/// Whether an address has the host of the owner's `token_url`, which was checked when the credential was
/// saved.
fn is_beside(own: &str, url: &str) -> bool {
    let parts = |url: &str| {
        let url = url.parse::<Uri>().ok()?;
        Some((url.scheme_str()?.to_owned(), url.authority()?.as_str().to_owned()))
    };
    parts(own).is_some_and(|own| parts(url) == Some(own))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

fn read_impersonated(body: &[u8], now_unix_s: u64) -> Result<GrantStep, Box<Fault>> {
    let token: Impersonated = serde_json::from_slice(body).map_err(|_| no_token())?;
    let expires_s = moment_unix_ms(&token.expire_time).ok_or_else(no_token)? / 1_000;
    let lives_s = expires_s.saturating_sub(now_unix_s);
    Ok(GrantStep::Granted(Granted { secret: Secret::from_text(token.access_token), lives_s }))
}

fn no_token() -> Box<Fault> {
    let message = "The answer for the service account holds no token.";
    let fault = Fault::new(FaultClass::Upstream, "token_unreadable", message);
    Box::new(fault.fix("Report it to the provider."))
}

/// Classifies a refusal by the token exchange, or by service account impersonation, which answers in the
/// error format of Google's APIs.
pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let mut classified = oauth::classify(status, headers, body, provider);
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if answer.get("error").is_some_and(Value::is_object) {
        let (report, class) = read_gemini_error(Some(status), body);
        classified.class = match class {
            FaultClass::UpstreamPermission | FaultClass::UpstreamNotFound | FaultClass::BadRequest => {
                FaultClass::UpstreamAuth
            }
            class => class,
        };
        (classified.report.message, classified.report.code) = (report.message, report.code);
    }
    classified
}

#[cfg(test)]
mod tests {
    use domain::Hosting;

    use super::*;
    use crate::ExchangeReach;

    const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x";
    const NOW: u64 = 1_795_248_900;

    fn account(more: &Value) -> Value {
        let mut account = json!({
            "type": "external_account", "audience": POOL, "subject_token": "canary",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": ENDPOINT,
        });
        for (name, value) in more.as_object().unwrap() {
            account[name] = value.clone();
        }
        account
    }

    fn step(account: &Value, hosting: &Hosting, answers: &[&'static str]) -> Result<GrantStep, Box<Fault>> {
        let secret = Secret::from_text(account.to_string());
        let answers: Vec<Bytes> =
            answers.iter().map(|answer| Bytes::from_static(answer.as_bytes())).collect();
        super::super::google::grant(&Signer { secret: &secret, hosting, unix_s: NOW }, &answers)
    }

    fn exchange_request(
        account: &Value,
        hosting: &Hosting,
        answers: &[&'static str],
    ) -> (String, String, Outgoing) {
        let Ok(GrantStep::Request { outgoing, reach: ExchangeReach::Cloud }) =
            step(account, hosting, answers)
        else {
            panic!("more was to be asked")
        };
        let body = String::from_utf8(outgoing.body.concat()).unwrap();
        (outgoing.url.clone(), body, *outgoing)
    }

    fn hosting(auth: AuthKind) -> Hosting {
        Hosting { auth, ..Hosting::default() }
    }

    fn granted(found: Result<GrantStep, Box<Fault>>) -> (String, u64) {
        let Ok(GrantStep::Granted(granted)) = found else { panic!("it was granted") };
        (granted.secret.expose_text().unwrap().to_owned(), granted.lives_s)
    }

    #[test]
    fn another_issuers_token_is_exchanged_for_the_pools() {
        let own = hosting(AuthKind::WorkloadIdentity);
        let (url, body, _) = exchange_request(&account(&json!({})), &own, &[]);
        assert_eq!(url, ENDPOINT);
        let fields: Vec<&str> = body.split('&').collect();
        assert_eq!(fields[0], "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange");
        assert!(fields[1].starts_with("audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2F"), "{body}");
        assert_eq!(fields[2], "scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform");
        assert_eq!(fields[4], "subject_token=canary");
        let answer = r#"{"access_token":"t","expires_in":3599}"#;
        let found = step(&account(&json!({})), &own, &[answer]);
        assert_eq!(granted(found), ("t".to_owned(), 3_599));
    }

    #[test]
    fn a_service_account_that_is_named_lends_its_token() {
        let own = hosting(AuthKind::WorkloadIdentity);
        let url =
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
        let named = account(&json!({"service_account_impersonation_url": url}));
        let pooled = r#"{"access_token":"t","expires_in":3599}"#;
        let (called_url, body, outgoing) = exchange_request(&named, &own, &[pooled]);
        assert_eq!((called_url.as_str(), outgoing.method), (url, Method::POST));
        let expected = json!({"scope": [SCOPE], "lifetime": "3600s"});
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
        let signed = outgoing.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(signed.1.as_bytes(), b"Bearer t");
        let lent = r#"{"accessToken":"u","expireTime":"2026-11-21T08:16:00Z"}"#;
        assert_eq!(granted(step(&named, &own, &[pooled, lent])), ("u".to_owned(), 60));
        let elsewhere = account(&json!({"service_account_impersonation_url": "https://evil.example/x"}));
        let fault = step(&elsewhere, &own, &[pooled]).err().unwrap();
        assert_eq!(fault.code, "credential_unusable");
    }

    #[test]
    fn a_token_in_a_file_is_read_as_its_form_says() {
        let own = hosting(AuthKind::WorkloadIdentityFile);
        let source = |more: Value| account(&json!({"credential_source": more}));
        let text = source(json!({"file": "/run/t"}));
        assert!(matches!(step(&text, &own, &[]), Ok(GrantStep::Read { path }) if path == "/run/t"));
        assert!(exchange_request(&text, &own, &["tok\n"]).1.contains("&subject_token=tok&"));
        let format = json!({"type": "json", "subject_token_field_name": "id"});
        let field = source(json!({"file": "/run/t", "format": format}));
        assert!(exchange_request(&field, &own, &[r#"{"id":"tok"}"#]).1.contains("&subject_token=tok&"));
        assert_eq!(step(&field, &own, &["tok"]).err().unwrap().code, "credential_unusable");
        let over = Hosting { token_file: Some("/run/own".to_owned()), ..own.clone() };
        assert!(matches!(step(&text, &over, &[]), Ok(GrantStep::Read { path }) if path == "/run/own"));
        assert_eq!(step(&account(&json!({})), &own, &[]).err().unwrap().code, "credential_incomplete");
    }

    #[test]
    fn what_is_no_configuration_of_a_pool_is_told_without_its_text() {
        let own = hosting(AuthKind::WorkloadIdentity);
        for wrong in [
            account(&json!({"type": "service_account"})),
            account(&json!({"audience": null})),
            account(&json!({"subject_token": null, "client_secret": "canary"})),
            account(&json!({"token_url": "https://evil.example/token"})),
        ] {
            let fault = step(&wrong, &own, &[]).err().unwrap();
            assert_eq!(fault.code, "credential_unusable", "{wrong}");
            assert!(!fault.to_string().contains("canary"), "{fault}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_form_that_it_came_in() {
        let classified = |status: u16, body: &'static str| {
            let found = classify(status, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x");
            (found.class, found.report.message.unwrap_or_default())
        };
        let exchange = r#"{"error":"invalid_grant","error_description":"The audience does not match."}"#;
        assert_eq!(
            classified(400, exchange),
            (FaultClass::UpstreamAuth, "The audience does not match.".to_owned())
        );
        let denied = r#"{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied","status":"PERMISSION_DENIED"}}"#;
        let (class, message) = classified(403, denied);
        assert_eq!(class, FaultClass::UpstreamAuth);
        assert!(message.contains("getAccessToken"), "{message}");
        assert_eq!(classified(503, "<html>").0, FaultClass::Overloaded);
    }
}
