//! One exchange in flight, as the simulator stores it between two events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use board::Ticket;
use domain::{Fault, TraceId};
use execute::FailoverState;
use ledger::{Intent, StartedAttempt, Tab};
use plan::{Attempt, Timeouts};

use crate::upstream::Reply;

/// A tab whose intent is being written to the journal; dropping the future drops the tab.
pub type Intending = Pin<Box<dyn Future<Output = (Tab, Result<StartedAttempt, Box<Fault>>)>>>;

pub struct Exchange {
    pub number: u64,
    pub trace: TraceId,
    pub attempts: Vec<Attempt>,
    pub course: FailoverState,
    pub timeouts: Timeouts,
    pub deadline_us: u64,
    pub stream: bool,
    /// Counts the waits: an event of an earlier wait is ignored.
    pub wait: u32,
    pub stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "few exchanges are simulated at once")]
pub enum Stage {
    /// Between two stages.
    Moving,
    Intending {
        future: Intending,
        ticket: Ticket,
    },
    Asking {
        tab: Tab,
        number: u32,
        ticket: Ticket,
        sent_us: u64,
        reply: Reply,
        chunks: u32,
    },
    /// Until the same seat is retried.
    Pausing {
        tab: Tab,
    },
    /// Until the board may grant capacity.
    Waiting {
        tab: Tab,
    },
}

impl Exchange {
    pub fn attempt(&self) -> &Attempt {
        &self.attempts[self.course.index()]
    }

    pub fn intent(&self) -> Intent {
        let attempt = self.attempt();
        Intent {
            principal: attempt.principal(),
            provider: Arc::clone(attempt.provider_shared()),
            upstream_model: Arc::clone(attempt.upstream_model_shared()),
            region: attempt.region_shared().cloned(),
            rates: attempt.rates(),
            markup_bps: attempt.markup_bps(),
            estimate_prompt_bytes: 40,
            ceiling: None,
        }
    }
}

/// The future of an attempt that owns its tab.
pub fn intending(mut tab: Tab, intent: Intent) -> Intending {
    Box::pin(async move {
        let result = tab.start_attempt(intent).await;
        (tab, result)
    })
}
