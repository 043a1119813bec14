//! AWS Signature Version 4: the request is written in canonical form and signed with a key derived from the
//! secret for one day, region and service.

use std::borrow::Cow;
use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use domain::calendar::Civil;
use domain::{Fault, FaultClass, Secret};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

use super::bearer::unusable;
use crate::Outgoing;
use crate::escape::{UNRESERVED, escape};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const STORAGE: &str = "s3";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The region and service that a signature is valid for.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'static str,
}

/// An access key pair, under our field names or those of the AWS tools.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow, alias = "AccessKeyId")]
    access_key_id: Cow<'a, str>,
    #[serde(borrow, alias = "SecretAccessKey")]
    secret_access_key: Cow<'a, str>,
    /// For temporary keys.
    #[serde(alias = "SessionToken")]
    session_token: Option<String>,
}

/// Signs a request that is otherwise complete.
pub(crate) fn sign(
    outgoing: &mut Outgoing,
    secret: &Secret,
    scope: Scope<'_>,
    unix_s: u64,
) -> Result<(), Box<Fault>> {
    let keys: Keys<'_> = serde_json::from_slice(secret.expose()).map_err(|_| no_keys())?;
    if keys.access_key_id.is_empty() || keys.secret_access_key.is_empty() {
        return Err(no_keys());
    }
    let stamp = stamp(unix_s);
    let day = stamp.get(..8).unwrap_or_default();
    outgoing.headers.push((DATE, HeaderValue::try_from(&stamp).map_err(|_| unusable())?));
    if let Some(token) = keys.session_token.filter(|token| !token.is_empty()) {
        outgoing.headers.push((TOKEN, sensitive(token.into_bytes())?));
    }
    let Scope { region, service } = scope;
    let within = format!("{day}/{region}/{service}/aws4_request");
    let (canonical, signed) = canonical(outgoing, service);
    let canonical = digest::digest(&digest::SHA256, canonical.as_bytes());
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{within}\n{}", hex(canonical.as_ref()));
    let mut first = Vec::with_capacity(4 + keys.secret_access_key.len());
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(keys.secret_access_key.as_bytes());
    let mut key = mac(Secret::new(first).expose(), day);
    for part in [region, service, "aws4_request", &to_sign] {
        key = mac(key.as_ref(), part);
    }
    let id = &keys.access_key_id;
    let signature = hex(key.as_ref());
    let text = format!("{ALGORITHM} Credential={id}/{within}, SignedHeaders={signed}, Signature={signature}");
    outgoing.headers.push((AUTHORIZATION, sensitive(text.into_bytes())?));
    Ok(())
}

fn sensitive(text: Vec<u8>) -> Result<HeaderValue, Box<Fault>> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The canonical request, and the names of its signed headers.
fn canonical(outgoing: &Outgoing, service: &str) -> (String, String) {
    let (host, path, query) = parts(&outgoing.url);
    let mut headers: Vec<(&str, &[u8])> = vec![("host", host.as_bytes())];
    let is_signed = |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let own = outgoing.headers.iter().filter(|(name, _)| is_signed(name));
    headers.extend(own.map(|(name, value)| (name.as_str(), value.as_bytes())));
    headers.sort_unstable_by_key(|(name, _)| *name);
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed = names.join(";");
    // S3 keys are not normalised: `..` in them is an ordinary part of a name.
    let path = if service == STORAGE { path.to_owned() } else { canonical_path(path) };
    let mut text = format!("{}\n{path}\n{}\n", outgoing.method, canonical_query(query));
    for (name, value) in headers {
        // Our own header values have no spaces to fold, except at the ends.
        let value = String::from_utf8_lossy(value.trim_ascii());
        let _ = writeln!(text, "{name}:{value}");
    }
    // The body is hashed piece by piece and never joined for it.
    let mut payload = digest::Context::new(&digest::SHA256);
    outgoing.body.iter().for_each(|piece| payload.update(piece));
    let _ = write!(text, "\n{signed}\n{}", hex(payload.finish().as_ref()));
    (text, signed)
}

/// Host, path and query of a URL.
fn parts(url: &str) -> (&str, &str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    match rest.find('/') {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default(), query),
        None => (rest, "/", query),
    }
}

/// The normalised path, escaped once more than on the wire.
fn canonical_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let mut text = String::with_capacity(path.len() + 16);
    for part in kept {
        text.push('/');
        escape(part.as_bytes(), UNRESERVED, &mut text);
    }
    if text.is_empty() || path.ends_with('/') {
        text.push('/');
    }
    text
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(&str, &str)> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Unix time as `20150830T123600Z`.
fn stamp(unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

fn no_keys() -> Box<Fault> {
    let message = "The credential's secret isn't a pair of access keys.";
    let fix = "Rotate the credential with {\"access_key_id\", \"secret_access_key\"}, and \"session_token\" where the keys \
               are for a while.";
    Box::new(
        Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message).fix(fix).should_retry(false),
    )
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
