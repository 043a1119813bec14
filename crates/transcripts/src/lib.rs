//! The store of agents' state: artifacts, bundles of them, sessions with their branches, events and snapshots, and what providers
//! must be sent again with a turn; and of what projects keep of their requests, and answers under idempotency keys. Content is sealed before it comes here; what describes it is not.

mod artifacts;
mod contents;
mod kept_answers;
mod kept_turns;
mod limits;
pub mod profiles;
mod purges;
mod sessions;
mod sql;

pub use artifacts::{ArtifactRow, Artifacts, BundleItem, BundleRow, Bundles, SealedContent};
pub use contents::{ContentFilter, RequestContentRow, RequestContents};
pub use kept_answers::{AnswerClaim, AnswerDigest, Claiming, IdempotentAnswers};
pub use kept_turns::{KeptTurnRow, StoredTurns, TurnLookup};
pub use limits::{BRANCH_DEPTH_MAX, HISTORY_EVENTS_MAX, SESSION_BRANCHES_MAX};
pub use purges::StatePurges;
pub use sessions::{
    Appended, BranchRow, EventContent, Expected, ForkPoint, NewEvent, NewSession, SessionChange,
    SessionEventRow, SessionFilter, SessionRow, SessionSnapshotRow, SessionStatus, Sessions,
};
