//! What occurred in a run, or in many, and whether they met what they are for.

use crate::aliases::Share;

/// What occurred in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub exchanges: u64,
    pub calls: u64,
    pub retries: u64,
    /// Waits for a seat that asked for a short delay.
    pub waits: u64,
    /// Attempts with a new token in place of a refused one.
    pub new_tokens: u64,
    pub fallbacks: u64,
    /// Changes to another model.
    pub model_fallbacks: u64,
    /// Plans that begin with another model.
    pub planned_without_first: u64,
    /// Calls beside a silent one, those that the disk refused, and the races that one of the two won.
    pub hedges: u64,
    pub hedges_refused: u64,
    pub hedges_uncovered: u64,
    pub hedged: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub interrupted: u64,
    pub not_planned: u64,
    pub refused_by_disk: u64,
    pub deaths: u64,
    /// Attempts that drew on a commitment, those that left one that was used up, and those that went beyond it.
    pub drawn: u64,
    pub spilled: u64,
    pub beyond: u64,
    /// Attempts that waited for what a neighbour may return.
    pub waited_to_draw: u64,
    /// Draws while it can't be determined what is left.
    pub drawn_blindly: u64,
    /// Exchanges after the turn of the month.
    pub next_month: u64,
    /// Requests that name an alias, those that pin a release of it, and canaries that were withdrawn for leaving their
    /// gates.
    pub aliased: u64,
    pub pinned: u64,
    pub withdrawn: u64,
    /// Answers that were given again, those of them that an earlier process had kept, waits for one that was being made,
    /// and requests that led, that passed one whose answer may not be kept, and that asked anew as the plan had
    /// nobody who made what was found.
    pub cache_hits: u64,
    pub cache_survived: u64,
    pub cache_waits: u64,
    pub cache_leads: u64,
    pub cache_passes: u64,
    pub cache_refreshes: u64,
    /// Of the end users: those who were given a canary, and the first target of the active release.
    pub to_canary: Share,
    pub to_first: Share,
    /// A hash over all records.
    pub digest: u64,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.calls += other.calls;
        self.retries += other.retries;
        self.waits += other.waits;
        self.new_tokens += other.new_tokens;
        self.fallbacks += other.fallbacks;
        self.model_fallbacks += other.model_fallbacks;
        self.planned_without_first += other.planned_without_first;
        self.hedges += other.hedges;
        self.hedges_refused += other.hedges_refused;
        self.hedges_uncovered += other.hedges_uncovered;
        self.hedged += other.hedged;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.interrupted += other.interrupted;
        self.not_planned += other.not_planned;
        self.refused_by_disk += other.refused_by_disk;
        self.deaths += other.deaths;
        self.drawn += other.drawn;
        self.spilled += other.spilled;
        self.beyond += other.beyond;
        self.waited_to_draw += other.waited_to_draw;
        self.drawn_blindly += other.drawn_blindly;
        self.next_month += other.next_month;
        self.aliased += other.aliased;
        self.pinned += other.pinned;
        self.withdrawn += other.withdrawn;
        self.cache_hits += other.cache_hits;
        self.cache_survived += other.cache_survived;
        self.cache_waits += other.cache_waits;
        self.cache_leads += other.cache_leads;
        self.cache_passes += other.cache_passes;
        self.cache_refreshes += other.cache_refreshes;
        self.to_canary.add(other.to_canary);
        self.to_first.add(other.to_first);
        self.digest ^= other.digest;
    }

    /// The shares of all runs together are those that were stated.
    pub fn check_shares(&self) {
        self.to_canary.check("users of canaries");
        self.to_first.check("users of the first target");
    }

    /// A scenario that hardly meets what it is meant to exercise proves nothing. What is rarest comes a hundred times in a thousand runs, and then
    /// several times in one.
    pub fn check_that_it_met_everything(&self, runs: u64) {
        let least = runs / 200;
        let met = [
            self.exchanges,
            self.calls,
            self.retries,
            self.waits,
            self.new_tokens,
            self.fallbacks,
            self.model_fallbacks,
            self.hedges,
            self.hedges_uncovered,
            self.hedged,
            self.completed,
            self.failed,
            self.cancelled,
            self.interrupted,
            self.not_planned,
            self.refused_by_disk,
            self.deaths,
            self.drawn,
            self.spilled,
            self.beyond,
            self.waited_to_draw,
            self.drawn_blindly,
            self.next_month,
            self.aliased,
            self.pinned,
            self.withdrawn,
            self.cache_hits,
            self.cache_survived,
            self.cache_waits,
            self.cache_leads,
            self.cache_passes,
            self.cache_refreshes,
        ];
        assert!(met.iter().all(|count| *count >= least), "{self:#?}");
        assert!(runs < 1_000 || self.planned_without_first >= least, "{self:#?}");
    }
}
