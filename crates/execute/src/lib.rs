//! The fourth stage: tries a plan's attempts in order until one answers; each is journaled
//! before its first byte is sent.

mod again;
mod answer;
mod attempt;
mod caching;
mod ceiling;
mod course;
mod estimate;
mod feed;
mod journey;
mod kept;
mod lead;
mod look;
mod miss;
mod outgoing;
mod probe;
mod queue;
mod read;
mod realtime;
mod recording;
mod runtime;
pub mod schedule;
mod shared;
mod stored;
mod terms;
mod timer;
mod tokens;
mod unpack;
mod verify;

use std::rc::Rc;
use std::sync::Arc;

use domain::ports::{ObjectKeeper, ResponseKeeper, TurnKeeper};
use world::World;

pub use again::{Again, again};
pub use answer::{Answer, AnswerBody, AnswerParts, Exchange, Failed, Served};
pub use attempt::OpenAttempt;
pub use course::{Course, KeptAway};
pub use egress::Socket as UpstreamSocket;
pub use feed::{Feed, Flow};
pub use journey::{begin_response, execute, open_session};
pub use ledger::Journal;
pub use look::{KeptLook, Shown, look};
pub use miss::{Lesson, Miss, lesson};
pub use probe::probe;
pub use realtime::{OpenSession, SessionSeat, Turn, TurnEnd};
pub use runtime::{RuntimeAsk, RuntimeSaid, ask_runtime};
pub use timer::Timers;
pub use tokens::{SharedTokens, Tokens};
pub use unpack::unpack;
pub use verify::{VerifyReport, VerifyTarget, is_probed, verify};

/// The dependencies that all exchanges of a core share.
#[derive(Clone)]
pub struct Hands {
    pub world: World,
    pub egress: Rc<egress::Client>,
    pub opener: Arc<vault::Opener>,
    pub board: Rc<board::Cell>,
    pub timers: Rc<Timers>,
    pub estimates: Rc<estimates::Estimator>,
    pub tokens: Rc<Tokens>,
    /// The turn state that providers need to see again; shared by all cores.
    pub turns: Arc<dyn TurnKeeper>,
    /// Who made the answers that providers store; shared by all cores.
    pub responses: Arc<dyn ResponseKeeper>,
    pub objects: Arc<dyn ObjectKeeper>,
}

impl Hands {
    pub(crate) fn now_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }
}
