//! Fetches a document that a request names: every hop under the guard, bounded in size, time and redirects.

use std::time::Duration;

use bytes::Bytes;
use domain::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_REDIRECTS_MAX, DOCUMENT_TIME_MAX};
use domain::{Fault, FaultClass};
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use url::Url;

use crate::error::{EgressError, EgressErrorKind};
use crate::{Answer, Client, Headers, Request, TargetKind};

/// The bounds of fetching a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    pub bytes_max: usize,
    pub time_max: Duration,
    pub redirects_max: u32,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self {
            bytes_max: DOCUMENT_BYTES_MAX,
            time_max: DOCUMENT_TIME_MAX,
            redirects_max: DOCUMENT_REDIRECTS_MAX,
        }
    }
}

/// A fetched document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The media type without parameters, in lower case; `application/octet-stream` if the server sent none.
    pub mime: String,
    /// As the server sent it.
    pub charset: Option<String>,
    pub bytes: Bytes,
}

/// Fetches `url`. Plain http is used for the loopback only, and only if the operator allows it.
///
/// # Errors
/// The guard refuses a hop, the server does not answer 200 in time, or the document is too large.
pub async fn fetch_document(
    client: &Client,
    url: &str,
    limits: DocumentLimits,
) -> Result<Document, Box<Fault>> {
    match tokio::time::timeout(limits.time_max, follow(client, url, limits)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(failed(&format!("it took longer than {} s", limits.time_max.as_secs()))),
    }
}

async fn follow(client: &Client, url: &str, limits: DocumentLimits) -> Result<Document, Box<Fault>> {
    let mut url = Url::parse(url).map_err(|_| refused("it is not a URL"))?;
    for _ in 0..=limits.redirects_max {
        let answer = get(client, &url).await?;
        if !answer.status.is_redirection() {
            return read(answer, limits).await;
        }
        let next = answer.headers.text("location").and_then(|to| url.join(to).ok());
        url = next.ok_or_else(|| failed("its server redirects without saying where"))?;
    }
    Err(failed(&format!("its server redirects more than {} times", limits.redirects_max)))
}

async fn get(client: &Client, url: &Url) -> Result<Answer, Box<Fault>> {
    let mut target = url.clone();
    target.set_fragment(None);
    let target = Uri::try_from(target.as_str()).map_err(|_| refused("it is not a URL"))?;
    let mut request = Request::new(Method::GET, target);
    request.headers = vec![
        (USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")))),
        (ACCEPT, HeaderValue::from_static("*/*")),
        // Nothing is decompressed here, so a decompression bomb can do no harm.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ];
    client.send(&request, TargetKind::Document).await.map_err(|error| from_egress(&error))
}

async fn read(answer: Answer, limits: DocumentLimits) -> Result<Document, Box<Fault>> {
    if answer.status != StatusCode::OK {
        return Err(failed(&format!("its server answered {}", answer.status)));
    }
    let encoded = answer.headers.get("content-encoding");
    if encoded.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(failed("its server sent it compressed, though asked not to"));
    }
    let too_large = || {
        let text = format!("The document is larger than {} bytes.", limits.bytes_max);
        Box::new(
            Fault::new(FaultClass::TooLarge, "document_too_large", text)
                .fix("Send a shorter document, or the part of it that matters.")
                .param("input.document"),
        )
    };
    if http_body::Body::size_hint(&answer.body).lower() > limits.bytes_max as u64 {
        return Err(too_large());
    }
    let (mime, charset) = media_type(&answer.headers);
    match answer.body.read_to_end(limits.bytes_max).await {
        Ok(bytes) => Ok(Document { mime, charset, bytes }),
        Err(error) if error.kind == EgressErrorKind::Protocol => Err(too_large()),
        Err(error) => Err(from_egress(&error)),
    }
}

fn media_type(headers: &Headers) -> (String, Option<String>) {
    let text = headers.text("content-type").unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let mime = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim_matches('"').to_ascii_lowercase());
    let mime = if mime.is_empty() { "application/octet-stream".to_owned() } else { mime };
    (mime, charset)
}

fn from_egress(error: &EgressError) -> Box<Fault> {
    if error.kind == EgressErrorKind::Guard {
        return Box::new(
            Fault::new(
                FaultClass::BadRequest,
                "document_refused",
                format!("The document is not fetched: {error}"),
            )
            .fix("Send it as a data: URI, or at a public https address.")
            .param("input.document"),
        );
    }
    failed(error.message.trim_end_matches('.'))
}

fn refused(why: &str) -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::BadRequest,
            "document_refused",
            format!("The document is not fetched: {why}."),
        )
        .fix("Send it as a data: URI, or at a public https address.")
        .param("input.document"),
    )
}

fn failed(why: &str) -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::BadRequest,
            "document_unreachable",
            format!("The document could not be fetched: {why}."),
        )
        .fix("Check its address, or send the document as a data: URI.")
        .param("input.document"),
    )
}
