//! What answers that are made in the background share: room on a core, and how they are cancelled.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use domain::{Fault, ResponseId};
use line::{Core, Running};
use tokio::time::{Instant, sleep};

use crate::limits::{BACKGROUND_LOOK_EVERY, BACKGROUND_PER_CORE_MAX, CANCEL_LOOK_EVERY, CANCEL_TIME_MAX};

/// Room for one answer that is made in the background on a core.
pub(crate) struct Slot(Rc<Core>);

impl Slot {
    pub(crate) fn take(core: &Rc<Core>) -> Result<Self, Box<Fault>> {
        if core.in_background.get() >= BACKGROUND_PER_CORE_MAX {
            return Err(line::overloaded());
        }
        count(&core.in_background, 1);
        Ok(Self(Rc::clone(core)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        count(&self.0.in_background, -1);
    }
}

fn count(running: &Cell<u32>, change: i32) {
    running.set(running.get().saturating_add_signed(change));
}

/// Makes an answer; `None` once it is cancelled. Dropping the request closes the upstream's connection and books what was
/// used.
pub(crate) async fn until_cancelled<T>(
    running: &Running,
    answering: impl Future<Output = T>,
    is_cancelled_elsewhere: impl AsyncFn() -> bool,
) -> Option<T> {
    let mut answering = pin!(answering);
    loop {
        tokio::select! {
            biased;
            answer = answering.as_mut() => return Some(answer),
            () = running.cancelled() => return None,
            () = sleep(BACKGROUND_LOOK_EVERY) => {}
        }
        // Of a cancellation by another process, the store alone knows.
        if is_cancelled_elsewhere().await {
            return None;
        }
    }
}

/// Tells the core that makes an answer to end, and waits a moment for it: what was stored of it then. `note` tells another
/// process.
pub(crate) async fn cancel<T>(
    core: &Core,
    id: ResponseId,
    note: impl AsyncFnOnce(),
    find: impl AsyncFn() -> Option<T>,
) -> Option<T> {
    let here = core.background.cancel(id);
    if here.is_none() {
        note().await;
    }
    let until = Instant::now() + CANCEL_TIME_MAX;
    while Instant::now() < until {
        // Before the look, so that no end falls between both.
        let ended = here.as_ref().map(line::Ending::ended);
        if let Some(answer) = find().await {
            return Some(answer);
        }
        tokio::select! {
            () = sleep(CANCEL_LOOK_EVERY) => {}
            () = when(ended) => {}
        }
    }
    None
}

/// Resolves when the future does, and never without one.
async fn when(future: Option<impl Future<Output = ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
