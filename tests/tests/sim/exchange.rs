//! One exchange under way, as the simulator holds it between two events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use board::Ticket;
use domain::{FallbackClass, Fault, FaultClass, TraceId};
use execute::schedule::may_fall_back;
use ledger::{Begun, Intent, Tab};
use plan::{Attempt, Timeouts};

use crate::upstream::Reply;

/// A tab whose intent is on its way to the journal; dropped, it drops the tab.
pub type Intending = Pin<Box<dyn Future<Output = (Tab, Result<Begun, Box<Fault>>)>>>;

pub struct Exchange {
    pub number: u64,
    pub trace: TraceId,
    pub attempts: Vec<Attempt>,
    pub fallback_on: Vec<FallbackClass>,
    pub timeouts: Timeouts,
    pub deadline_us: u64,
    pub stream: bool,
    pub index: usize,
    pub tries: u32,
    pub tries_on_seat: u32,
    /// Counts what was waited for: an event of an earlier wait is nobody's.
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
    Pausing {
        tab: Tab,
    },
}

impl Exchange {
    pub fn attempt(&self) -> &Attempt {
        &self.attempts[self.index]
    }

    /// The next seat that a failure of this class may go on to, as execute has it.
    pub fn next_index(&self, class: FaultClass) -> Option<usize> {
        let may_pay = self.attempt().is_fallback() || may_fall_back(class, &self.fallback_on);
        (self.index + 1..self.attempts.len()).find(|next| may_pay || !self.attempts[*next].is_fallback())
    }

    pub fn has_next_own(&self) -> bool {
        let own = self.attempt().is_fallback();
        self.attempts[self.index + 1..].iter().any(|attempt| attempt.is_fallback() == own)
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
        let result = tab.attempt(intent).await;
        (tab, result)
    })
}
