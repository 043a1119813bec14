//! The steps of a purge by name, and one at which it waits to be killed: a test that kills a process needs the moment, not luck.

use std::fmt;
use std::path::PathBuf;

use domain::purge::Place;

/// Where a purge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is done yet: the generation is raised next.
    Raise,
    /// Cached answers can't be reached any more: what there is is counted next.
    Count,
    /// A place is purged next.
    Purge(Place),
    /// A place is purged, and nobody noted that.
    Note(Place),
    /// Every place is purged, and the keys of a whole workspace are dropped: deleted bytes are overwritten next.
    Scrub,
    /// A place is looked at again.
    Probe(Place),
    /// All is known that the receipt says.
    Sign,
    /// The receipt is signed, and not stored.
    Store,
    /// The receipt is stored, and the queue was not told that the job has ended.
    End,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raise => f.write_str("raise"),
            Self::Count => f.write_str("count"),
            Self::Purge(place) => write!(f, "purge {}", place.as_str()),
            Self::Note(place) => write!(f, "note {}", place.as_str()),
            Self::Scrub => f.write_str("scrub"),
            Self::Probe(place) => write!(f, "probe {}", place.as_str()),
            Self::Sign => f.write_str("sign"),
            Self::Store => f.write_str("store"),
            Self::End => f.write_str("end"),
        }
    }
}

/// Where the step stands at which purges wait for ever, if there is one: a file that names it, which a test writes.
#[derive(Debug, Default)]
pub struct HeldStep(Option<PathBuf>);

impl HeldStep {
    /// By the file that names it.
    pub const fn named_in(file: Option<PathBuf>) -> Self {
        Self(file)
    }

    pub(super) async fn reach(&self, step: Step) {
        let Some(file) = &self.0 else { return };
        let is_held = std::fs::read_to_string(file).is_ok_and(|held| held == step.to_string());
        if is_held {
            tracing::warn!("a purge waits at its step \"{step}\"");
            std::future::pending::<()>().await;
        }
    }
}
