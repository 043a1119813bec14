//! Retries after the response head has gone out: the same credential and model, and only while no
//! content has reached the client.

use ledger::Tab;
use tokio::time::sleep;

use crate::attempt::{self, Start};
use crate::attempt_stream::AttemptStream;
use crate::failure::AttemptFailure;
use crate::schedule::{self, Situation, Step};

/// The outcome of retrying a stream that failed after its head was sent.
pub enum LateRetry {
    /// A new attempt is running on the same seat.
    Resumed(Box<AttemptStream>),
    /// No retry: the client gets the error. The failed stream still knows what was used.
    Exhausted(Box<AttemptStream>, AttemptFailure),
}

/// Retries on the same seat if the schedule and the retry budget allow it. The failed
/// attempt's end is recorded in the tab.
pub async fn retry_late(
    mut failed: Box<AttemptStream>,
    mut tab: Tab,
    mut failure: AttemptFailure,
) -> (Tab, LateRetry) {
    loop {
        failure = failed.process_context(failure);
        let exchange = std::rc::Rc::clone(&failed.exchange);
        let attempt = std::rc::Rc::clone(&failed.attempt);
        let deps = &exchange.deps;
        let step = schedule::next_step(&Situation {
            cached_refused: failure.context_refused,
            class: failure.class(),
            retry_after_ms: failure.fault.retry_after_ms,
            should_retry: failure.should_retry,
            tries_on_seat: failed.tries_on_seat,
            tries: failed.tries,
            leaves_at_once: false,
            has_next: false,
            has_next_own: false,
            time_left: exchange.time_left(),
            random: deps.world.random.next_u64(),
        });
        let Step::Again { wait } = step else { return (tab, LateRetry::Exhausted(failed, failure)) };
        if failed.facts().content_started
            || exchange.is_body_consumed()
            || !failure.context_refused && !deps.board.take_retry(attempt.base_url(), deps.now_us())
        {
            return (tab, LateRetry::Exhausted(failed, failure));
        }
        failed.end_as_failed(&mut tab, &failure);
        sleep(wait).await;
        let ticket = match attempt::claim(&exchange, &attempt, true, deps.now_us()) {
            Ok(ticket) => ticket,
            Err(_denied) => return (tab, LateRetry::Exhausted(failed, failure)),
        };
        let (open, request) =
            match attempt::begin(&exchange, &mut failed.held, &attempt, &mut tab, ticket, false).await {
                Start::Ready(open, request) => (open, request),
                Start::Spilled => return (tab, LateRetry::Exhausted(failed, failure)),
                Start::Refused(fault) => {
                    return (tab, LateRetry::Exhausted(failed, AttemptFailure::new(*fault)));
                }
                Start::Failed(open, next) => {
                    open.end_as_failed(&mut tab, &next, domain::Usage::default(), deps.now_us());
                    failed.tries += 1;
                    failed.tries_on_seat += 1;
                    failure = next;
                    continue;
                }
            };
        let held = std::mem::take(&mut failed.held);
        let mut stream = Box::new(AttemptStream::new(&exchange, &attempt, open, request, held));
        stream.tries = failed.tries + 1;
        stream.tries_on_seat = failed.tries_on_seat + 1;
        return (tab, LateRetry::Resumed(stream));
    }
}
