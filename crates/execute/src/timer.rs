//! One timer for idle timeout and deadline. It is armed when a wait begins and moved only when it fires, so
//! that neither a chunk nor, on a busy core, a whole exchange arms one.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::IDLE_TIMERS_MAX;

/// A core's pool of unused timers. They stay armed, mostly for an earlier time than the next wait needs,
/// which then has to arm none.
#[derive(Default)]
pub struct Timers(RefCell<Vec<Pin<Box<Sleep>>>>);

/// Why a wait is over.
pub(crate) enum Alarm {
    Silence,
    Deadline,
}

pub(crate) struct Timer {
    timers: Rc<Timers>,
    sleep: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Timer {
    pub(crate) fn new(timers: &Rc<Timers>) -> Self {
        Self { timers: Rc::clone(timers), sleep: None, since: None }
    }

    /// Something arrived: the silence starts again.
    pub(crate) const fn restart(&mut self) {
        self.since = None;
    }

    /// Ready after a silence of `limit`, or at the deadline.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration, deadline: Instant) -> Poll<Alarm> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let silent_at = since + limit;
        let due = silent_at.min(deadline);
        let available = || self.timers.0.borrow_mut().pop();
        let sleep =
            self.sleep.get_or_insert_with(|| available().unwrap_or_else(|| Box::pin(sleep_until(due))));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(if due == silent_at { Alarm::Silence } else { Alarm::Deadline });
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Waits for `what`, at most for a silence of `limit` and until the deadline.
    ///
    /// # Errors
    /// It took longer.
    pub(crate) async fn within<F: Future>(
        &mut self,
        limit: Duration,
        deadline: Instant,
        mut what: Pin<&mut F>,
    ) -> Result<F::Output, Alarm> {
        self.restart();
        std::future::poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx, limit, deadline).map(Err),
        })
        .await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut available = self.timers.0.borrow_mut();
        if available.len() < IDLE_TIMERS_MAX {
            available.extend(self.sleep.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;

    const LONG: Duration = Duration::from_secs(100);
    const SHORT: Duration = Duration::from_secs(3);

    async fn check(timers: &Rc<Timers>, limit: Duration, left: Duration, rings_after: Duration) {
        let started = Instant::now();
        let alarm = Timer::new(timers).within(limit, started + left, pin!(pending::<()>())).await;
        assert_eq!(matches!(alarm, Err(Alarm::Silence)), limit == rings_after);
        let late = started.elapsed().saturating_sub(rings_after);
        assert!(started.elapsed() >= rings_after && late < Duration::from_millis(5), "{late:?} late");
        assert_eq!(timers.0.borrow().len(), 1, "one timer serves all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_timer_rings_for_nobody_else() {
        let timers = Rc::new(Timers::default());
        check(&timers, SHORT, LONG, SHORT).await;
        check(&timers, LONG, SHORT, SHORT).await;
        check(&timers, LONG, SHORT * 2, SHORT * 2).await;
        // Returned armed for the long wait, then needed for a short one, and the other way round.
        for (armed, needed) in [(LONG, SHORT), (SHORT, LONG)] {
            let mut timer = Timer::new(&timers);
            let ready = async { tokio::task::yield_now().await };
            assert!(timer.within(armed, Instant::now() + LONG, pin!(ready)).await.is_ok());
            drop(timer);
            check(&timers, needed, LONG * 2, needed).await;
        }
    }
}
