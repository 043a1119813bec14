//! Requests that a provider puts into a queue: each is polled until it is done and its answer fetched, or
//! cancelled if nobody waits for it any more.

use std::rc::Rc;
use std::time::Duration;

use domain::limits::{
    QUEUE_POLL_PAUSE_FIRST, QUEUE_POLL_PAUSE_MAX, QUEUE_POLLS_FAILED_MAX, REFUSAL_BYTES_MAX,
};
use egress::{OutBody, Request};
use http::Method;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use plan::Attempt;
use providers::{Queue, Taken};
use tokio::time::sleep;

use crate::exchange::Exchange;
use crate::failure::AttemptFailure;
use crate::upstream::{UpstreamResponse, destination, no_headers, send};
use crate::{Deps, read, schedule};

/// Cancels the queued request if dropped before the answer is there.
struct CancelOnDrop {
    deps: Deps,
    attempt: Rc<Attempt>,
    request: Option<Request>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        let (deps, attempt) = (self.deps.clone(), Rc::clone(&self.attempt));
        tasks::spawn_on_core(async move {
            // Whether the cancel succeeds can't be acted on any more: otherwise the provider bills the
            // result, and it is not booked.
            if let Err(error) = deps.egress.send(&request, destination(attempt.seat())).await {
                tracing::warn!(%error, "a request in the provider's queue could not be cancelled");
            }
        });
    }
}

/// From the queue's acknowledgement of a request to its answer.
pub(crate) async fn wait(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    queue: Queue<'_>,
    sent: &Request,
    taken: UpstreamResponse,
) -> Result<UpstreamResponse, AttemptFailure> {
    let slug = attempt.provider();
    let bytes = read::prefix(taken.body, REFUSAL_BYTES_MAX).await;
    let bytes =
        read::decoded(&taken.headers, bytes).await.map_err(|what| AttemptFailure::broken(slug, what))?;
    let taken = queue
        .queueing
        .read_taken(&bytes)
        .filter(|taken| taken.places().iter().all(|url| is_below(queue.address, url)))
        .ok_or_else(|| AttemptFailure::broken(slug, "its queue gave no valid status URL").not_retryable())?;
    let Taken { look: status, fetch, cancel } = taken;
    let signed: Vec<(HeaderName, HeaderValue)> =
        sent.headers.iter().filter(|(name, _)| [AUTHORIZATION, USER_AGENT].contains(name)).cloned().collect();
    let to = |method: Method, location: String| {
        let url = exchange.deps.egress.read_url(location);
        let url =
            url.map_err(|_| AttemptFailure::broken(slug, "its queue gave an invalid URL").not_retryable())?;
        Ok(Request { method, url, headers: signed.clone(), body: OutBody::from(Vec::new()) })
    };
    let mut call_off = CancelOnDrop {
        deps: exchange.deps.clone(),
        attempt: Rc::clone(attempt),
        request: Some(to(Method::PUT, cancel)?),
    };
    poll_until_done(exchange, attempt, queue, &to(Method::GET, status)?).await?;
    let fetch = to(Method::GET, fetch)?;
    // It is done, whether well or not: there is nothing left to cancel.
    call_off.request = None;
    send(&exchange.deps, slug, attempt.seat(), &fetch, no_headers).await
}

async fn poll_until_done(
    exchange: &Exchange,
    attempt: &Attempt,
    queue: Queue<'_>,
    poll: &Request,
) -> Result<(), AttemptFailure> {
    let slug = attempt.provider();
    let (mut pause, mut failed) = (QUEUE_POLL_PAUSE_FIRST, 0);
    loop {
        sleep(pause).await;
        pause = longer(pause);
        let opened = match send(&exchange.deps, slug, attempt.seat(), poll, no_headers).await {
            Ok(opened) => opened,
            // The request stays in the queue while the provider can't be reached for a moment.
            Err(failure) if schedule::remedy(failure.class()) == schedule::Remedy::SameSeat => {
                failed += 1;
                if failed > QUEUE_POLLS_FAILED_MAX {
                    return Err(failure);
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        failed = 0;
        let bytes = read::prefix(opened.body, REFUSAL_BYTES_MAX).await;
        let bytes =
            read::decoded(&opened.headers, bytes).await.map_err(|what| AttemptFailure::broken(slug, what))?;
        match queue.queueing.is_done(&bytes) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => return Err(AttemptFailure::broken(slug, "its queue reported no valid status")),
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause + pause / 2).min(QUEUE_POLL_PAUSE_MAX)
}

/// Whether a URL is below the queue's address: the key goes nowhere else, whatever the queue names.
fn is_below(address: &str, url: &str) -> bool {
    let rest = url.strip_prefix(address.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/') && !rest.contains(['\\', '@', '#', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_queues_own_or_none() {
        let is_own = |url: &str| is_below("https://queue.example/", url);
        assert!(is_own("https://queue.example/a/b/requests/1/status"));
        for wrong in [
            "https://queue.example.evil/a",
            "https://queue.example@evil.example/a",
            "http://queue.example/a",
            "https://evil.example/https://queue.example/a",
            "https://queue.example:443@evil.example/",
            "https://queue.example",
            "/a",
            "",
        ] {
            assert!(!is_own(wrong), "{wrong}");
        }
    }

    #[test]
    fn looks_become_rarer() {
        let mut pause = QUEUE_POLL_PAUSE_FIRST;
        for _ in 0..20 {
            pause = longer(pause);
        }
        assert_eq!(pause, QUEUE_POLL_PAUSE_MAX);
    }
}
