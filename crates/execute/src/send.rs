//! Sends the request of an exchange, and follows queues and interim answers to the one that was requested.

use std::rc::Rc;

use egress::{Headers, Request};
use plan::Attempt;

use crate::exchange::Exchange;
use crate::failure::AttemptFailure;
use crate::upstream::{UpstreamResponse, forwarded_headers, send};
use crate::{lead, queue};

/// Sends an exchange's request, separates an answer from a refusal, and follows queues and leads.
pub(crate) async fn send_and_follow(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    request: &Request,
) -> Result<UpstreamResponse, AttemptFailure> {
    let (slug, seat) = (attempt.provider(), attempt.seat());
    let opened = send(&exchange.deps, slug, seat, request, |headers| {
        record_limits(exchange, attempt, headers);
        forwarded_headers(headers, seat, exchange.dialect().grammar()).into()
    })
    .await?;
    record_limits(exchange, attempt, &opened.headers);
    let provider = providers::provider(slug);
    let stored = exchange.call.request().stored.as_deref();
    if queue_of(exchange, attempt).is_none() && !lead::is_needed(provider, exchange.call.operation(), stored)
    {
        return Ok(opened);
    }
    // Boxed: few answers lead on, and every future is as large as what is awaited inline.
    Box::pin(go_on(exchange, attempt, request, opened)).await
}

/// The provider's queue. `None` for stored objects: those are polled by their names,
/// and no request waits for them.
fn queue_of<'a>(exchange: &Exchange, attempt: &'a Attempt) -> Option<providers::Queue<'a>> {
    let queue = providers::queue(providers::provider(attempt.provider()), attempt.seat().hosting());
    queue.filter(|_| !exchange.call.is_about_object())
}

/// Follows an interim answer to the one that was requested.
async fn go_on(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    request: &Request,
    opened: UpstreamResponse,
) -> Result<UpstreamResponse, AttemptFailure> {
    let opened = match queue_of(exchange, attempt) {
        Some(queue) => queue::wait(exchange, attempt, queue, request, opened).await?,
        None => opened,
    };
    let (slug, seat, base_url) = (attempt.provider(), attempt.seat(), attempt.base_url());
    let (operation, stored) = (exchange.call.operation(), exchange.call.request().stored.as_deref());
    if !lead::is_needed(providers::provider(slug), operation, stored) {
        return Ok(opened);
    }
    let road = lead::FollowTarget { slug, seat, base_url, operation, stored, sent: request };
    lead::follow(&exchange.deps, road, opened).await
}

/// Records the rate limits that a provider reported for its account.
pub(crate) fn record_limits(exchange: &Exchange, attempt: &Attempt, headers: &Headers) {
    let deps = &exchange.deps;
    let standings = providers::read_rate_limits(headers.iter(), || deps.world.clock.unix_ms());
    if standings == domain::RateLimitStates::default() {
        return;
    }
    let (now_us, now_unix_ms) = (deps.now_us(), deps.world.clock.unix_ms());
    let (principal, model) = (attempt.principal(), attempt.upstream_model());
    deps.board.record_limits(principal, model, standings, now_us, now_unix_ms);
}
