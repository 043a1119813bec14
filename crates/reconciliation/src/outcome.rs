//! What came of a comparison: sums by kind, and the largest differences one by one.

use std::sync::Arc;

use domain::{Tier, TraceId};
use providers::exports::Measure;

use crate::limits::DIFFERENCES_MAX;
use crate::millionths;

domain::words! {
    /// What a quantity or amount turned out to be.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Kind {
        Matched = "matched",
        /// Booked by the provider in a neighbouring bucket.
        Late = "late",
        /// The difference between our estimate, where no count was reported, and theirs.
        Estimate = "estimate",
        /// The amount is ours but for the export's own precision.
        Rounding = "rounding",
        /// The same quantity at another price.
        PriceDiffers = "price_differs",
        /// They bill it and we have no record of it.
        Missing = "missing",
        /// We have a record of it and they don't bill it.
        Extra = "extra",
        /// They gave money back.
        Credit = "credit",
    }
}

impl Kind {
    /// Whether somebody has to look.
    pub const fn is_unexplained(self) -> bool {
        matches!(self, Self::PriceDiffers | Self::Missing | Self::Extra)
    }
}

/// How much was of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSum {
    /// Buckets and requests.
    pub lines: u64,
    pub quantity: i128,
    pub picos: i128,
}

/// What one side has in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    pub quantity: i128,
    pub picos: i128,
    /// Lines of theirs, attempts of ours.
    pub lines: u64,
}

/// One bucket, or request, that is not explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub from_unix_s: u64,
    pub until_unix_s: u64,
    /// The catalogue's name, or the words of theirs.
    pub model: Option<Arc<str>>,
    pub tier: Option<Tier>,
    pub measure: Measure,
    pub theirs: Option<i128>,
    pub ours: Option<i128>,
    /// How much of the quantity is of this kind.
    pub quantity: i128,
    pub their_picos: Option<i128>,
    pub our_picos: Option<i128>,
    /// What it is worth.
    pub picos: i128,
    /// Micro-USD per million units.
    pub their_price: Option<u64>,
    pub our_price: Option<u64>,
    /// Where our price was read, if it is that of the catalogue.
    pub price_source: Option<String>,
    /// The provider's id, where the export tells requests apart.
    pub request: Option<Box<str>>,
    pub attempts: u64,
    /// Attempts there without any count: what they used is unknown here.
    pub unmetered: u64,
    pub examples: Vec<TraceId>,
}

/// All that came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub from_unix_s: u64,
    pub until_unix_s: u64,
    /// Width of the buckets in seconds; `None` if it is the whole span, or requests.
    pub width_s: Option<u64>,
    pub sums: [KindSum; 8],
    pub theirs: Side,
    pub ours: Side,
    /// Of ours, what is next to the export's span and was only looked at for what is late.
    pub outside: i128,
    pub by_request: u64,
    pub unmetered: u64,
    /// The largest, by money and then by quantity.
    pub differences: Vec<Difference>,
    pub differences_left_out: u64,
}

impl Outcome {
    pub fn sum(&self, kind: Kind) -> KindSum {
        self.sums.get(kind as usize).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, kind: Kind, quantity: i128, picos: i128) {
        if let Some(sum) = self.sums.get_mut(kind as usize) {
            sum.lines = sum.lines.saturating_add(1);
            sum.quantity = sum.quantity.saturating_add(quantity.abs());
            sum.picos = sum.picos.saturating_add(picos.abs());
        }
    }

    pub(crate) fn name(&mut self, difference: Difference) {
        self.differences.push(difference);
        // Sorted in batches, so that a file that matches nothing costs no more.
        if self.differences.len() >= 4 * DIFFERENCES_MAX {
            self.rank();
        }
    }

    pub(crate) fn rank(&mut self) {
        self.differences.sort_by(|one, two| {
            let weight = |difference: &Difference| (difference.picos.abs(), difference.quantity.abs());
            let place = |difference: &Difference| {
                (
                    difference.from_unix_s,
                    difference.model.clone(),
                    difference.measure,
                    difference.kind,
                    difference.request.clone(),
                )
            };
            weight(two).cmp(&weight(one)).then_with(|| place(one).cmp(&place(two)))
        });
        let beyond = self.differences.len().saturating_sub(DIFFERENCES_MAX);
        self.differences.truncate(DIFFERENCES_MAX);
        self.differences_left_out = self.differences_left_out.saturating_add(beyond as u64);
    }

    /// How much is unexplained, in millionths: of the money or of the quantity, whichever is more.
    pub fn unexplained_millionths(&self) -> u64 {
        let unexplained =
            || Kind::ALL.into_iter().filter(|kind| kind.is_unexplained()).map(|kind| self.sum(kind));
        let picos: i128 = unexplained().map(|sum| sum.picos).sum();
        let quantity: i128 = unexplained().map(|sum| sum.quantity).sum();
        let of_money = millionths(picos, self.theirs.picos.max(self.ours.picos));
        of_money.max(millionths(quantity, self.theirs.quantity.max(self.ours.quantity)))
    }
}
