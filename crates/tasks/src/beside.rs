//! Work of tenants that may take long: beside the thread that all share, and a little of each owner's at a time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::limits::{BESIDE_MAX, BESIDE_OF_OWNER_MAX};

/// The bytes of whichever id names an owner.
pub type Owner = [u8; 16];

/// Permits for work that takes a thread or a process: few in all, and fewer for one owner.
#[derive(Debug)]
pub struct Permits {
    of_owner: usize,
    all: Semaphore,
    owners: Mutex<BTreeMap<Owner, Arc<Semaphore>>>,
}

/// Held while the work runs.
#[derive(Debug)]
#[must_use = "a permit ends when it is dropped"]
pub struct Permit<'a> {
    // `None` from a semaphore that is closed, which none of these ever is.
    _of_all: Option<SemaphorePermit<'a>>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Permits {
    pub const fn new(of_owner: usize, all: usize) -> Self {
        Self { of_owner, all: Semaphore::const_new(all), owners: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a permit: of the owner's first, so that an owner who has too much to do takes no permit from the others.
    pub async fn acquire(&self, owner: Owner) -> Permit<'_> {
        let own = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            // Owners whose permits nobody has or awaits are forgotten.
            owners.retain(|_, permits| Arc::strong_count(permits) > 1);
            Arc::clone(owners.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(self.of_owner))))
        };
        let own = own.acquire_owned().await.ok();
        Permit { _of_all: self.all.acquire().await.ok(), _own: own }
    }
}

static BESIDE: Permits = Permits::new(BESIDE_OF_OWNER_MAX, BESIDE_MAX);

thread_local! {
    /// Whether this thread polls such work now.
    static IS_BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// Polls an owner's work so that, while it computes, another thread runs the other tasks of its runtime. The work
/// has a permit while it computes, and none while it waits. Work within such work computes with the outer one's permit:
/// of two that each waited for a second one, neither might ever get it.
pub async fn beside<F: Future>(owner: Owner, work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        let permit = if IS_BESIDE.get() { None } else { Some(BESIDE.acquire(owner).await) };
        let polled = std::future::poll_fn(|cx| Poll::Ready(in_place(|| work.as_mut().poll(cx)))).await;
        drop(permit);
        if let Poll::Ready(done) = polled {
            return done;
        }
        woken().await;
    }
}

/// Ends the mark of its thread, also where the work panics.
struct Marked;

impl Drop for Marked {
    fn drop(&mut self) {
        IS_BESIDE.set(false);
    }
}

/// A runtime of one thread has no other that could take over.
fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if IS_BESIDE.replace(true) {
        return work();
    }
    let _marked = Marked;
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Returns when the task is polled again.
async fn woken() {
    let mut is_again = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut is_again, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    const ONE: Owner = [1; 16];
    const OTHER: Owner = [2; 16];

    #[test]
    fn work_that_computes_keeps_nothing_else_from_the_one_thread() {
        let runtime = crate::runtime("one").unwrap();
        let (end, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let computing = runtime.spawn(beside(ONE, async move {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            tokio::task::yield_now().await;
            7
        }));
        runtime.block_on(has_begun).unwrap();
        let other = runtime.spawn(async { 8 });
        assert_eq!(runtime.block_on(other).unwrap(), 8);
        assert!(!computing.is_finished());
        end.send(()).unwrap();
        assert_eq!(runtime.block_on(computing).unwrap(), 7);
    }

    #[tokio::test]
    async fn work_within_work_waits_for_no_second_permit() {
        let owner = [3; 16];
        let mut others = Vec::new();
        for _ in 1..BESIDE_OF_OWNER_MAX {
            others.push(BESIDE.acquire(owner).await);
        }
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut nested = pin!(beside(owner, beside(owner, async { 7 })));
        assert_eq!(nested.as_mut().poll(&mut cx), Poll::Ready(7));
        others.push(BESIDE.acquire(owner).await);
        let mut third = pin!(beside(owner, async { 8 }));
        assert!(third.as_mut().poll(&mut cx).is_pending(), "work within no other needs one");
    }

    #[tokio::test]
    async fn an_owner_waits_for_its_own_work_and_not_for_that_of_others() {
        let permits = Permits::new(2, 3);
        let (first, _second) = (permits.acquire(ONE).await, permits.acquire(ONE).await);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut third = pin!(permits.acquire(ONE));
        assert!(third.as_mut().poll(&mut cx).is_pending());
        let others = permits.acquire(OTHER).await;
        let mut too_many = pin!(permits.acquire(OTHER));
        assert!(too_many.as_mut().poll(&mut cx).is_pending(), "three are all");
        drop(first);
        assert!(too_many.as_mut().poll(&mut cx).is_ready());
        drop(others);
        let _third = third.await;
        assert_eq!(permits.owners.lock().unwrap().len(), 2);
    }
}
