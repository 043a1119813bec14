//! Requests are made ready on threads of their own: a long text takes time to become tokens and a schema to become a rule,
//! and meanwhile others are answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use domain::runtime::Generation;
use domain::{Event, Fault, Usage};
use tokio::sync::oneshot;

use super::answer::{Answer, lost};
use crate::EngineError;

/// One costly request does not hold the next one up.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Where requests are made ready. Its threads end with it, each after what it is at.
#[derive(Debug)]
pub(super) struct Preparing {
    jobs: Sender<Job>,
}

impl Preparing {
    /// # Errors
    /// No thread can be had.
    pub(super) fn start() -> Result<Self, EngineError> {
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name("engine-preparer".to_owned());
            thread
                .spawn(move || prepare_all(&waiting))
                .map_err(|source| EngineError::File { path: "a thread".into(), source })?;
        }
        Ok(Self { jobs })
    }

    /// An answer that comes as soon as it is made ready. Whoever leaves before has nothing made.
    pub(super) fn answer(&self, make: impl FnOnce() -> Result<Answer, Fault> + Send + 'static) -> Answering {
        let (told, coming) = oneshot::channel();
        let job = move || {
            if !told.is_closed() {
                let _ = told.send(make());
            }
        };
        // Nobody there: the answer is told that nothing comes.
        let _ = self.jobs.send(Box::new(job));
        Answering::Coming(coming)
    }
}

fn prepare_all(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // What one request breaks, the next does not feel; its own answer is told that nothing comes.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// An answer that is made ready, and then given.
pub(super) enum Answering {
    Coming(oneshot::Receiver<Result<Answer, Fault>>),
    Here(Box<Answer>),
    Over,
}

impl Generation for Answering {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        loop {
            match &mut *self {
                Self::Here(answer) => return Pin::new(&mut **answer).poll_next(cx),
                Self::Over => return Poll::Ready(None),
                Self::Coming(coming) => {
                    let made = ready!(Pin::new(coming).poll(cx));
                    match made.unwrap_or_else(|_| Err(lost("The request could not be made ready."))) {
                        Ok(answer) => *self = Self::Here(Box::new(answer)),
                        Err(fault) => {
                            *self = Self::Over;
                            return Poll::Ready(Some(Err(fault)));
                        }
                    }
                }
            }
        }
    }

    fn used(self: Pin<&Self>) -> Usage {
        match &*self {
            Self::Here(answer) => Pin::new(&**answer).used(),
            Self::Coming(_) | Self::Over => Usage::default(),
        }
    }
}
