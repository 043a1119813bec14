//! Sums of both sides in buckets of the same width, by what the export tells apart.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use domain::TraceId;
use providers::exports::Measure;

use crate::limits::{BATCH_EDGE_S, EDGE_S, EXAMPLES_MAX};

/// Widths of buckets, in seconds, the smallest first. Minutes are summed up to hours.
const WIDTHS: [u64; 2] = [3_600, 86_400];

/// How time is cut into buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub from_unix_s: u64,
    pub until_unix_s: u64,
    /// `None` for a single bucket.
    pub width_s: Option<u64>,
}

impl Grid {
    /// The narrowest buckets that no span crosses an edge of.
    pub fn of(window: (u64, u64), spans: &(impl Iterator<Item = (u64, u64)> + Clone)) -> Self {
        let fits = |width: &u64| {
            spans.clone().all(|(from, until)| until <= from || from / width == (until - 1) / width)
        };
        let (from, until) = window;
        match WIDTHS.iter().copied().find(fits) {
            Some(width) => Self {
                from_unix_s: from / width * width,
                until_unix_s: until.div_ceil(width).saturating_mul(width),
                width_s: Some(width),
            },
            None => Self { from_unix_s: from, until_unix_s: until, width_s: None },
        }
    }

    pub fn slot(&self, unix_s: u64) -> u64 {
        self.width_s.map_or(0, |width| unix_s / width)
    }

    pub fn span(&self, slot: u64) -> (u64, u64) {
        match self.width_s {
            Some(width) => (slot.saturating_mul(width), (slot + 1).saturating_mul(width)),
            None => (self.from_unix_s, self.until_unix_s),
        }
    }

    /// The slots that the export covers.
    pub fn slots(&self) -> RangeInclusive<u64> {
        self.slot(self.from_unix_s)..=self.slot(self.until_unix_s.saturating_sub(1))
    }

    /// How many slots further a batch may be booked.
    pub fn batch_reach(&self) -> u64 {
        self.width_s.map_or(0, |width| BATCH_EDGE_S.div_ceil(width))
    }

    /// Whether an attempt may be in the bucket before or after its own.
    pub fn nearness(&self, began_unix_s: u64, ended_unix_s: u64) -> (bool, bool) {
        if self.width_s.is_none() {
            return (false, false);
        }
        let (start, end) = self.span(self.slot(ended_unix_s));
        (began_unix_s < start.saturating_add(EDGE_S), end.saturating_sub(ended_unix_s) <= EDGE_S)
    }
}

/// What is compared as one: what the export doesn't tell apart is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub model: Option<Arc<str>>,
    pub tier: Option<u8>,
    pub measure: Measure,
}

pub(crate) type Series = BTreeMap<SeriesKey, BTreeMap<u64, Cell>>;

/// Both sides in one bucket. Amounts are in units or, where only costs are compared, in pico-USD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub theirs: i128,
    /// Whether they state quantities, and amounts of money.
    pub has_theirs: bool,
    pub their_picos: Option<i128>,
    pub amounts: u64,
    pub ours: OurSum,
}

/// Our side of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OurSum {
    pub amount: i128,
    pub picos: i128,
    /// Of the amount, what has a price.
    pub priced: i128,
    pub price_min: Option<u64>,
    pub price_max: Option<u64>,
    /// Of the amount, what may be in the neighbouring buckets, what is of batches, and what was estimated.
    pub near_before: i128,
    pub near_after: i128,
    pub batch: i128,
    pub estimated: i128,
    pub attempts: u64,
    pub unmetered: u64,
    /// The first ones, by id, so that the order doesn't matter.
    pub examples: Vec<TraceId>,
}

impl OurSum {
    pub fn example(&mut self, trace: TraceId) {
        if let Err(at) = self.examples.binary_search(&trace) {
            self.examples.insert(at, trace);
            self.examples.truncate(EXAMPLES_MAX);
        }
    }
}
