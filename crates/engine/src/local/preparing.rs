//! Prepares requests on threads of their own: tokenizing a long text and compiling a schema to a grammar
//! constraint take time, during which other requests are served.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use domain::inference_task::InferenceTask;
use domain::limits::ENGINE_COMMANDS_MAX;
use domain::runtime::Generation;
use domain::{Event, Fault, Usage};
use tokio::sync::oneshot;

use super::answer::{Answer, lost, refusal};
use super::passages::EncodeBatch;
use crate::EngineError;
use crate::request::Refused;

/// More than one, so that a costly request does not hold up the next.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of preparer threads. They end when it is dropped, each after its current job.
#[derive(Debug)]
pub(super) struct Preparing {
    jobs: SyncSender<Job>,
}

impl Preparing {
    /// # Errors
    /// A thread can't be started.
    pub(super) fn start() -> Result<Self, EngineError> {
        let (jobs, waiting) = sync_channel(ENGINE_COMMANDS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name("engine-preparer".to_owned());
            thread.spawn(move || prepare_all(&waiting)).map_err(EngineError::Thread)?;
        }
        Ok(Self { jobs })
    }

    /// Runs a closure on a preparer thread. It is skipped if the result is dropped before, and can check
    /// whether the result is still wanted. The result is a refusal, as by a full queue, if too many wait.
    pub(super) fn make<W: Send + 'static>(
        &self,
        make: impl FnOnce(&dyn Fn() -> bool) -> Result<W, Fault> + Send + 'static,
    ) -> Coming<W> {
        let (sender, coming) = oneshot::channel();
        let job = move || {
            if !sender.is_closed() {
                let made = make(&|| !sender.is_closed());
                let _ = sender.send(made);
            }
        };
        // If no thread is left, the future resolves to an error.
        match self.jobs.try_send(Box::new(job)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Coming(coming),
            Err(TrySendError::Full(_)) => {
                let (sender, coming) = oneshot::channel();
                let _ = sender.send(Err(refusal(Refused::Full)));
                Coming(coming)
            }
        }
    }
}

fn prepare_all(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic fails only its own request, whose future then resolves to an error.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// A value that is being prepared.
pub(super) struct Coming<W>(oneshot::Receiver<Result<W, Fault>>);

impl<W> Future for Coming<W> {
    type Output = Result<W, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let made = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(made.unwrap_or_else(|_| Err(lost("The request could not be prepared."))))
    }
}

/// Work that is prepared first and then polled.
pub(super) enum Prepared<W> {
    Coming(Coming<W>),
    Here(Box<W>),
    Over,
}

impl<W> Prepared<W> {
    /// The prepared work; `None` once preparing it has failed and the fault was returned.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<&mut W, Fault>>> {
        if let Self::Coming(coming) = self {
            match ready!(Pin::new(coming).poll(cx)) {
                Ok(work) => *self = Self::Here(Box::new(work)),
                Err(fault) => {
                    *self = Self::Over;
                    return Poll::Ready(Some(Err(fault)));
                }
            }
        }
        Poll::Ready(match self {
            Self::Here(work) => Some(Ok(work)),
            Self::Coming(_) | Self::Over => None,
        })
    }
}

impl Generation for Prepared<Answer> {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        match ready!(self.poll_work(cx)) {
            Some(Ok(answer)) => Pin::new(answer).poll_next(cx),
            Some(Err(fault)) => Poll::Ready(Some(Err(fault))),
            None => Poll::Ready(None),
        }
    }

    fn usage(self: Pin<&Self>) -> Usage {
        match &*self {
            Self::Here(answer) => Pin::new(&**answer).usage(),
            Self::Coming(_) | Self::Over => Usage::default(),
        }
    }
}

impl<T> InferenceTask for Prepared<EncodeBatch<T>> {
    type TaskOutput = T;

    fn poll_output(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Fault>> {
        match ready!(self.poll_work(cx)) {
            Some(Ok(passages)) => Pin::new(passages).poll_output(cx),
            Some(Err(fault)) => Poll::Ready(Err(fault)),
            None => Poll::Ready(Err(Fault::internal())),
        }
    }

    fn usage(self: Pin<&Self>) -> Usage {
        match &*self {
            Self::Here(passages) => Pin::new(&**passages).usage(),
            Self::Coming(_) | Self::Over => Usage::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_request_that_finds_too_many_to_prepare_is_refused_as_by_a_full_queue() {
        let preparing = Preparing::start().unwrap();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let mut all: Vec<_> = (0..=ENGINE_COMMANDS_MAX + THREADS)
            .map(|_| {
                let gate = Arc::clone(&gate);
                preparing.make(move |_| {
                    drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
                    Ok(())
                })
            })
            .collect();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(fault)) = Pin::new(all.last_mut().unwrap()).poll(&mut cx) else {
            panic!("it is not refused")
        };
        assert_eq!((fault.class, fault.code), (domain::FaultClass::Limited, "queue_full"));
        assert!(Pin::new(&mut all[0]).poll(&mut cx).is_pending());
        drop(closed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(all.swap_remove(0)).unwrap();
    }
}
