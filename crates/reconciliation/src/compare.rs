//! Compares the buckets of one series: what matches, what is late, estimated or rounded, and what is left.

use std::collections::BTreeMap;

use crate::limits::MOVED_SLOTS_MAX;
use crate::names::Names;
use crate::outcome::{Difference, Kind, Outcome};
use crate::series::{Cell, Grid, OurSum, SeriesKey};
use crate::theirs::tier_of;

/// What amounts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Units, with their money where they state it.
    Units,
    /// Money alone.
    Money,
}

/// How the buckets of a view are compared, and where what comes of it goes.
pub(crate) struct Comparison<'c> {
    pub names: &'c Names,
    pub grid: Grid,
    pub what: What,
    /// Whether the sums of money are this view's: not of units whose money is compared apart.
    pub counts_money: bool,
    /// How far each amount of theirs may be from the exact one.
    pub rounding_picos: i128,
    /// Our side of the whole series, by whose price buckets without any of ours are compared.
    pub series: OurSum,
    pub outcome: &'c mut Outcome,
}

/// Where a cell stands.
pub(crate) struct Place<'p> {
    pub key: &'p SeriesKey,
    pub span: (u64, u64),
    pub request: Option<&'p str>,
}

/// What of a cell is in the neighbouring ones.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    inward: i128,
    outward: i128,
}

impl Comparison<'_> {
    pub fn series(&mut self, key: &SeriesKey, cells: &BTreeMap<u64, Cell>) {
        let moved = moved(cells, self.grid.batch_reach());
        let covered = self.grid.slots();
        self.series = total(cells);
        for (slot, cell) in cells {
            let moved = moved.get(slot).copied().unwrap_or_default();
            if !covered.contains(slot) {
                let left = cell.ours.amount.saturating_sub(moved.outward);
                self.outcome.outside = self.outcome.outside.saturating_add(left);
                self.count_late(key, cell, moved.outward, true);
                continue;
            }
            let place = Place { key, span: self.grid.span(*slot), request: None };
            self.cell_with(&place, cell, moved);
        }
    }

    pub fn cell(&mut self, place: &Place<'_>, cell: &Cell) {
        self.cell_with(place, cell, Moved::default());
    }

    fn cell_with(&mut self, place: &Place<'_>, cell: &Cell, moved: Moved) {
        self.count_sides(cell);
        if cell.has_theirs || cell.their_picos.is_none() {
            self.quantities(place, cell, moved);
        }
        if let (What::Units, Some(picos)) = (self.what, cell.their_picos) {
            self.money(place, cell, picos, moved);
        }
    }

    fn count_sides(&mut self, cell: &Cell) {
        let outcome = &mut *self.outcome;
        let our_picos = if self.what == What::Money { cell.ours.amount } else { cell.ours.picos };
        let their_picos = if self.what == What::Money { cell.theirs } else { cell.their_picos.unwrap_or(0) };
        if self.counts_money {
            outcome.theirs.picos = outcome.theirs.picos.saturating_add(their_picos);
            outcome.ours.picos = outcome.ours.picos.saturating_add(our_picos);
        }
        if self.what == What::Units {
            outcome.theirs.quantity = outcome.theirs.quantity.saturating_add(cell.theirs);
            outcome.ours.quantity = outcome.ours.quantity.saturating_add(cell.ours.amount);
        }
    }

    fn quantities(&mut self, place: &Place<'_>, cell: &Cell, moved: Moved) {
        let both = cell.theirs.min(cell.ours.amount);
        if both > 0 {
            self.add(Kind::Matched, place.key, cell, both);
        }
        self.count_late(place.key, cell, moved.inward, false);
        let surplus = cell.theirs.saturating_sub(cell.ours.amount);
        let left = surplus.abs().saturating_sub(moved.inward.saturating_add(moved.outward));
        if self.what == What::Money && left > 0 && left <= self.rounding(cell, moved) {
            return self.outcome.add(Kind::Rounding, 0, left);
        }
        let estimate = left.min(cell.ours.estimated);
        if estimate > 0 {
            self.add(Kind::Estimate, place.key, cell, estimate);
        }
        let left = left.saturating_sub(estimate);
        if left > 0 {
            let kind = if surplus > 0 { Kind::Missing } else { Kind::Extra };
            self.add(kind, place.key, cell, left);
            let picos = self.value(place.key, cell, left);
            let difference = self.difference(kind, place, cell);
            self.outcome.name(Difference { quantity: self.units(left), picos, ..difference });
        }
    }

    fn money(&mut self, place: &Place<'_>, cell: &Cell, picos: i128, moved: Moved) {
        // Without a quantity of theirs, ours is what it should have cost.
        let expected = match (cell.has_theirs, self.price(place.key, cell)) {
            (false, _) => Some(cell.ours.picos),
            (true, price) => price.map(|(picos, units)| scaled(cell.theirs, picos, units)),
        };
        let off = picos.saturating_sub(expected.unwrap_or(0));
        if off.abs() <= self.rounding(cell, moved) && expected.is_some() {
            if off != 0 {
                self.outcome.add(Kind::Rounding, 0, off);
            } else if !cell.has_theirs && picos > 0 {
                self.outcome.add(Kind::Matched, 0, picos);
            }
            return;
        }
        let kind = match (cell.has_theirs, cell.ours.attempts) {
            (false, 0) => Kind::Missing,
            _ => Kind::PriceDiffers,
        };
        self.outcome.add(kind, 0, off);
        let difference = self.difference(kind, place, cell);
        self.outcome.name(Difference { picos: off, ..difference });
    }

    fn add(&mut self, kind: Kind, key: &SeriesKey, cell: &Cell, amount: i128) {
        let picos = if self.counts_money { self.value(key, cell, amount) } else { 0 };
        let quantity = self.units(amount);
        self.outcome.add(kind, quantity, picos);
    }

    /// What was found in a neighbouring bucket; it counts once, where they have it.
    fn count_late(&mut self, key: &SeriesKey, cell: &Cell, amount: i128, is_outside: bool) {
        if amount > 0 && !is_outside {
            self.add(Kind::Late, key, cell, amount);
        }
    }

    const fn units(&self, amount: i128) -> i128 {
        match self.what {
            What::Units => amount,
            What::Money => 0,
        }
    }

    /// How far their money may be from the exact amount: each line was rounded; and which of several prices those units had that
    /// are not in the same bucket on both sides, as those of batches, is not known.
    fn rounding(&self, cell: &Cell, moved: Moved) -> i128 {
        let lines = self.rounding_picos.saturating_mul(i128::from(cell.amounts)).saturating_add(1);
        if self.what == What::Money || !cell.has_theirs {
            return lines;
        }
        let spread = self.series.price_max.unwrap_or(0).saturating_sub(self.series.price_min.unwrap_or(0));
        let apart = cell.theirs.saturating_sub(cell.ours.amount).abs();
        let elsewhere =
            cell.ours.batch.saturating_mul(2).saturating_add(moved.inward).saturating_add(moved.outward);
        lines.saturating_add(i128::from(spread).saturating_mul(apart.saturating_add(elsewhere)))
    }

    /// What a number of units costs by our records, or by the catalogue.
    fn price(&self, key: &SeriesKey, cell: &Cell) -> Option<(i128, i128)> {
        if cell.ours.priced > 0 {
            return Some((cell.ours.picos, cell.ours.priced));
        }
        if self.series.priced > 0 {
            return Some((self.series.picos, self.series.priced));
        }
        let model = key.model.as_deref()?;
        let listed = self.names.price(model, key.tier.map(tier_of), key.measure)?;
        Some((i128::from(listed.price.0), 1))
    }

    /// What an amount is worth, by our price or else by theirs.
    fn value(&self, key: &SeriesKey, cell: &Cell, amount: i128) -> i128 {
        if self.what == What::Money {
            return amount;
        }
        let theirs = || cell.their_picos.filter(|_| cell.theirs > 0).map(|picos| (picos, cell.theirs));
        self.price(key, cell).or_else(theirs).map_or(0, |(picos, units)| scaled(amount, picos, units))
    }

    fn difference(&self, kind: Kind, place: &Place<'_>, cell: &Cell) -> Difference {
        let key = place.key;
        let listed = || {
            let model = key.model.as_deref()?;
            self.names.price(model, key.tier.map(tier_of), key.measure)
        };
        let per_unit = |picos: i128, units: i128| u64::try_from(picos.checked_div(units)?).ok();
        let is_units = self.what == What::Units;
        let listed = if is_units { listed() } else { None };
        let booked =
            (is_units && cell.ours.priced > 0).then(|| per_unit(cell.ours.picos, cell.ours.priced)).flatten();
        let is_listed =
            listed.as_ref().is_some_and(|listed| booked.is_none_or(|booked| booked == listed.price.0));
        let our_price = booked.or_else(|| listed.as_ref().map(|listed| listed.price.0));
        Difference {
            kind,
            from_unix_s: place.span.0,
            until_unix_s: place.span.1,
            model: key.model.clone(),
            tier: key.tier.map(tier_of),
            measure: key.measure,
            theirs: (is_units && cell.has_theirs).then_some(cell.theirs),
            ours: is_units.then_some(cell.ours.amount),
            quantity: 0,
            their_picos: if is_units { cell.their_picos } else { Some(cell.theirs) },
            our_picos: Some(if is_units { cell.ours.picos } else { cell.ours.amount }),
            picos: 0,
            their_price: cell.their_picos.filter(|_| is_units).and_then(|picos| per_unit(picos, cell.theirs)),
            our_price,
            price_source: listed.filter(|_| is_listed).map(|listed| listed.source),
            request: place.request.map(Box::from),
            attempts: cell.ours.attempts,
            unmetered: cell.ours.unmetered,
            examples: cell.ours.examples.clone(),
        }
    }
}

/// `amount` at `picos` for so many `units`.
fn scaled(amount: i128, picos: i128, units: i128) -> i128 {
    if units == 0 {
        return 0;
    }
    // Whole prices first, so that no product of two large numbers is needed where the price is exact.
    let (whole, rest) = (picos / units, picos % units);
    whole.saturating_mul(amount).saturating_add(rest.saturating_mul(amount) / units)
}

/// What of each cell was booked in a neighbouring one: our surplus in one bucket goes to theirs in another, over edges that let
/// through what ended near them and what batches may be late. The nearest buckets are tried first, from the first on, so that the
/// result doesn't depend on any order.
fn moved(cells: &BTreeMap<u64, Cell>, batch_reach: u64) -> BTreeMap<u64, Moved> {
    let mut left: BTreeMap<u64, i128> = cells
        .iter()
        .map(|(slot, cell)| (*slot, cell.theirs.saturating_sub(cell.ours.amount)))
        .filter(|(_, left)| *left != 0)
        .collect();
    let mut edges = Edges::of(cells, batch_reach);
    let mut moved = BTreeMap::<u64, Moved>::new();
    for distance in 1..=MOVED_SLOTS_MAX {
        let ours: Vec<u64> = left.iter().filter(|(_, left)| **left < 0).map(|(slot, _)| *slot).collect();
        for from in ours {
            for to in [from.checked_add(distance), from.checked_sub(distance)].into_iter().flatten() {
                let of = |slot: u64| left.get(&slot).copied().unwrap_or(0);
                let amount = of(from).saturating_neg().min(of(to)).min(edges.least(from, to));
                if amount <= 0 {
                    continue;
                }
                edges.take(from, to, amount);
                *left.entry(from).or_default() += amount;
                *left.entry(to).or_default() -= amount;
                moved.entry(from).or_default().outward += amount;
                moved.entry(to).or_default().inward += amount;
            }
        }
    }
    moved
}

/// How much of ours may go over the edge behind each slot, to the later one and to the earlier one.
struct Edges(BTreeMap<u64, (i128, i128)>);

impl Edges {
    fn of(cells: &BTreeMap<u64, Cell>, batch_reach: u64) -> Self {
        let mut edges = BTreeMap::<u64, (i128, i128)>::new();
        for (slot, cell) in cells {
            let ours = &cell.ours;
            edges.entry(*slot).or_default().0 += ours.near_after;
            if let Some(before) = slot.checked_sub(1) {
                edges.entry(before).or_default().1 += ours.near_before;
            }
            if ours.batch == 0 {
                continue;
            }
            for step in 0..batch_reach {
                edges.entry(slot.saturating_add(step)).or_default().0 += ours.batch;
                if let Some(before) = slot.checked_sub(step + 1) {
                    edges.entry(before).or_default().1 += ours.batch;
                }
            }
        }
        Self(edges)
    }

    /// What still fits over all edges between two slots.
    fn least(&self, from: u64, to: u64) -> i128 {
        let between = from.min(to)..from.max(to);
        let is_later = from < to;
        let room = between.map(|edge| {
            let (later, earlier) = self.0.get(&edge).copied().unwrap_or_default();
            if is_later { later } else { earlier }
        });
        room.min().unwrap_or(0)
    }

    fn take(&mut self, from: u64, to: u64, amount: i128) {
        for edge in from.min(to)..from.max(to) {
            let (later, earlier) = self.0.entry(edge).or_default();
            *if from < to { later } else { earlier } -= amount;
        }
    }
}

/// Our side of all cells together.
fn total(cells: &BTreeMap<u64, Cell>) -> OurSum {
    let mut sum = OurSum::default();
    for cell in cells.values() {
        let ours = &cell.ours;
        sum.picos = sum.picos.saturating_add(ours.picos);
        sum.priced = sum.priced.saturating_add(ours.priced);
        sum.price_min = [sum.price_min, ours.price_min].into_iter().flatten().min();
        sum.price_max = sum.price_max.max(ours.price_max);
    }
    sum
}
