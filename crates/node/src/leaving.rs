//! When a request leaves: before anything is computed here, or after the runtime refused it or failed.

use std::time::Duration;

use domain::{Fault, Usage};
use http::Response;
use tokio::time::timeout;

use crate::body::NodeBody;
use crate::books::{RequestGuard, RequestOutcome};
use crate::hybrid::{Departure, LeftBecause, Staying, because_of};
use crate::mode::Mode;
use crate::service::Service;
use crate::target::{Received, Target, missing_here, not_taken, queue_too_long};

pub(crate) type Answered = Result<Response<NodeBody>, Box<Fault>>;

/// The first decision about a request, which the runtime serves as it was read.
pub(crate) enum First<T> {
    Left(Answered),
    Stays(T, Box<Staying>),
}

/// How long a request may wait in the queue here, if it has somewhere else to go.
pub(crate) fn queue_bound(target: &Target, departure: Option<&Departure<'_>>) -> Option<Duration> {
    departure.map(|departure| departure.hybrid.queue_wait).or(target.queue_wait)
}

/// The output of a future, unless the bound passes before.
pub(crate) async fn within<F: Future>(bound: Option<Duration>, future: F) -> Option<F::Output> {
    match bound {
        Some(bound) => timeout(bound, future).await.ok(),
        None => Some(future.await),
    }
}

/// The request has waited in the queue as long as it may: a backend answers it, or who sent it goes elsewhere. If no backend
/// answers, it keeps its place in the queue.
pub(crate) async fn leave_queue(
    departure: Option<&Departure<'_>>,
    entry: Option<RequestGuard>,
) -> Result<Answered, Box<Staying>> {
    let Some(departure) = departure else {
        if let Some(entry) = entry {
            entry.end(RequestOutcome::Failed, &Usage::default());
        }
        return Ok(Err(queue_too_long()));
    };
    let left = departure.send(Some(LeftBecause::QueueWait), entry).await;
    left.map(Ok).map_err(|returned| Box::new(returned.stay()))
}

/// Sends a request that only a backend can answer.
pub(crate) async fn leave_for_good(
    departure: &Departure<'_>,
    target: &Target,
    entry: Option<RequestGuard>,
) -> Answered {
    let because = (target.mode == Mode::Hybrid).then_some(LeftBecause::ModelMissing);
    let left = departure.send(because, entry).await;
    left.map_err(|returned| returned.fault(because.map(|_| missing_here(target)).as_ref()))
}

impl Service {
    /// Sends the request away if only a backend can answer it, or if this node would be late.
    pub(crate) async fn leave_first<T>(
        &self,
        received: Received<'_>,
        target: &Target,
        departure: Option<&Departure<'_>>,
        read: Result<T, Box<Fault>>,
    ) -> First<T> {
        // A backend may be able to read what this runtime can't.
        match read {
            Err(fault) if !(target.must_leave() && departure.is_some()) => First::Left(Err(fault)),
            read => match (self.leave_at_once(received, target, departure).await, read) {
                (Err(answered), _) => First::Left(answered),
                (Ok(_), Err(fault)) => First::Left(Err(fault)),
                (Ok(staying), Ok(request)) => First::Stays(request, staying),
            },
        }
    }

    async fn leave_at_once(
        &self,
        received: Received<'_>,
        target: &Target,
        departure: Option<&Departure<'_>>,
    ) -> Result<Box<Staying>, Answered> {
        let Some(departure) = departure else {
            return match target.queue_wait {
                _ if target.mode == Mode::Cloud => Err(Err(not_taken(target))),
                Some(bound) if self.would_wait_longer(bound) => Err(Err(queue_too_long())),
                _ => Ok(Box::default()),
            };
        };
        let begin = || self.begin(received.call.operation(), target, received.ids);
        if target.must_leave() {
            return Err(leave_for_good(departure, target, Some(begin())).await);
        }
        let Some(because) = self.delay(received.call, departure) else { return Ok(Box::default()) };
        match departure.send(Some(because), Some(begin())).await {
            Ok(answer) => Err(Ok(answer)),
            // It is late or has to wait, but it is served.
            Err(returned) => Ok(Box::new(returned.stay())),
        }
    }

    /// The runtime refused the request, or failed before the first byte. It leaves if that is a reason, and if no
    /// backend was tried before.
    pub(crate) async fn leave_after(
        &self,
        received: Received<'_>,
        target: &Target,
        departure: Option<&Departure<'_>>,
        staying: Staying,
        fault: Box<Fault>,
    ) -> Answered {
        let Staying { entry, nobody, usage } = staying;
        match (departure, because_of(&fault), nobody) {
            (Some(departure), Some(because), None) => {
                let entry =
                    entry.unwrap_or_else(|| self.begin(received.call.operation(), target, received.ids));
                let left = departure.send(Some(because), Some(entry)).await;
                left.map_err(|returned| returned.fault(Some(&fault)))
            }
            (_, _, nobody) => {
                if let Some(entry) = entry {
                    entry.end(RequestOutcome::Failed, &usage);
                }
                Err(match nobody {
                    Some(nobody) if because_of(&fault).is_some() => nobody.fault(Some(&fault)),
                    _ => fault,
                })
            }
        }
    }
}
