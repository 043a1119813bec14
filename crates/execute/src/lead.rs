//! Answers that lead to the result, which is at another address of the same provider or in a file of its own.

use dialects::Stored;
use domain::Operation;
use domain::limits::{LEADS_MAX, REFUSAL_BYTES_MAX};
use egress::{InBody, OutBody, Request};
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use plan::Seat;
use providers::{Lead, Leading};

use crate::attempt::{Opened, billed, destination, judge};
use crate::miss::Miss;
use crate::{Hands, read};

/// Statuses with which an app itself refuses: they count as an answer about the app's work.
const REFUSED_BY_APP: [u16; 3] = [400, 422, 500];

/// Which provider is called, and for what.
pub(crate) struct Road<'a> {
    pub slug: &'a str,
    pub seat: &'a Seat,
    pub base_url: &'a str,
    pub operation: Operation,
    pub stored: Option<&'a Stored>,
    /// The first request, whose signature also holds for those that follow.
    pub sent: &'a Request,
}

/// Follows an answer to the result that was requested.
pub(crate) async fn follow(hands: &Hands, road: Road<'_>, mut opened: Opened) -> Result<Opened, Miss> {
    let road = &road;
    let Road { slug, seat, .. } = *road;
    let provider = providers::provider(slug);
    for step in 0..=LEADS_MAX {
        let raw = read::prefix(opened.body, REFUSAL_BYTES_MAX).await;
        let body =
            &read::decoded(&opened.headers, raw.clone()).await.map_err(|what| Miss::broken(slug, what))?;
        let hosting = seat.hosting();
        let Road { base_url, operation, stored, .. } = *road;
        let leading = Leading { base_url, hosting, operation, stored, step, body };
        // What was made is billed, whether it can be fetched or not.
        let billed = billed(provider, &opened.headers);
        let lost = |miss: Miss| Miss { billed, ..miss.not_again() };
        let lead = provider.lead(&leading).map_err(|what| lost(Miss::broken(slug, what)))?;
        opened = match lead {
            Lead::Here => return Ok(Opened { body: InBody::read(raw), ..opened }),
            Lead::Ask { method, url } => go(hands, road, method, url).await?,
            Lead::Fetch { url } => {
                let request = request(hands, slug, Method::GET, url, unsigned(road.sent)).map_err(lost)?;
                let file = fetch(hands, road, &request).await.map_err(lost)?;
                return Ok(Opened { led_by: Some(Box::new(opened.headers)), ..file });
            }
        };
    }
    Err(Miss::broken(slug, "its answers lead on and on").not_again())
}

/// Calls the same provider, under the same signature.
async fn go(hands: &Hands, road: &Road<'_>, method: Method, url: String) -> Result<Opened, Miss> {
    let Road { slug, seat, sent, .. } = *road;
    let request = request(hands, slug, method, url, kept(sent, &[AUTHORIZATION, USER_AGENT]))?;
    let answer = hands.egress.send(&request, destination(seat)).await;
    let answer = answer.map_err(|error| Miss::egress(&error, slug))?;
    let status = answer.status.as_u16();
    if REFUSED_BY_APP.contains(&status) {
        return Ok(Opened { status, headers: answer.headers, led_by: None, body: answer.body });
    }
    judge(hands, slug, seat, answer, |_| {}).await
}

/// Fetches a file. A refusal of its host says nothing about the account, which the host never saw.
async fn fetch(hands: &Hands, road: &Road<'_>, request: &Request) -> Result<Opened, Miss> {
    let Road { slug, seat, .. } = *road;
    let answer = hands.egress.send(request, destination(seat)).await;
    let answer = answer.map_err(|error| Miss::egress(&error, slug))?;
    let status = answer.status;
    if !status.is_success() && !status.is_redirection() {
        let what = format!("its file can't be fetched (status {})", status.as_u16());
        return Err(Miss { status: Some(status.as_u16()), ..Miss::broken(slug, &what) });
    }
    judge(hands, slug, seat, answer, |_| {}).await
}

/// The headers for a file's host: without the credential, and without compression, which
/// is not the file that was made.
fn unsigned(sent: &Request) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = kept(sent, &[USER_AGENT]);
    headers.push((ACCEPT, HeaderValue::from_static("*/*")));
    headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    headers
}

fn kept(sent: &Request, names: &[HeaderName]) -> Vec<(HeaderName, HeaderValue)> {
    sent.headers.iter().filter(|(name, _)| names.contains(name)).cloned().collect()
}

fn request(
    hands: &Hands,
    slug: &str,
    method: Method,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Result<Request, Miss> {
    let url = hands.egress.read_url(url);
    let url = url.map_err(|_| Miss::broken(slug, "its answer leads to a place that is none").not_again())?;
    Ok(Request { method, url, headers, body: OutBody::from(Vec::new()) })
}
