//! Answers that lead to the result, which is at another address of the same provider or in a file of its own.

use conversation::request::Stored;
use domain::Operation;
use domain::limits::{FOLLOW_UPS_MAX, REFUSAL_BYTES_MAX};
use egress::{InBody, OutBody, Request};
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use plan::Seat;
use providers::{FollowUp, IntermediateAnswer, Provider};

use crate::failure::AttemptFailure;
use crate::upstream::{UpstreamResponse, billed, check_status, destination, no_headers};
use crate::{Deps, read};

/// Statuses with which an app itself refuses: they count as an answer about the app's work.
const REFUSED_BY_APP: [u16; 3] = [400, 422, 500];

/// Which provider is called, and for what.
pub(crate) struct FollowTarget<'a> {
    pub slug: &'a str,
    pub seat: &'a Seat,
    pub base_url: &'a str,
    pub operation: Operation,
    pub stored: Option<&'a Stored>,
    /// The first request, whose signature also holds for those that follow.
    pub sent: &'a Request,
}

/// Whether answers to this operation only lead to the result.
pub(crate) fn is_needed(provider: &dyn Provider, operation: Operation, stored: Option<&Stored>) -> bool {
    provider.leading().is_some_and(|leading| leading.has_follow_up(operation, stored))
}

/// Follows an answer to the result that was requested.
pub(crate) async fn follow(
    deps: &Deps,
    road: FollowTarget<'_>,
    mut opened: UpstreamResponse,
) -> Result<UpstreamResponse, AttemptFailure> {
    let road = &road;
    let FollowTarget { slug, seat, .. } = *road;
    let provider = providers::provider(slug);
    for step in 0..=FOLLOW_UPS_MAX {
        let raw = read::prefix(opened.body, REFUSAL_BYTES_MAX).await;
        let body = &read::decoded(&opened.headers, raw.clone())
            .await
            .map_err(|what| AttemptFailure::broken(slug, what))?;
        let hosting = seat.hosting();
        let FollowTarget { base_url, operation, stored, .. } = *road;
        let leading = IntermediateAnswer { base_url, hosting, operation, stored, step, body };
        // What was made is billed, whether it can be fetched or not.
        let billed = billed(provider, &opened.headers);
        let lost = |failure: AttemptFailure| AttemptFailure { billed, ..failure.not_retryable() };
        let next = provider.leading().map_or(Ok(FollowUp::Final), |face| face.follow_up(&leading));
        let lead = next.map_err(|what| lost(AttemptFailure::broken(slug, what)))?;
        opened = match lead {
            FollowUp::Final => return Ok(UpstreamResponse { body: InBody::read(raw), ..opened }),
            FollowUp::Request { method, url } => go(deps, road, method, url).await?,
            FollowUp::Fetch { url } => {
                let request = request(deps, slug, Method::GET, url, unsigned(road.sent)).map_err(lost)?;
                let file = fetch(deps, road, &request).await.map_err(lost)?;
                return Ok(UpstreamResponse { led_by: Some(Box::new(opened.headers)), ..file });
            }
        };
    }
    Err(AttemptFailure::broken(slug, "it takes too many follow-up requests").not_retryable())
}

/// Calls the same provider, under the same signature.
async fn go(
    deps: &Deps,
    road: &FollowTarget<'_>,
    method: Method,
    url: String,
) -> Result<UpstreamResponse, AttemptFailure> {
    let FollowTarget { slug, seat, sent, .. } = *road;
    let request = request(deps, slug, method, url, select_headers(sent, &[AUTHORIZATION, USER_AGENT]))?;
    let answer = deps.egress.send(&request, destination(seat)).await;
    let answer = answer.map_err(|error| AttemptFailure::egress(&error, slug))?;
    let status = answer.status.as_u16();
    if REFUSED_BY_APP.contains(&status) {
        return Ok(UpstreamResponse { status, headers: answer.headers, led_by: None, body: answer.body });
    }
    check_status(deps, slug, seat, answer, no_headers).await
}

/// Fetches a file. A refusal of its host says nothing about the account, which the host never saw.
async fn fetch(
    deps: &Deps,
    road: &FollowTarget<'_>,
    request: &Request,
) -> Result<UpstreamResponse, AttemptFailure> {
    let FollowTarget { slug, seat, .. } = *road;
    let answer = deps.egress.send(request, destination(seat)).await;
    let answer = answer.map_err(|error| AttemptFailure::egress(&error, slug))?;
    let status = answer.status;
    if !status.is_success() && !status.is_redirection() {
        let what = format!("its file can't be fetched (status {})", status.as_u16());
        return Err(AttemptFailure { status: Some(status.as_u16()), ..AttemptFailure::broken(slug, &what) });
    }
    check_status(deps, slug, seat, answer, no_headers).await
}

/// The headers for a file's host: without the credential, and without compression, which
/// is not the file that was made.
fn unsigned(sent: &Request) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = select_headers(sent, &[USER_AGENT]);
    headers.push((ACCEPT, HeaderValue::from_static("*/*")));
    headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    headers
}

fn select_headers(sent: &Request, names: &[HeaderName]) -> Vec<(HeaderName, HeaderValue)> {
    sent.headers.iter().filter(|(name, _)| names.contains(name)).cloned().collect()
}

fn request(
    deps: &Deps,
    slug: &str,
    method: Method,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Result<Request, AttemptFailure> {
    let url = deps.egress.read_url(url);
    let url = url.map_err(|_| AttemptFailure::broken(slug, "it points to an invalid URL").not_retryable())?;
    Ok(Request { method, url, headers, body: OutBody::from(Vec::new()) })
}
