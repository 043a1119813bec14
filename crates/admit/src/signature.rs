//! Verifies AWS Signature Version 4, with which clients sign requests by an access key pair. The canonical
//! request is built from the head as received; the body's hash is added once the body has arrived.

use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use domain::calendar::Civil;
use domain::{Fault, KeyId, Secret, api_key};
use http::header::{AUTHORIZATION, HOST, HeaderMap};

use crate::fault;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const END: &str = "aws4_request";
const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";
/// The largest accepted clock skew.
const SKEW_S: u64 = 5 * 60;
/// The length of a SHA-256 hash, in hexadecimal and in bytes.
const HASH_CHARS: usize = 64;
const HASH_BYTES: usize = 32;

/// The parts of a request's head that a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedHead<'a> {
    pub method: &'a str,
    /// As sent.
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    /// The host of an HTTP/2 request, which has no `Host` header.
    pub authority: Option<&'a str>,
    /// The service that the signature must be scoped to.
    pub service: &'static str,
}

/// Whether a request claims to be signed.
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(ALGORITHM.as_bytes()))
}

/// The key that a request claims to be signed with.
pub(crate) fn claimed_signer(headers: &HeaderMap) -> Option<KeyId> {
    // The usual key is no signature, and costs no error here.
    let authorization = is_signed(headers).then(|| AuthorizationHeader::read(headers).ok())??;
    api_key::of_access_key(authorization.scope.first()?)
}

/// A parsed signature with what it covers, except for the body.
pub(crate) struct Signature {
    pub access_key_id: String,
    day: String,
    region: String,
    service: &'static str,
    stamp: String,
    signature: [u8; HASH_BYTES],
    /// The canonical request, up to the hash of the body.
    canonical: String,
    /// The hash of the body, if the head declares it.
    pub declared: Option<String>,
}

/// A parsed `Authorization` header.
struct AuthorizationHeader<'a> {
    scope: Vec<&'a str>,
    headers: &'a str,
    signature: &'a str,
}

impl Signature {
    /// Parses the signature, and refuses everything that is wrong from the head alone.
    pub(crate) fn read(head: &SignedHead<'_>, now_unix_s: u64) -> Result<Self, Box<Fault>> {
        let authorization = AuthorizationHeader::read(head.headers)?;
        let stamp = text(head.headers, DATE).ok_or_else(|| {
            fault::incomplete_signature("The request is signed without an \"x-amz-date\" header.")
        })?;
        let [access_key_id, day, region, service, END] = *authorization.scope else {
            return Err(fault::incomplete_signature(
                "The Credential of the Authorization header is not of the form KEY/DATE/REGION/SERVICE/aws4_request.",
            ));
        };
        is_fresh(stamp, now_unix_s)?;
        if service != head.service {
            let message = format!("The request is signed for another service than \"{}\".", head.service);
            return Err(fault::wrong_signature(message));
        }
        if stamp.get(..8) != Some(day) {
            return Err(fault::wrong_signature(
                "The date of the Credential is not that of the \"x-amz-date\" header.",
            ));
        }
        let names: Vec<&str> = authorization.headers.split(';').collect();
        if let Some(name) = unsigned(head, &names) {
            return Err(fault::wrong_signature(format!(
                "The header \"{name}\" is not among those that are signed."
            )));
        }
        let signature = bytes_of(authorization.signature)
            .ok_or_else(|| fault::incomplete_signature("The Signature is not of 64 hexadecimal digits."))?;
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            service: head.service,
            stamp: stamp.to_owned(),
            signature,
            canonical: canonical(head, &names, authorization.headers),
            declared: text(head.headers, CONTENT_HASH).map(str::to_owned),
        })
    }

    /// Whether the signature was made with this secret, over a body of this hash.
    pub(crate) fn is_of(&self, secret: &Secret, body_hash: &str) -> bool {
        let signed = digest::digest(&digest::SHA256, format!("{}{body_hash}", self.canonical).as_bytes());
        let scope = format!("{}/{}/{}/{END}", self.day, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.stamp, hex(signed.as_ref()));
        let first = Secret::new([b"AWS4", secret.expose()].concat());
        let mut key = mac(first.expose(), &self.day);
        for part in [&self.region, self.service, END] {
            key = mac(key.as_ref(), part);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        // Compares in constant time.
        hmac::verify(&key, to_sign.as_bytes(), &self.signature).is_ok()
    }
}

/// The hash of a body, in hexadecimal as signatures use it.
pub(crate) fn hash(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

impl<'a> AuthorizationHeader<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Box<Fault>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
        if values.next().is_some() {
            return Err(fault::twice());
        }
        let rest = value.strip_prefix(ALGORITHM).unwrap_or_default();
        let part = |name: &str| {
            let parts = rest.split(',').map(str::trim);
            let mut found = parts.filter_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.next().ok_or_else(|| {
                fault::incomplete_signature(
                    "The Authorization header lacks its Credential, its SignedHeaders or its Signature.",
                )
            })
        };
        Ok(Self {
            scope: part("Credential")?.split('/').collect(),
            headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Refuses signatures whose date is too far from our clock.
fn is_fresh(stamp: &str, now_unix_s: u64) -> Result<(), Box<Fault>> {
    let signed = read_stamp(stamp).ok_or_else(|| {
        fault::incomplete_signature("The \"x-amz-date\" header is not of the form 20261120T123600Z.")
    })?;
    let now = write_stamp(now_unix_s);
    match signed.abs_diff(now_unix_s) {
        0..=SKEW_S => Ok(()),
        _ if signed < now_unix_s => Err(fault::wrong_clock(format!(
            "Signature expired: {stamp} is more than 5 minutes before {now}, the time here."
        ))),
        _ => Err(fault::wrong_clock(format!(
            "Signature not yet current: {stamp} is more than 5 minutes after {now}, the time here."
        ))),
    }
}

fn read_stamp(stamp: &str) -> Option<u64> {
    let (day, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    if day.len() != 8 || time.len() != 6 || !stamp.is_ascii() {
        return None;
    }
    let number = |text: &str, from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u64>().ok()
    };
    let civil = Civil {
        year: number(day, 0, 4)?,
        month: number(day, 4, 6)?,
        day: number(day, 6, 8)?,
        hour: number(time, 0, 2)?,
        minute: number(time, 2, 4)?,
        second: number(time, 4, 6)?,
    };
    civil.unix_s()
}

fn write_stamp(unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Prefixes of headers that affect the answer, AWS's and ours; all of these must be signed.
const SIGNED_PREFIXES: [&str; 3] = ["x-amz-", "agent-", "idempotency-key"];
/// Prefix of headers for one service, followed by its name; those for our service must be signed too.
const OF_SERVICE: &str = "x-amzn-";

/// A header that must be signed but is not: it could have been changed or added on the way.
fn unsigned<'a>(head: &SignedHead<'a>, signed: &[&str]) -> Option<&'a str> {
    let is_ours = |name: &&str| {
        let of_service = name.strip_prefix(OF_SERVICE).and_then(|rest| rest.strip_prefix(head.service));
        of_service.is_some() || SIGNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let own = head.headers.keys().map(http::HeaderName::as_str).filter(is_ours);
    ["host", DATE].into_iter().chain(own).find(|name| !signed.contains(name))
}

/// The canonical request, up to the hash of the body.
fn canonical(head: &SignedHead<'_>, names: &[&str], signed: &str) -> String {
    let mut text = format!("{}\n", head.method);
    escape_path(head.path, &mut text);
    let _ = write!(text, "\n{}\n", canonical_query(head.query));
    for name in names {
        let values: Vec<String> =
            match (*name == HOST, head.authority.filter(|_| !head.headers.contains_key(HOST))) {
                (true, Some(authority)) => vec![authority.to_owned()],
                _ => head.headers.get_all(*name).iter().map(|value| folded(value.as_bytes())).collect(),
            };
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let _ = write!(text, "\n{signed}\n");
    text
}

/// A header value, trimmed and with runs of spaces collapsed.
fn folded(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// URI-encodes the path once more than on the wire. Dot segments are not normalised, since no route has any.
fn escape_path(path: &str, text: &mut String) {
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(HASH_CHARS), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(hex: &str) -> Option<[u8; HASH_BYTES]> {
    if hex.len() != HASH_CHARS || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
