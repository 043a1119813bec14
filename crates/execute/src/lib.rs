//! The fourth stage: tries a plan's attempts in order until one answers; each is journaled
//! before its first byte is sent.

mod answer;
mod attempt;
mod attempt_stream;
mod batch_file;
mod caching;
mod ceiling;
mod context_cache;
mod context_order;
mod context_release;
mod context_use;
mod context_worth;
mod estimate;
mod exchange;
mod failover;
mod failure;
mod hedge;
mod hook;
mod keep_alive;
mod keep_alive_worth;
mod late_retry;
mod lead;
mod limits;
mod model_fallback;
mod open_attempt;
mod outgoing;
mod poll_stored;
mod preview;
mod probe;
mod queue;
mod quote;
mod read;
mod realtime;
mod recording;
mod renew;
mod requests_file;
mod retry_loop;
mod runtime;
pub mod schedule;
mod send;
mod shared;
mod side_request;
mod stored;
mod stored_objects;
mod terms;
mod timer;
mod tokens;
mod unpack;
mod upstream;
mod usage;
mod verify;

use std::rc::Rc;
use std::sync::Arc;

use domain::ports::{ObjectStore, ResponseStore, TurnStore};
use world::World;

pub use answer::{Answer, AnswerBody, AnswerParts, Failed, Served};
pub use attempt_stream::{AttemptStream, Flow};
pub use ceiling::{batch_price, most_used_by_line};
pub use context_order::ContextOrder;
pub use context_use::{ContextUse, context_use};
pub use egress::Socket as UpstreamSocket;
pub use exchange::Exchange;
pub use failover::{DenialAction, FailoverState};
pub use failure::{AttemptFailure, HealthSignal, health_signal};
pub use hook::{HookMessage, call_hook};
pub use keep_alive::KeepAlive;
pub use late_retry::{LateRetry, retry_late};
pub use ledger::Journal;
pub use model_fallback::{ModelFallbacks, TooLong, too_long};
pub use open_attempt::OpenAttempt;
pub use poll_stored::{FileLines, PollSink, StoredPoll, delete_object, poll_object};
pub use preview::{AttemptPreview, preview};
pub use probe::probe;
pub use providers::SubscriptionTokens;
pub use quote::{Quote, quote};
pub use realtime::{OpenSession, RealtimeResponse, RealtimeResponseEnd, SessionSeat};
pub use renew::{SecretRenewal, renew};
pub use retry_loop::{begin_response, execute, open_session};
pub use runtime::{RuntimeReply, RuntimeRequest, call_runtime};
pub use side_request::SideRequest;
pub use timer::Timers;
pub use tokens::{SharedTokens, Tokens};
pub use unpack::unpack;
pub use verify::{VerifyReport, VerifyTarget, is_probed, verify};

/// The dependencies that all exchanges of a core share.
#[derive(Clone)]
pub struct Deps {
    pub world: World,
    pub egress: Rc<egress::Client>,
    pub opener: Arc<vault::Opener>,
    pub board: Rc<board::Cell>,
    pub timers: Rc<Timers>,
    pub estimates: Rc<estimates::Estimator>,
    pub tokens: Rc<Tokens>,
    /// The turn state that providers need to see again; shared by all cores.
    pub turns: Arc<dyn TurnStore>,
    /// Who made the answers that providers store; shared by all cores.
    pub responses: Arc<dyn ResponseStore>,
    pub objects: Arc<dyn ObjectStore>,
}

impl Deps {
    pub(crate) fn now_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }
}
