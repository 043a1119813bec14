//! AWS Signature Version 4 verification, and access keys that map to the emulator's keys.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap};
use http::request::Parts;
use serde_json::{Value, json};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::error::Refusal;
use crate::emulator::state::Shared;

/// The only supported region.
pub const REGION: &str = "us-east-1";
/// The maximum difference between the signer's clock and the service's.
pub const SERVICE_SKEW: Duration = Duration::from_mins(5);
/// The audience of session tokens.
pub(super) const AUDIENCE: &str = "aws";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The pair of access keys that maps to one of the emulator's keys, in the form of a credential.
pub fn access_keys(key: &str) -> Value {
    json!({"access_key_id": access_key_id("AKIA", key), "secret_access_key": key})
}

/// The temporary access keys of an issued session token.
pub(crate) fn session_keys(token: &str) -> (String, String) {
    (access_key_id("ASIA", token), hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref()))
}

fn access_key_id(kind: &str, of: &str) -> String {
    let hash = hex(digest::digest(&digest::SHA256, of.as_bytes()).as_ref());
    format!("{kind}{}", hash.get(..16).unwrap_or_default().to_ascii_uppercase())
}

/// A parsed `authorization` header.
struct AuthorizationHeader<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

/// Verifies a request's signature and returns the emulator key of its signer.
pub(super) fn verify(shared: &Shared, head: &Parts, body: &Bytes, service: &str) -> Result<String, Refusal> {
    let authorization = read(&head.headers)?;
    let stamp = text(&head.headers, "x-amz-date").ok_or_else(|| {
        Refusal::new(
            403,
            "IncompleteSignatureException",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )
    })?;
    if authorization.region != REGION {
        return Err(Refusal::signature("Credential should be scoped to a valid region. "));
    }
    if authorization.service != service {
        return Err(Refusal::signature(format!(
            "Credential should be scoped to correct service: '{service}'. "
        )));
    }
    if stamp.get(..8) != Some(authorization.day) {
        return Err(Refusal::signature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
        ));
    }
    fresh(stamp, shared.directory.clock_ahead_s())?;
    let (key, secret) = signer(shared, &head.headers, authorization.access_key_id)?;
    if let Some(name) = unsigned_header(&head.headers, &authorization.headers) {
        return Err(Refusal::signature(format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization."
        )));
    }
    if signature(head, body, &authorization, stamp, &secret) != authorization.signature {
        return Err(Refusal::signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        ));
    }
    Ok(key)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn read(headers: &HeaderMap) -> Result<AuthorizationHeader<'_>, Refusal> {
    let missing = || Refusal::new(403, "MissingAuthenticationTokenException", "Missing Authentication Token");
    let incomplete = || {
        Refusal::new(
            403,
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.",
        )
    };
    let value = text(headers, AUTHORIZATION.as_str()).ok_or_else(missing)?;
    let rest = value.strip_prefix(ALGORITHM).ok_or_else(incomplete)?;
    let part = |name: &str| {
        rest.split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(incomplete)
    };
    let scope: Vec<&str> = part("Credential")?.split('/').collect();
    let [access_key_id, day, region, service, "aws4_request"] = *scope else { return Err(incomplete()) };
    let headers = part("SignedHeaders")?.split(';').collect();
    Ok(AuthorizationHeader { access_key_id, day, region, service, headers, signature: part("Signature")? })
}

/// Rejects a signature whose timestamp is too far from this clock.
fn fresh(stamp: &str, ahead_s: i64) -> Result<(), Refusal> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed =
        PrimitiveDateTime::parse(stamp, &form).map_err(|_| Refusal::signature("Invalid date format"))?;
    let signed = signed.assume_utc();
    let now = OffsetDateTime::now_utc() + time::Duration::seconds(ahead_s);
    let written = |at: OffsetDateTime| at.format(&form).unwrap_or_default();
    let (early, late) = (now - SERVICE_SKEW, now + SERVICE_SKEW);
    if signed < early {
        let message = format!(
            "Signature expired: {stamp} is now earlier than {} ({} - 5 min.)",
            written(early),
            written(now)
        );
        return Err(Refusal::signature(message));
    }
    if signed > late {
        let message = format!(
            "Signature not yet current: {stamp} is still later than {} ({} + 5 min.)",
            written(late),
            written(now)
        );
        return Err(Refusal::signature(message));
    }
    Ok(())
}

/// The emulator key that an access key belongs to, and its secret.
fn signer(shared: &Shared, headers: &HeaderMap, id: &str) -> Result<(String, String), Refusal> {
    let Some(token) = text(headers, "x-amz-security-token") else {
        let key =
            shared.find_key(|key| access_key_id("AKIA", key) == id).ok_or_else(Refusal::unknown_token)?;
        return Ok((key.clone(), key));
    };
    let (own_id, secret) = session_keys(token);
    match shared.directory.token(token) {
        Some(known) if known.audience == AUDIENCE && own_id == id => Ok((known.key, secret)),
        None if own_id == id => Err(Refusal::expired()),
        _ => Err(Refusal::unknown_token()),
    }
}

/// A header that must be signed and is not.
fn unsigned_header<'a>(headers: &'a HeaderMap, signed: &[&str]) -> Option<&'a str> {
    let own = headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    ["host"].into_iter().chain(own).find(|name| !signed.contains(name))
}

fn signature(
    head: &Parts,
    body: &Bytes,
    authorization: &AuthorizationHeader<'_>,
    stamp: &str,
    secret: &str,
) -> String {
    // S3 signs paths as they are, without escaping them a second time.
    let own = head.uri.path();
    let path = if authorization.service == "s3" { own.to_owned() } else { path(own) };
    let mut canonical = format!("{}\n{path}\n{}\n", head.method, query(head.uri.query()));
    for name in &authorization.headers {
        let values = head.headers.get_all(*name).iter().map(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        });
        let _ = writeln!(canonical, "{name}:{}", values.collect::<Vec<_>>().join(","));
    }
    let payload = hex(digest::digest(&digest::SHA256, body).as_ref());
    let _ = write!(canonical, "\n{}\n{payload}", authorization.headers.join(";"));
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let scope =
        format!("{}/{}/{}/aws4_request", authorization.day, authorization.region, authorization.service);
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{canonical}");
    let first = format!("AWS4{secret}").into_bytes();
    let parts =
        [authorization.day, authorization.region, authorization.service, "aws4_request", to_sign.as_str()];
    let signed = parts.into_iter().fold(first, |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    hex(&signed)
}

/// The canonical path: escaped once more than on the wire. Paths here have no dot segments.
fn path(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte))
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

fn query(query: Option<&str>) -> String {
    let mut pairs: Vec<String> = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time this many seconds from now, in AWS's format.
pub(crate) fn ahead(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let unix = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.and_then(|at| at.format(&form).ok()).unwrap_or_default()
}
