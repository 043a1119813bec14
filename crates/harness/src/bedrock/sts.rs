//! AWS STS and the EC2 instance metadata service, which issue temporary credentials to whoever assumes a role
//! and to the machine itself.

use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::STS;
use super::error::Refusal;
use super::sign::{AUDIENCE, ahead, session_keys, verify};
use crate::directory::issuer::{self, Untrusted};
use crate::emulator::KeyState;
use crate::emulator::service::{Answer, Call, json_answer, read, whole};
use crate::emulator::state::Shared;

/// The only role of the account, assumed with its external id.
pub const ROLE: &str = "arn:aws:iam::123456789012:role/tidegate";
pub const EXTERNAL_ID: &str = "external-id-of-tidegate";
/// The audience that tokens of external issuers must have.
pub(crate) const TOKEN_AUDIENCE: &str = "sts.amazonaws.com";
const BY_TOKEN: &str = "AssumeRoleWithWebIdentity";
const NOT_LENT: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
const VERSION: &str = "2011-06-15";
const TOKEN_PATH: &str = "/latest/api/token";
const KEYS_PATH: &str = "/latest/meta-data/iam/security-credentials/";
/// The name of the machine's role.
const MACHINE_ROLE: &str = "machine-role";
const MACHINE_TOKEN: &str = "token-of-the-machine";
const MACHINE_HEADER: &str = "x-aws-ec2-metadata-token";

pub(crate) fn serves(head: &Parts) -> bool {
    let path = head.uri.path();
    path.strip_prefix(STS).is_some_and(|rest| rest.is_empty() || rest == "/")
        || path == TOKEN_PATH
        || path.starts_with(KEYS_PATH)
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let body = match read(call.shared, call.guard, body).await {
        Ok(body) => body,
        Err(error) => return error_answer(&Refusal::from(error), call.request_id),
    };
    if call.head.uri.path().starts_with("/latest/") {
        return machine(call);
    }
    match assume(call, &body) {
        Ok(answer) => answer,
        Err(refusal) => {
            call.guard.note(|entry| entry.error_code = Some(refusal.kind.clone()));
            error_answer(&refusal, call.request_id)
        }
    }
}

fn xml(status: u16, text: String) -> Answer {
    whole(status, "text/xml", text.into())
}

/// Translates errors of the signature check from Bedrock's codes to those of STS.
fn error_answer(refusal: &Refusal, request_id: &str) -> Answer {
    let code = match refusal.kind.as_str() {
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "ExpiredTokenException" if refusal.status == 403 => "ExpiredToken",
        "ExpiredTokenException" => "ExpiredTokenException",
        "AccessDeniedException" => "AccessDenied",
        "ThrottlingException" => "Throttling",
        kind => kind.strip_suffix("Exception").unwrap_or(kind),
    };
    let message = &refusal.message;
    xml(
        refusal.status,
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n\
         </ErrorResponse>\n"
        ),
    )
}

fn assume(call: &Call<'_>, body: &Bytes) -> Result<Answer, Refusal> {
    let head = call.head;
    if !call.is_form() {
        return Err(Refusal::new(400, "InvalidAction", "The action is not valid for this endpoint."));
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let action = match (field("Action"), field("Version")) {
        (Some(action @ ("AssumeRole" | BY_TOKEN)), Some(VERSION)) => action,
        _ => return Err(Refusal::new(400, "InvalidAction", "Could not find operation for this version.")),
    };
    let by_token = action == BY_TOKEN;
    let key = if by_token {
        federated_key(call, field("WebIdentityToken"))?
    } else {
        verify(call.shared, head, body, "sts")?
    };
    let is_word = |text: &str| {
        (2..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
    };
    let life = field("DurationSeconds").map_or(Some(3_600), |text| text.parse::<u64>().ok());
    if !field("RoleSessionName").is_some_and(is_word)
        || !life.is_some_and(|life| (900..=43_200).contains(&life))
    {
        return Err(Refusal::new(
            400,
            "ValidationError",
            "2 validation errors detected: a value failed to satisfy constraint.",
        ));
    }
    let is_known = by_token || field("ExternalId") == Some(EXTERNAL_ID);
    let is_lent = field("RoleArn") == Some(ROLE) && is_known;
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) if is_lent => {}
        Some(KeyState::Ok) if by_token => return Err(Refusal::denied(NOT_LENT)),
        Some(KeyState::Ok) => {
            let role = field("RoleArn").unwrap_or_default();
            return Err(Refusal::denied(format!(
                "User: arn:aws:iam::123456789012:user/emulator is not authorized to perform: sts:AssumeRole on resource: {role}"
            )));
        }
        Some(KeyState::RateLimited { .. }) => return Err(Refusal::throttled()),
        _ => return Err(Refusal::unknown_token()),
    }
    let (token, lives) = call.shared.directory.issue(&key, AUDIENCE);
    let (id, secret) = session_keys(&token);
    Ok(xml(
        200,
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">\n  <{action}Result>\n    \
         <AssumedRoleUser>\n      <AssumedRoleId>AROAEMULATOR:tidegate</AssumedRoleId>\n      <Arn>{ROLE}</Arn>\n    \
         </AssumedRoleUser>\n    <Credentials>\n      <AccessKeyId>{id}</AccessKeyId>\n      \
         <SecretAccessKey>{secret}</SecretAccessKey>\n      <SessionToken>{token}</SessionToken>\n      \
         <Expiration>{}</Expiration>\n    </Credentials>\n  </{action}Result>\n  <ResponseMetadata>\n    \
         <RequestId>{}</RequestId>\n  </ResponseMetadata>\n</{action}Response>\n",
            ahead(lives),
            call.request_id
        ),
    ))
}

/// The key that an external issuer's token maps to. Such a request is unsigned.
fn federated_key(call: &Call<'_>, token: Option<&str>) -> Result<String, Refusal> {
    if call.head.headers.contains_key(AUTHORIZATION) {
        call.violation("a signature beside another issuer's token");
    }
    issuer::verify_token(call.shared, token.unwrap_or_default(), TOKEN_AUDIENCE).map_err(|why| match why {
        Untrusted::Foreign => Refusal::new(
            400,
            "InvalidIdentityToken",
            "No OpenIDConnect provider found in your account for it, or its signature does not verify.",
        ),
        Untrusted::Audience => Refusal::new(400, "InvalidIdentityToken", "Incorrect token audience"),
        Untrusted::Expired => Refusal::new(
            400,
            "ExpiredTokenException",
            "Token expired: current date/time must be before the expiration date/time",
        ),
        Untrusted::Subject => Refusal::denied(NOT_LENT),
    })
}

/// The instance metadata service, version 2: first a token, then the role's name, then its credentials.
fn machine(call: &Call<'_>) -> Answer {
    let head = call.head;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |status: u16, text: &str| Answer { status, ..xml(status, text.to_owned()) };
    // A request forwarded by a proxy carries this header.
    if header("x-forwarded-for").is_some() {
        return plain(403, "Forbidden");
    }
    if head.uri.path() == TOKEN_PATH {
        let life = header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|text| text.parse::<u64>().ok());
        let is_fine = head.method == Method::PUT && life.is_some_and(|life| (1..=21_600).contains(&life));
        return if is_fine { plain(200, MACHINE_TOKEN) } else { plain(400, "Bad Request") };
    }
    if head.method != Method::GET || header(MACHINE_HEADER) != Some(MACHINE_TOKEN) {
        return plain(401, "Unauthorized");
    }
    let Some(key) = call.shared.directory.machine() else { return plain(404, "Not Found") };
    match head.uri.path().strip_prefix(KEYS_PATH) {
        Some("") => plain(200, MACHINE_ROLE),
        Some(MACHINE_ROLE) => {
            let (token, lives) = call.shared.directory.issue(&key, AUDIENCE);
            let (id, secret) = session_keys(&token);
            let body = json!({
                "Code": "Success", "LastUpdated": ahead(0), "Type": "AWS-HMAC", "AccessKeyId": id,
                "SecretAccessKey": secret, "Token": token, "Expiration": ahead(lives),
            });
            json_answer(200, Vec::new(), &body)
        }
        _ => plain(404, "Not Found"),
    }
}

/// Temporary credentials, for tests that ask the emulator directly.
pub(crate) fn lend(shared: &Shared, key: &str) -> Value {
    let (token, _) = shared.directory.issue(key, AUDIENCE);
    let (access_key_id, secret_access_key) = session_keys(&token);
    json!({"access_key_id": access_key_id, "secret_access_key": secret_access_key, "session_token": token})
}
