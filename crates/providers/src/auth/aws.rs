//! Temporary AWS credentials: of a role that access keys or a federated token may assume (STS), or of the
//! machine's instance role (IMDS).

use bytes::Bytes;
use domain::{AuthKind, Fault, FaultClass, Hosting, Secret};
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::json;

use super::{bearer, federated_token, file, needed, no_such_kind, oauth, sigv4};
use crate::escape::{UNRESERVED, escape};
use crate::retry_after::moment_unix_ms;
use crate::{Classified, ExchangeReach, GrantStep, Granted, Outgoing, Signer, classify, missing};

/// The role session name, where the `config` sets none.
const SESSION: &str = "tidegate";
const MACHINE: &str = "http://169.254.169.254/latest";
const MACHINE_KEYS: &str = "http://169.254.169.254/latest/meta-data/iam/security-credentials/";
const MACHINE_LIFE: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const MACHINE_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// The domains of AWS endpoints; the label before them is the region.
const DOMAINS: [&str; 2] = [".amazonaws.com", ".api.aws"];
/// Lifetime of the IMDS session token, which one exchange uses.
const MACHINE_LIFE_S: &str = "60";

/// Signs with the service's API key, or else with access keys (SigV4) for the service of this name.
pub(crate) fn sign(
    outgoing: &mut Outgoing,
    signer: &Signer<'_>,
    service: &'static str,
) -> Result<(), Box<Fault>> {
    if signer.hosting.auth == AuthKind::ApiKey {
        return bearer::sign(outgoing, signer.secret);
    }
    let region = region(signer.hosting, &outgoing.url)?.to_owned();
    sigv4::sign(outgoing, signer.secret, sigv4::Scope { region: &region, service }, signer.unix_s)
}

/// The next step towards temporary access keys.
pub(crate) fn grant(base_url: &str, signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    match signer.hosting.auth {
        AuthKind::IamRole => assume_role(signer, region(signer.hosting, base_url)?, answers),
        AuthKind::WorkloadIdentity | AuthKind::WorkloadIdentityFile => {
            assume_role_by_token(signer, region(signer.hosting, base_url)?, answers)
        }
        AuthKind::ManagedIdentity => machine(signer, answers),
        kind => Err(no_such_kind(kind)),
    }
}

/// The account's region: from the `config`, or else from the host name.
pub(crate) fn region<'a>(hosting: &'a Hosting, url: &'a str) -> Result<&'a str, Box<Fault>> {
    let host = || url.split_once("://")?.1.split(['/', ':']).next();
    let in_host = || {
        let host = host()?;
        let own = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
        own.rsplit_once('.').map(|(_, region)| region)
    };
    // The region becomes part of a host name that secrets are sent to.
    let is_label = |region: &&str| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    hosting.region.as_deref().or_else(in_host).filter(is_label).ok_or_else(|| {
        let message = "The credential has no region, which its signatures need.";
        let fault = Fault::new(FaultClass::UpstreamAuth, "credential_incomplete", message);
        Box::new(fault.fix("Give its region, such as us-east-1.").should_retry(false))
    })
}

/// `AssumeRole`: a form signed with access keys; the answer has the role's keys.
fn assume_role(signer: &Signer<'_>, region: &str, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    if let Some(answer) = answers.last() {
        return read_xml(answer, signer.unix_s);
    }
    let hosting = signer.hosting;
    let role = needed(hosting.role_arn.as_ref(), "role_arn")?;
    let mut fields = lending("AssumeRole", role, hosting);
    if let Some(external_id) = &hosting.external_id {
        fields.push(("ExternalId", external_id.as_bytes()));
    }
    let mut outgoing = sts_request(hosting, region, &fields);
    sigv4::sign(&mut outgoing, signer.secret, sigv4::Scope { region, service: "sts" }, signer.unix_s)?;
    Ok(GrantStep::Request { outgoing: Box::new(outgoing), reach: ExchangeReach::Cloud })
}

/// `AssumeRoleWithWebIdentity`: an unsigned form with a federated token; the answer has the role's keys.
fn assume_role_by_token(
    signer: &Signer<'_>,
    region: &str,
    answers: &[Bytes],
) -> Result<GrantStep, Box<Fault>> {
    let Some((token, answers)) = federated_token(signer, answers) else { return file(signer, None) };
    if let Some(answer) = answers.last() {
        return read_xml(answer, signer.unix_s);
    }
    let hosting = signer.hosting;
    let role = needed(hosting.role_arn.as_ref(), "role_arn")?;
    let mut fields = lending("AssumeRoleWithWebIdentity", role, hosting);
    fields.push(("WebIdentityToken", token));
    let outgoing = sts_request(hosting, region, &fields);
    Ok(GrantStep::Request { outgoing: Box::new(outgoing), reach: ExchangeReach::Cloud })
}

fn lending<'a>(action: &'a str, role: &'a str, hosting: &'a Hosting) -> Vec<(&'static str, &'a [u8])> {
    vec![
        ("Action", action.as_bytes()),
        ("Version", b"2011-06-15"),
        ("RoleArn", role.as_bytes()),
        ("RoleSessionName", hosting.session_name.as_deref().unwrap_or(SESSION).as_bytes()),
    ]
}

fn sts_request(hosting: &Hosting, region: &str, fields: &[(&str, &[u8])]) -> Outgoing {
    let usual = || format!("https://sts.{region}.amazonaws.com/");
    let mut outgoing = oauth::form_to(hosting.token_url.clone().unwrap_or_else(usual), fields);
    // Without `Accept`, STS answers in XML, the documented format.
    outgoing.headers.retain(|(name, _)| *name != ACCEPT);
    outgoing
}

fn read_xml(body: &Bytes, now_unix_s: u64) -> Result<GrantStep, Box<Fault>> {
    let text = std::str::from_utf8(body).map_err(|_| no_keys())?;
    let keys = element(text, "Credentials").ok_or_else(no_keys)?;
    let part = |name: &str| element(keys, name).ok_or_else(no_keys);
    granted(
        part("AccessKeyId")?,
        part("SecretAccessKey")?,
        part("SessionToken")?,
        part("Expiration")?,
        now_unix_s,
    )
}

/// The content of the first element with this name. It is used for ids, keys and times, which contain neither
/// markup nor escapes.
pub(crate) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim()).filter(|inner| !inner.is_empty())
}

/// The instance metadata service, version 2: a session token, then the role's name, then the role's keys.
fn machine(signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    let token = || {
        let mut value = answers.first().and_then(|token| HeaderValue::from_bytes(token.trim_ascii()).ok())?;
        value.set_sensitive(true);
        Some(value)
    };
    match answers {
        [] => {
            let life = HeaderValue::from_static(MACHINE_LIFE_S);
            Ok(oauth::look(Method::PUT, format!("{MACHINE}/api/token"), MACHINE_LIFE, life))
        }
        [_] => {
            let token = token().ok_or_else(no_keys)?;
            Ok(oauth::look(Method::GET, MACHINE_KEYS.to_owned(), MACHINE_TOKEN, token))
        }
        [_, role] => {
            let token = token().ok_or_else(no_keys)?;
            let role =
                std::str::from_utf8(role).ok().and_then(|text| text.lines().next()).ok_or_else(no_keys)?;
            let mut url = MACHINE_KEYS.to_owned();
            escape(role.trim().as_bytes(), UNRESERVED, &mut url);
            Ok(oauth::look(Method::GET, url, MACHINE_TOKEN, token))
        }
        [_, _, answer, ..] => {
            let keys: Lent = serde_json::from_slice(answer).map_err(|_| no_keys())?;
            granted(&keys.id, &keys.secret, &keys.token, &keys.expiration, signer.unix_s)
        }
    }
}

#[derive(Deserialize)]
struct Lent {
    #[serde(rename = "AccessKeyId")]
    id: String,
    #[serde(rename = "SecretAccessKey")]
    secret: String,
    #[serde(rename = "Token")]
    token: String,
    #[serde(rename = "Expiration")]
    expiration: String,
}

/// Temporary keys sign like any other access keys.
fn granted(
    id: &str,
    secret: &str,
    token: &str,
    expiration: &str,
    now_unix_s: u64,
) -> Result<GrantStep, Box<Fault>> {
    let expires_s = moment_unix_ms(expiration).ok_or_else(no_keys)? / 1_000;
    let keys = json!({"access_key_id": id, "secret_access_key": secret, "session_token": token});
    let lives_s = expires_s.saturating_sub(now_unix_s);
    Ok(GrantStep::Granted(Granted { secret: Secret::from_text(keys.to_string()), lives_s }))
}

fn no_keys() -> Box<Fault> {
    let message = "The answer to the request for temporary keys holds none.";
    let fault = Fault::new(FaultClass::Upstream, "token_unreadable", message);
    Box::new(fault.fix("Correct the address where roles are asked for, or report it to the provider."))
}

/// Classifies `<Error><Code>AccessDenied</Code><Message>…` by the code; the message is for people.
pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let mut classified = classify::classify(status, headers, body, provider);
    classified.report.message = None;
    let text = std::str::from_utf8(body).unwrap_or_default();
    let Some(code) = element(text, "Code") else {
        // The metadata service says no more than that there is nothing.
        if matches!(status, 400..=404) {
            classified.class = FaultClass::UpstreamAuth;
        }
        return classified;
    };
    classified.class = match code {
        "Throttling" | "ThrottlingException" => FaultClass::RateLimit,
        "ServiceUnavailable" => FaultClass::Overloaded,
        // The token's issuer did not answer AWS.
        "IDPCommunicationError" => FaultClass::Upstream,
        _ if (400..500).contains(&status) => FaultClass::UpstreamAuth,
        _ => classified.class,
    };
    classified.fix = missing::amazon(Some(code), text);
    classified.report.code = Some(code.to_owned());
    // The lines after the first repeat what was signed, including the session token.
    classified.report.message =
        element(text, "Message").and_then(|message| message.lines().next()).map(str::to_owned);
    classified
}

#[cfg(test)]
mod tests {
    use domain::AuthKind;

    use super::*;

    const KEYS: &str = r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"canary"}"#;

    fn hosting(auth: AuthKind) -> Hosting {
        let some = |text: &str| Some(text.to_owned());
        let role_arn = some("arn:aws:iam::123456789012:role/x");
        Hosting { auth, role_arn, external_id: some("e-1"), ..Hosting::default() }
    }

    fn step(hosting: &Hosting, answers: &[&'static str]) -> Result<GrantStep, Box<Fault>> {
        let secret = Secret::from_text(KEYS.to_owned());
        let signer = Signer { secret: &secret, hosting, unix_s: 1_795_248_900 };
        let answers: Vec<Bytes> =
            answers.iter().map(|answer| Bytes::from_static(answer.as_bytes())).collect();
        match hosting.auth {
            AuthKind::IamRole => assume_role(&signer, "eu-west-1", &answers),
            AuthKind::WorkloadIdentity | AuthKind::WorkloadIdentityFile => {
                assume_role_by_token(&signer, "eu-west-1", &answers)
            }
            _ => machine(&signer, &answers),
        }
    }

    fn exchange_request(
        hosting: &Hosting,
        answers: &[&'static str],
    ) -> (String, String, Vec<(HeaderName, HeaderValue)>, ExchangeReach) {
        let Ok(GrantStep::Request { outgoing, reach: door }) = step(hosting, answers) else {
            panic!("more was to be asked")
        };
        let body = String::from_utf8(outgoing.body.concat()).unwrap();
        (format!("{} {}", outgoing.method, outgoing.url), body, outgoing.headers, door)
    }

    #[test]
    fn a_role_is_asked_for_with_a_signed_form() {
        let (url, body, headers, door) = exchange_request(&hosting(AuthKind::IamRole), &[]);
        assert_eq!((url.as_str(), door), ("POST https://sts.eu-west-1.amazonaws.com/", ExchangeReach::Cloud));
        let role =
            "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fx&RoleSessionName=tidegate&ExternalId=e-1";
        assert_eq!(body, format!("Action=AssumeRole&Version=2011-06-15&{role}"));
        let signed = headers.iter().any(|(name, value)| {
            name == "authorization" && value.to_str().unwrap().contains("/eu-west-1/sts/aws4_request")
        });
        assert!(signed, "{headers:?}");
        let own = Hosting { token_url: Some("https://sts.example".to_owned()), ..hosting(AuthKind::IamRole) };
        assert_eq!(exchange_request(&own, &[]).0, "POST https://sts.example");
        let none = Hosting { role_arn: None, ..hosting(AuthKind::IamRole) };
        let Err(fault) = step(&none, &[]) else { panic!("it lacks its role") };
        assert_eq!(
            (fault.code, fault.fix.as_deref()),
            ("credential_incomplete", Some("Give config.role_arn."))
        );
    }

    #[test]
    fn the_keys_of_a_role_live_until_they_expire() {
        let answer = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>\
                      <SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t==</SessionToken>\
                      <Expiration>2026-11-21T09:15:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let Ok(GrantStep::Granted(granted)) = step(&hosting(AuthKind::IamRole), &[answer]) else {
            panic!("it was granted")
        };
        assert_eq!(granted.lives_s, 3_600);
        let expected = r#"{"access_key_id":"ASIA1","secret_access_key":"s/+=","session_token":"t=="}"#;
        assert_eq!(granted.secret.expose_text(), Some(expected));
        for wrong in [
            "",
            "<html>",
            "<Credentials></Credentials>",
            "<Credentials><AccessKeyId>a</AccessKeyId></Credentials>",
        ] {
            let Err(fault) = step(&hosting(AuthKind::IamRole), &[wrong]) else { panic!("{wrong}") };
            assert_eq!(fault.code, "token_unreadable", "{wrong}");
        }
    }

    #[test]
    fn another_issuers_token_is_sent_in_a_form_that_nothing_signs() {
        let own = Hosting { session_name: Some("s-1".to_owned()), ..hosting(AuthKind::WorkloadIdentity) };
        let (url, body, headers, door) = exchange_request(&own, &[]);
        assert_eq!((url.as_str(), door), ("POST https://sts.eu-west-1.amazonaws.com/", ExchangeReach::Cloud));
        let role =
            "Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fx&RoleSessionName=s-1";
        let token = "WebIdentityToken=%7B%22access_key_id%22";
        assert!(body.starts_with(&format!("Action=AssumeRoleWithWebIdentity&{role}&{token}")), "{body}");
        assert!(headers.iter().all(|(name, _)| name == "content-type"), "{headers:?}");
        // The token is in a file, which is read first.
        let path = || Some("/run/token".to_owned());
        let filed = Hosting { token_file: path(), ..hosting(AuthKind::WorkloadIdentityFile) };
        assert!(matches!(step(&filed, &[]), Ok(GrantStep::Read { path }) if path == "/run/token"));
        assert!(
            exchange_request(&filed, &["tok\n"])
                .1
                .ends_with("&RoleSessionName=tidegate&WebIdentityToken=tok")
        );
        let none = Hosting { token_file: None, ..filed };
        assert_eq!(step(&none, &[]).err().unwrap().fix.as_deref(), Some("Give config.token_file."));
    }

    #[test]
    fn a_region_is_a_label_of_an_address() {
        let in_region = |region: &str| Hosting { region: Some(region.to_owned()), ..Hosting::default() };
        assert_eq!(region(&in_region("eu-west-1"), "https://x").ok(), Some("eu-west-1"));
        for wrong in ["evil.example/", "a.b", "a@b", "a:1"] {
            assert_eq!(region(&in_region(wrong), "https://x").err().unwrap().code, "credential_incomplete");
        }
    }

    #[test]
    fn a_machine_shows_a_token_for_its_own_keys() {
        let machine = hosting(AuthKind::ManagedIdentity);
        let (url, _, headers, door) = exchange_request(&machine, &[]);
        assert_eq!(
            (url.as_str(), door),
            ("PUT http://169.254.169.254/latest/api/token", ExchangeReach::Machine)
        );
        assert_eq!(headers, [(MACHINE_LIFE, HeaderValue::from_static("60"))]);
        let (url, _, headers, _) = exchange_request(&machine, &["tok\n"]);
        assert_eq!(url, format!("GET {MACHINE_KEYS}"));
        assert_eq!(headers, [(MACHINE_TOKEN, HeaderValue::from_static("tok"))]);
        assert_eq!(
            exchange_request(&machine, &["tok", "my role\n"]).0,
            format!("GET {MACHINE_KEYS}my%20role")
        );
        let keys = r#"{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-21T08:16:00Z"}"#;
        let Ok(GrantStep::Granted(granted)) = step(&machine, &["tok", "r", keys]) else {
            panic!("it was granted")
        };
        assert_eq!(granted.lives_s, 60);
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let classified = |status: u16, body: &'static str| {
            let found = classify(status, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x");
            (found.class, found.report.message)
        };
        let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: a is not authorized\n\nto see t</Message></Error></ErrorResponse>";
        let words = Some("User: a is not authorized".to_owned());
        assert_eq!(classified(403, denied), (FaultClass::UpstreamAuth, words));
        assert_eq!(classified(400, "<Error><Code>Throttling</Code></Error>"), (FaultClass::RateLimit, None));
        assert_eq!(classified(404, "Not Found"), (FaultClass::UpstreamAuth, None));
        assert_eq!(classified(503, "<html>"), (FaultClass::Overloaded, None));
    }
}
