//! What a workload's metadata says of it: how much of it could be reused, as a score, and what it costs that it is not. Pure, on
//! whole numbers, so that the same traces have the same result everywhere; no content is ever needed.

mod finding;
mod findings;
mod input;
mod limits;
mod recommendation;
mod score;
mod trace;

pub use finding::{Finding, FindingKind, Mend};
pub use findings::{BudgetForecast, findings};
pub use input::{Recomputed, input_document, recompute};
pub use limits::{EXAMPLES_MAX, FINDINGS_MAX, TRACES_MAX};
pub use recommendation::{Recommendation, recommend};
pub use score::{Band, Part, Score, ScoredPart, score};
pub use trace::{Booked, Privacy, Retry, Trace, WhoRetried};
