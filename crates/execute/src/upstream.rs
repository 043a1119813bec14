//! One request to a seat's provider: open the credential, sign, send, and separate an answer from a refusal.

use std::sync::Arc;

use conversation::answer::StreamFault;
use domain::limits::{REFUSAL_BYTES_MAX, UPSTREAM_REQUEST_ID_BYTES_MAX};
use domain::{Fault, FaultClass, Grammar, Secret};
use egress::{Answer, Destination, Headers, InBody, OutBody, Request, TargetKind};
use http::header::{HeaderName, HeaderValue};
use plan::Seat;
use providers::{Outgoing, Provider, Signer};

use crate::failure::{AttemptFailure, ClientHeaders, refusal};
use crate::limits::BILLED_UNITS_MAX;
use crate::{Deps, read};

pub(crate) const REQUEST_ID: &str = "x-request-id";

/// A successful response head, and the body behind it.
#[derive(Debug)]
pub(crate) struct UpstreamResponse {
    pub status: u16,
    pub headers: Headers,
    /// The head of the answer that named this file, if the body is a file.
    pub led_by: Option<Box<Headers>>,
    pub body: InBody,
}

/// Opens the seat's sealed secret and writes the header that it is for. A node without a secret gets no
/// header. Returns the token that signed the request if it is older than the request.
pub(crate) async fn sign(
    deps: &Deps,
    seat: &Seat,
    provider: &dyn Provider,
    slug: &str,
    base_url: &str,
    outgoing: &mut Outgoing,
) -> Result<Option<Arc<Secret>>, AttemptFailure> {
    let hosting = seat.hosting();
    let mut authorise = |secret: &Secret| {
        let unix_s = deps.world.clock.unix_ms() / 1_000;
        providers::authorise(provider, outgoing, &Signer { secret, hosting, unix_s })
            .map_err(AttemptFailure::of_us)
    };
    if hosting.auth.is_exchanged() {
        // Boxed: few seats need it, and every future is as large as what is awaited inline.
        let token = Box::pin(deps.tokens.of(deps, seat, slug, base_url)).await?;
        authorise(&token.secret)?;
        return Ok(Some(token.secret).filter(|_| token.was_cached));
    }
    match open_secret(deps, seat).map_err(AttemptFailure::of_us)? {
        Some(secret) => authorise(&secret).map(|()| None),
        None => Ok(None),
    }
}

pub(crate) fn open_secret(deps: &Deps, seat: &Seat) -> Result<Option<Secret>, Box<Fault>> {
    let (workspace, object, sealed) = match seat {
        Seat::Byok(credential) => (credential.workspace, credential.id.text(), &credential.sealed),
        // Operator accounts belong to no workspace: they are sealed under the nil one.
        Seat::Managed(account) => (vault::OPERATOR, account.id.text(), &account.sealed),
        Seat::Byoc(node) => match &node.sealed {
            Some(sealed) => (node.workspace, node.id.text(), sealed),
            None => return Ok(None),
        },
    };
    deps.opener.open(workspace, &object, sealed).map(Some).map_err(|error| {
        tracing::error!(%object, %error, "a sealed secret could not be opened");
        let message = format!("The secret of {object} could not be opened.");
        Box::new(
            Fault::new(FaultClass::UpstreamAuth, "credential_unreadable", message)
                .fix("Rotate it with a new secret; the audit log says why the old one was refused."),
        )
    })
}

pub(crate) fn request_of(client: &egress::Client, outgoing: Outgoing) -> Result<Request, Box<Fault>> {
    let Outgoing { method, url, headers, body, .. } = outgoing;
    let url = client.read_url(url).map_err(|_| {
        let message = "The base URL of the provider isn't a URL.";
        Box::new(
            Fault::new(FaultClass::Upstream, "upstream_unreachable", message).fix("Correct its base URL."),
        )
    })?;
    Ok(Request { method, url, headers, body: OutBody::from(body) })
}

pub(crate) fn destination(seat: &Seat) -> Destination {
    match seat {
        Seat::Byok(credential) => Destination {
            kind: TargetKind::Provider,
            owner: credential.base_url.as_ref().map(|_| credential.workspace),
        },
        Seat::Managed(_) => Destination::from(TargetKind::Provider),
        Seat::Byoc(node) => Destination { kind: TargetKind::Node, owner: Some(node.workspace) },
    }
}

/// Sends, and separates an answer from a refusal. `for_client` picks those of its headers that a client may see.
pub(crate) async fn send(
    deps: &Deps,
    slug: &str,
    seat: &Seat,
    request: &Request,
    for_client: impl FnOnce(&Headers) -> ClientHeaders,
) -> Result<UpstreamResponse, AttemptFailure> {
    let answer = deps.egress.send(request, destination(seat)).await;
    let answer = answer.map_err(|error| AttemptFailure::at(&error, slug, seat))?;
    check_status(deps, slug, seat, answer, for_client).await
}

/// Separates an answer from a refusal. `for_client` picks those of its headers that a client may see.
pub(crate) async fn check_status(
    deps: &Deps,
    slug: &str,
    seat: &Seat,
    answer: Answer,
    for_client: impl FnOnce(&Headers) -> ClientHeaders,
) -> Result<UpstreamResponse, AttemptFailure> {
    let status = answer.status.as_u16();
    if answer.status.is_redirection() {
        // Following it would send the credential to an address that was never checked.
        let what = format!("it is a redirect (status {status}), and Tidegate never follows redirects");
        return Err(AttemptFailure {
            status: Some(status),
            ..AttemptFailure::broken(slug, &what).not_retryable()
        });
    }
    if !answer.status.is_success() {
        let upstream_headers = for_client(&answer.headers);
        return Err(Box::pin(refused(deps, slug, answer, upstream_headers)).await.with_seat_fix(seat));
    }
    Ok(UpstreamResponse { status, headers: answer.headers, led_by: None, body: answer.body })
}

async fn refused(deps: &Deps, slug: &str, answer: Answer, upstream_headers: ClientHeaders) -> AttemptFailure {
    let Answer { status, headers, body } = answer;
    let bytes = read::prefix(body, REFUSAL_BYTES_MAX).await;
    let bytes = read::decoded(&headers, bytes).await.unwrap_or_default();
    let (status, map) = (status.as_u16(), headers.to_map());
    let mut classified = providers::provider(slug).classify(status, &map, &bytes, slug);
    classified.is_of_account = providers::is_of_account(classified.class, &map, &bytes);
    if classified.retry_after_ms.is_none() {
        // A date can only be turned into a wait with the current time.
        let now = Some(deps.world.clock.unix_ms());
        classified.retry_after_ms = providers::retry_after_ms(&map, now);
    }
    if classified.report.request_id.is_none() {
        classified.report.request_id = request_id(&headers).as_deref().map(str::to_owned);
    }
    AttemptFailure { upstream_headers, ..AttemptFailure::classified(classified, status) }
}

/// A fault that the stream scanner found, as a failed attempt.
pub(crate) fn stream_failure(fault: StreamFault, provider: &str) -> AttemptFailure {
    let used = match &fault {
        StreamFault::UnreadableCall(_, used) => used.clone(),
        StreamFault::Broken(_) | StreamFault::Upstream(..) => None,
    };
    match fault.report() {
        Err(what) => AttemptFailure::broken(provider, what),
        Ok((mut report, class)) => {
            provider.clone_into(&mut report.provider);
            AttemptFailure { used, ..AttemptFailure::new(refusal(class, &report).upstream(report)) }
        }
    }
}

/// The billed units that the head of an answer reports, in millionths.
pub(crate) fn billed(provider: &dyn Provider, headers: &Headers) -> Option<u64> {
    read_units(headers.text(provider.facts().units_header?)?)
}

pub(crate) fn request_id(headers: &Headers) -> Option<Arc<str>> {
    let names = [REQUEST_ID, "request-id", "x-amzn-requestid"];
    names.into_iter().find_map(|name| id_of(headers, name))
}

pub(crate) fn id_of(headers: &Headers, name: &str) -> Option<Arc<str>> {
    // Header text is ASCII here, so it can be cut anywhere.
    let text = headers.text(name)?;
    text.get(..text.len().min(UPSTREAM_REQUEST_ID_BYTES_MAX)).map(Arc::from)
}

/// Reads a decimal number of units as millionths, rounded to the nearest.
fn read_units(text: &str) -> Option<u64> {
    let units: f64 = text.trim().parse().ok()?;
    let is_some_count = units.is_finite() && (0.0..BILLED_UNITS_MAX).contains(&units);
    let digits = is_some_count.then(|| format!("{units:.6}").replace('.', ""))?;
    digits.parse().ok()
}

/// For refusals that no client reads the headers of.
pub(crate) fn no_headers(_refusal: &Headers) -> ClientHeaders {
    ClientHeaders::default()
}

/// The upstream headers that a client may see: the processing time and, if the account is the customer's own,
/// what is left of its rate limits, as far as the client's dialect has these headers. Those of pooled
/// accounts would reveal what other workspaces use.
pub(crate) fn forwarded_headers(
    headers: &Headers,
    seat: &Seat,
    client: Grammar,
) -> Vec<(HeaderName, HeaderValue)> {
    let is_own = matches!(seat, Seat::Byok(_));
    let has = |part: Option<&[u8]>, word: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
    let is_allowed = |name: &[u8]| {
        has(name.last_chunk::<14>().map(<[u8; 14]>::as_slice), b"-processing-ms")
            || (is_own && dialects::is_rate_limit_header(client, name))
    };
    let mut passed: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_allowed(name)) {
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        // Of a header that is sent twice, only the first value is passed on.
        let is_first = passed.iter().all(|(known, _)| *known != name);
        if let Some(value) = headers.share(value).filter(|_| is_first) {
            passed.push((name, value));
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_in_millionths() {
        for (text, expected) in [
            ("2", Some(2_000_000)),
            (" 0.25 ", Some(250_000)),
            ("0", Some(0)),
            ("0.0000004", Some(0)),
            ("0.0000006", Some(1)),
            ("-1", None),
            ("1e9", None),
            ("inf", None),
            ("NaN", None),
            ("many", None),
            ("", None),
        ] {
            assert_eq!(read_units(text), expected, "{text:?}");
        }
    }
}
