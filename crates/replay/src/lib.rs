//! Replays of stored requests against a candidate: the set, made-up content of the same shape, what was measured of both sides
//! with its confidence bounds, and the gates that decide. Pure: no clock, no randomness that is not an argument.

mod agreement;
mod escalation;
mod gates;
mod judgement;
mod judging;
mod limits;
mod random;
mod statistics;
mod synthetic;
mod trace;

pub use agreement::{Agreement, agreement, cosine_bps};
pub use escalation::{Escalation, Hardware, NextStep, Spend, escalation};
pub use gates::{GateName, GateResult, Gates, Verdict};
pub use judgement::{Judgement, Load, Spread, Times, judge};
pub use judging::{is_as_good, judge_body};
pub use limits::REPLAY_REQUESTS_MIN;
pub use random::Random;
pub use statistics::Bounds;
pub use synthetic::synthetic_body;
pub use trace::{Measured, Pair, ReplayKind, Trace, busiest_tokens_per_minute};
