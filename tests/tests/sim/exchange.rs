//! One exchange in flight, as the simulator stores it between two events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use board::Ticket;
use domain::{CredentialId, Fault, Rates, TraceId};
use execute::{FailoverState, ModelFallbacks};
use ledger::{CommitmentDraw, Intent, StartedAttempt, Tab};
use plan::{Attempt, Timeouts};

use crate::run::Lead;
use crate::upstream::Reply;

/// A tab whose intent is being written to the journal; dropping the future drops the tab.
pub type Intending = Pin<Box<dyn Future<Output = (Tab, Result<StartedAttempt, Box<Fault>>)>>>;

/// A tab that draws on a commitment, and may wait for what others return.
pub type Drawing = Pin<Box<dyn Future<Output = (Tab, CommitmentDraw)>>>;

/// The prompt's text, for estimates.
pub const PROMPT_BYTES: u64 = 40;

pub struct Exchange {
    pub number: u64,
    pub trace: TraceId,
    pub received_unix_ms: u64,
    /// The month that it draws on.
    pub period_unix_ms: u64,
    pub attempts: Vec<Attempt>,
    pub course: FailoverState,
    /// The model that it is at, and those that it may go on with.
    pub model: Arc<str>,
    pub fallbacks: Option<Box<ModelFallbacks>>,
    pub timeouts: Timeouts,
    pub deadline_us: u64,
    pub stream: bool,
    /// It answers for those that want the same.
    pub lead: Option<Lead>,
    /// Counts the waits: an event of an earlier wait is ignored.
    pub wait: u32,
    pub stage: Stage,
}

/// A request that an upstream has.
pub struct Asked {
    pub seat: usize,
    pub number: u32,
    pub ticket: Ticket,
    pub sent_us: u64,
    /// When it answers, or is given up.
    pub due_us: u64,
    pub reply: Reply,
}

/// The board's permission to call a seat.
pub struct Permit {
    pub seat: usize,
    pub ticket: Ticket,
    /// The silent call that a hedge is made beside.
    pub beside: Option<Asked>,
}

#[expect(clippy::large_enum_variant, reason = "few exchanges are simulated at once")]
pub enum Stage {
    /// Between two stages.
    Moving,
    Drawing {
        future: Drawing,
        permit: Permit,
        /// Whether it waits for what others may return.
        waits: bool,
        /// The centre was within reach all the while.
        is_known: bool,
    },
    Intending {
        future: Intending,
        ticket: Ticket,
    },
    Asking {
        tab: Tab,
        asked: Asked,
        chunks: u32,
    },
    /// The intent of a hedge is written while the first call is silent.
    Hedging {
        future: Intending,
        ticket: Ticket,
        /// The seat of the hedge.
        seat: usize,
        first: Asked,
    },
    /// The first that answers serves.
    Racing {
        tab: Tab,
        racers: [Asked; 2],
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

    pub fn intent_at(&self, seat: usize) -> Intent {
        let attempt = &self.attempts[seat];
        Intent {
            principal: attempt.principal(),
            provider: Arc::clone(attempt.provider_shared()),
            upstream_model: Arc::clone(attempt.upstream_model_shared()),
            region: attempt.region_shared().cloned(),
            rates: attempt.rates(),
            markup_bps: attempt.markup_bps(),
            estimate_prompt_bytes: PROMPT_BYTES,
            ceiling: None,
            expected_input: None,
            patience: Duration::ZERO,
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

/// The future of a draw that owns its tab.
pub fn drawing(mut tab: Tab, credential: CredentialId, rates: Option<Rates>, how: (bool, bool)) -> Drawing {
    Box::pin(async move {
        let draw = tab.draw_on_commitment(credential, rates, PROMPT_BYTES, how).await;
        (tab, draw)
    })
}
