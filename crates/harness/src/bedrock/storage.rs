//! Amazon S3, as far as batches need it: objects in buckets, written and read with signed requests.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use bytes::Bytes;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::error::Refusal;
use super::service::forbidden_headers;
use super::sign;
use crate::emulator::KeyState;
use crate::emulator::service::{Answer, Call, before_head, behaviour, read, sliced, whole};
use crate::emulator::state::lock;

/// The base path of S3; the bucket follows in the path.
pub const STORAGE: &str = "/s3";

const HASH: &str = "x-amz-content-sha256";
const XML: &str = "application/xml";
const LISTED_MAX: usize = 1_000;

/// All objects by bucket and name, and the owner of each bucket: the key that first stored an object in it.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    owners: BTreeMap<String, String>,
    objects: BTreeMap<(String, String), Bytes>,
    denied: BTreeSet<String>,
}

impl Storage {
    pub(crate) fn put(&mut self, owner: &str, bucket: &str, name: &str, content: Bytes) -> bool {
        let own = self.owners.entry(bucket.to_owned()).or_insert_with(|| owner.to_owned());
        let is_own = own == owner;
        if is_own {
            self.objects.insert((bucket.to_owned(), name.to_owned()), content);
        }
        is_own
    }

    pub(crate) fn get(&self, owner: &str, bucket: &str, name: &str) -> Option<Bytes> {
        self.owners.get(bucket).filter(|own| *own == owner)?;
        self.objects.get(&(bucket.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn all(&self, bucket: &str) -> Vec<(String, Bytes)> {
        let own = self.objects.iter().filter(|((own, _), _)| own == bucket);
        own.map(|((_, name), content)| (name.clone(), content.clone())).collect()
    }

    /// Denies reading to this key from now on, or allows it again.
    pub(crate) fn deny(&mut self, key: &str, is_denied: bool) {
        if is_denied {
            self.denied.insert(key.to_owned());
        } else {
            self.denied.remove(key);
        }
    }

    fn list(&self, bucket: &str, prefix: &str) -> Vec<(String, usize)> {
        let own = self.objects.iter().filter(|((own, name), _)| own == bucket && name.starts_with(prefix));
        own.map(|((_, name), content)| (name.clone(), content.len())).collect()
    }
}

/// Splits `s3://bucket/name` into bucket and name.
pub(crate) fn location(uri: &str) -> Option<(&str, &str)> {
    uri.strip_prefix("s3://")?.split_once('/').filter(|(bucket, _)| !bucket.is_empty())
}

pub(crate) fn serves(head: &http::request::Parts) -> bool {
    head.uri.path().strip_prefix(STORAGE).is_some_and(|rest| rest.starts_with('/'))
}

/// An error in S3's XML format.
struct S3Error {
    status: u16,
    code: &'static str,
    message: String,
}

impl S3Error {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn denied(key: &str, action: &str, bucket: &str, name: &str) -> Self {
        let message = format!(
            "User: arn:aws:iam::123456789012:user/{key} is not authorized to perform: s3:{action} on resource: \
             \"arn:aws:s3:::{bucket}/{name}\" because no identity-based policy allows the s3:{action} action"
        );
        Self::new(403, "AccessDenied", message)
    }
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal.kind.as_str() {
            "UnrecognizedClientException" => (403, "InvalidAccessKeyId"),
            "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
            "ExpiredTokenException" => (400, "ExpiredToken"),
            "MissingAuthenticationTokenException" => (403, "AccessDenied"),
            _ => (400, "InvalidRequest"),
        };
        Self::new(status, code, refusal.message)
    }
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let mut answer = match attempt(call, body).await {
        Ok(answer) => answer,
        Err(S3Error { status, code, message }) => {
            call.guard.note(|entry| entry.error_code = Some(code.to_owned()));
            let message = message.replace('&', "&amp;").replace('<', "&lt;");
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
                 <RequestId>{}</RequestId></Error>",
                call.request_id
            );
            whole(status, XML, text.into())
        }
    };
    answer.headers.insert(0, ("x-amz-request-id".to_owned(), call.request_id.to_owned()));
    answer
}

async fn attempt(call: &Call<'_>, body: Incoming) -> Result<Answer, S3Error> {
    let body = read(call.shared, call.guard, body).await.map_err(Refusal::from)?;
    forbidden_headers(call)?;
    let key = authenticate(call, &body)?;
    let path = call.head.uri.path().strip_prefix(STORAGE).unwrap_or_default().trim_start_matches('/');
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let (bucket, name) = path.split_once('/').unwrap_or((&path, ""));
    let behaviour = behaviour(call.shared, &key, None).map_err(Refusal::from)?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(status) = behaviour.status {
        return Err(S3Error::new(status, "SlowDown", "Please reduce your request rate."));
    }
    match (call.head.method.as_str(), name.is_empty()) {
        ("PUT", false) => {
            if !lock(&call.shared.storage).put(&key, bucket, name, body) {
                return Err(S3Error::denied(&key, "PutObject", bucket, name));
            }
            Ok(whole(200, XML, Bytes::new()))
        }
        ("GET", false) => {
            let content = object(call, &key, bucket, name)?;
            Ok(sliced("binary/octet-stream", &content, behaviour.interval))
        }
        ("GET", true) => list(call, &key, bucket),
        _ => Err(S3Error::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )),
    }
}

/// The emulator key of a request: bearer tokens are not accepted, and the body must match the signed hash.
fn authenticate(call: &Call<'_>, body: &Bytes) -> Result<String, S3Error> {
    let hash = sign::hex(digest::digest(&digest::SHA256, body).as_ref());
    let declared = call.head.headers.get(HASH).and_then(|value| value.to_str().ok());
    let declared = declared.ok_or_else(|| {
        S3Error::new(400, "InvalidRequest", format!("Missing required header for this request: {HASH}"))
    })?;
    if declared != hash {
        let message = format!("The provided '{HASH}' header does not match what was computed.");
        return Err(S3Error::new(400, "XAmzContentSHA256Mismatch", message));
    }
    let key = sign::verify(call.shared, call.head, body, "s3")?;
    call.guard.note(|entry| entry.key = Some(key.clone()));
    match call.shared.key_state(&key) {
        Some(KeyState::Revoked) | None => Err(Refusal::unknown_token().into()),
        Some(_) => Ok(key),
    }
}

fn object(call: &Call<'_>, key: &str, bucket: &str, name: &str) -> Result<Bytes, S3Error> {
    let storage = lock(&call.shared.storage);
    let Some(owner) = storage.owners.get(bucket) else {
        return Err(S3Error::new(404, "NoSuchBucket", "The specified bucket does not exist"));
    };
    if owner != key || storage.denied.contains(key) || call.shared.directory.is_denied(key) {
        return Err(S3Error::denied(key, "GetObject", bucket, name));
    }
    let found = storage.get(key, bucket, name);
    found.ok_or_else(|| S3Error::new(404, "NoSuchKey", "The specified key does not exist."))
}

/// `ListObjectsV2`, without paging.
fn list(call: &Call<'_>, key: &str, bucket: &str) -> Result<Answer, S3Error> {
    let (mut prefix, mut is_second) = (String::new(), false);
    for pair in call.head.uri.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("list-type", "2") => is_second = true,
            ("prefix", value) => prefix = percent_decode_str(value).decode_utf8_lossy().into_owned(),
            ("encoding-type", "url") => {}
            _ => return Err(S3Error::new(501, "NotImplemented", format!("{name} is not offered here."))),
        }
    }
    let storage = lock(&call.shared.storage);
    if !is_second
        || storage.owners.get(bucket).is_none_or(|owner| owner != key)
        || storage.denied.contains(key)
    {
        return Err(S3Error::denied(key, "ListBucket", bucket, ""));
    }
    let rows = storage.list(bucket, &prefix);
    let contents: String = rows
        .iter()
        .take(LISTED_MAX)
        .map(|(name, bytes)| format!("<Contents><Key>{name}</Key><Size>{bytes}</Size></Contents>"))
        .collect();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><Name>{bucket}</Name><Prefix>{prefix}</Prefix>\
         <KeyCount>{}</KeyCount><MaxKeys>{LISTED_MAX}</MaxKeys><IsTruncated>{}</IsTruncated>{contents}</ListBucketResult>",
        rows.len().min(LISTED_MAX),
        rows.len() > LISTED_MAX
    );
    Ok(whole(200, XML, text.into()))
}
