//! What occurred in a run, or in many, and whether they met what they are for.

use crate::aliases::Share;

/// The counts of a run, which runs add up, and all of which runs together must have met.
macro_rules! counts {
    ($($(#[$about:meta])* $count:ident,)+) => {
        /// What occurred in a run.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Report {
            $($(#[$about])* pub $count: u64,)+
            /// Plans that begin with another model, and hedges that the disk refused: both are rare.
            pub planned_without_first: u64,
            pub hedges_refused: u64,
            /// Of the end users: those who were given a canary, and the first target of the active release.
            pub to_canary: Share,
            pub to_first: Share,
            /// A hash over all records.
            pub digest: u64,
        }

        impl Report {
            pub fn add(&mut self, other: &Self) {
                $(self.$count += other.$count;)+
                self.planned_without_first += other.planned_without_first;
                self.hedges_refused += other.hedges_refused;
                self.to_canary.add(other.to_canary);
                self.to_first.add(other.to_first);
                self.digest ^= other.digest;
            }

            fn met(&self) -> impl Iterator<Item = u64> {
                [$(self.$count),+].into_iter()
            }
        }
    };
}

counts! {
    exchanges, calls, retries,
    /// Waits for a seat that asked for a short delay.
    waits,
    /// Attempts with a new token in place of a refused one.
    new_tokens, fallbacks,
    /// Changes to another model.
    model_fallbacks,
    /// Calls beside a silent one, those that no commitment covered, and the races that one of the two won.
    hedges, hedges_uncovered, hedged,
    completed, failed, cancelled, interrupted, not_planned, refused_by_disk, deaths,
    /// Attempts that drew on a commitment, those that left one that was used up, and those that went beyond it.
    drawn, spilled, beyond,
    /// Attempts that waited for what a neighbour may return.
    waited_to_draw,
    /// Draws while it can't be determined what is left.
    drawn_blindly,
    /// Exchanges after the turn of the month.
    next_month,
    /// Requests that name an alias, those that pin a release of it, and canaries that were withdrawn for leaving
    /// their gates.
    aliased, pinned, withdrawn,
    /// Answers that were given again, those of them that an earlier process had kept, waits for one that was being
    /// made, and requests that led, that passed one whose answer may not be kept, and that asked anew as the plan
    /// had nobody who made what was found.
    cache_hits, cache_survived, cache_waits, cache_leads, cache_passes, cache_refreshes,
}

impl Report {
    /// The shares of all runs together are those that were stated.
    pub fn check_shares(&self) {
        self.to_canary.check("users of canaries");
        self.to_first.check("users of the first target");
    }

    /// A scenario that hardly meets what it is meant to exercise proves nothing. What is rarest comes a hundred times in a thousand runs, and then
    /// several times in one.
    pub fn check_that_it_met_everything(&self, runs: u64) {
        let least = runs / 200;
        assert!(self.met().all(|count| count >= least), "{self:#?}");
        assert!(runs < 1_000 || self.planned_without_first >= least, "{self:#?}");
    }
}
