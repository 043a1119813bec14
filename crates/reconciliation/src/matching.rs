//! The comparison as a whole: our attempts are read past the export's sums, by request or by bucket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::{MeterRecord, Principal, Tier, TraceId};
use providers::exports::Measure;

use crate::compare::{Comparison, Place, What};
use crate::limits::{BATCH_EDGE_S, EDGE_S, ESTIMATED_UNITS};
use crate::ours::{OurAttempt, Part};
use crate::outcome::Outcome;
use crate::series::{Cell, Grid, OurSum, Series, SeriesKey};
use crate::theirs::{TheirKey, TheirRequest, Theirs, tier_number};

/// Measures that every export of usage covers: none of ours beside theirs is a finding. Of others, only those that it has.
const COVERED: [Measure; 9] = [
    Measure::Input,
    Measure::CachedRead,
    Measure::CacheWrite,
    Measure::CacheWriteLong,
    Measure::Output,
    Measure::AudioIn,
    Measure::AudioOut,
    Measure::ImageIn,
    Measure::ImageOut,
];

/// What an export tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    has_model: bool,
    has_tier: bool,
    /// All measures together, in money.
    is_whole: bool,
}

/// How an export's sums are compared.
#[derive(Debug, Clone)]
struct Layout {
    grid: Grid,
    /// Of quantities, with their money if that is told apart alike.
    units: Option<Shape>,
    /// Of money where it is told apart otherwise, or where there are no quantities.
    money: Option<Shape>,
    has_money_of_units: bool,
    covered: BTreeSet<Measure>,
}

/// Our attempts, held until it is known whether ids match at all.
struct Held {
    trace: TraceId,
    began_unix_s: u64,
    ended_unix_s: u64,
    model: Arc<str>,
    tier: Tier,
    is_estimated: bool,
    is_unmetered: bool,
    parts: Vec<Part>,
}

/// A comparison that takes our records one by one.
pub struct Matching {
    theirs: Theirs,
    layout: Layout,
    units: Series,
    money: Series,
    held: Vec<Held>,
    has_requests: bool,
    models: HashMap<String, HashMap<String, Arc<str>>>,
    outcome: Outcome,
}

impl Layout {
    fn of(theirs: &Theirs) -> Self {
        let window = theirs.window.unwrap_or((0, 0));
        let spans = theirs.sums.keys().map(|key| (key.from_unix_s, key.until_unix_s));
        let grid = Grid::of(window, &spans);
        let with = |is_wanted: fn(&crate::theirs::TheirSum) -> bool| {
            theirs.sums.iter().filter(move |(_, sum)| is_wanted(sum)).map(|(key, _)| key)
        };
        let (units, money) = (|| with(|sum| sum.quantity.is_some()), || with(|sum| sum.picos.is_some()));
        let has_tier = theirs.sums.keys().all(|key| key.tier.is_some());
        let shape = |keys: &mut dyn Iterator<Item = &TheirKey>| {
            let mut found = Shape { has_model: true, has_tier, is_whole: false };
            let mut is_any = false;
            for key in keys {
                is_any = true;
                found.has_model &= key.model.is_some();
                found.is_whole |= key.measure == Measure::Whole;
            }
            // The parts of a whole that is not split by model can't be told apart either.
            is_any.then_some(found)
        };
        let (of_units, of_money) = (shape(&mut units()), shape(&mut money()));
        let covered = COVERED.into_iter().chain(theirs.sums.keys().map(|key| key.measure)).collect();
        let is_alike = of_units.is_some() && of_units == of_money;
        // An export of nothing says that nothing was used.
        let nothing = (of_units.is_none() && of_money.is_none()).then_some(Shape {
            has_model: true,
            has_tier,
            is_whole: false,
        });
        let units = of_units.or(nothing).map(|shape| Shape { is_whole: false, ..shape });
        let money = of_money.filter(|_| !is_alike);
        Self { grid, units, money, has_money_of_units: is_alike, covered }
    }

    fn key(shape: Shape, model: Option<&Arc<str>>, tier: Option<u8>, measure: Measure) -> SeriesKey {
        SeriesKey {
            model: model.filter(|_| shape.has_model).cloned(),
            tier: tier.filter(|_| shape.has_tier),
            measure: if shape.is_whole { Measure::Whole } else { measure },
        }
    }
}

impl Matching {
    pub fn new(theirs: Theirs) -> Self {
        let layout = Layout::of(&theirs);
        let has_requests = !theirs.requests.is_empty();
        let mut matching = Self {
            theirs,
            layout,
            units: Series::new(),
            money: Series::new(),
            held: Vec::new(),
            has_requests,
            models: HashMap::new(),
            outcome: Outcome::default(),
        };
        matching.sum_theirs();
        matching
    }

    /// When the records to be taken began and ended, in Unix seconds: the export's span, with what may be late around it.
    pub fn reads(&self) -> (u64, u64) {
        let Grid { from_unix_s, until_unix_s, .. } = self.layout.grid;
        (from_unix_s.saturating_sub(BATCH_EDGE_S), until_unix_s.saturating_add(BATCH_EDGE_S))
    }

    fn sum_theirs(&mut self) {
        self.units.clear();
        self.money.clear();
        let layout = &self.layout;
        for (key, sum) in &self.theirs.sums {
            let slot = layout.grid.slot(key.from_unix_s);
            let series = |shape: Shape| Layout::key(shape, key.model.as_ref(), key.tier, key.measure);
            if let Some(shape) = layout.units {
                let is_of_units =
                    sum.quantity.is_some() || (layout.has_money_of_units && sum.picos.is_some());
                if is_of_units {
                    let cell = self.units.entry(series(shape)).or_default().entry(slot).or_default();
                    cell.has_theirs |= sum.quantity.is_some();
                    cell.theirs = cell.theirs.saturating_add(sum.quantity.unwrap_or(0));
                    if let (true, Some(picos)) = (layout.has_money_of_units, sum.picos) {
                        cell.their_picos = Some(cell.their_picos.unwrap_or(0).saturating_add(picos));
                        cell.amounts = cell.amounts.saturating_add(sum.amounts);
                    }
                }
            }
            if let (Some(shape), Some(picos)) = (layout.money, sum.picos) {
                let cell = self.money.entry(series(shape)).or_default().entry(slot).or_default();
                cell.has_theirs = true;
                cell.theirs = cell.theirs.saturating_add(picos);
                cell.amounts = cell.amounts.saturating_add(sum.amounts);
            }
        }
    }

    /// Takes one record of ours; of its attempts, those at this provider by these principals.
    pub fn take(&mut self, record: &MeterRecord, is_ours: &dyn Fn(Principal) -> bool) {
        for attempt in &record.attempts {
            if attempt.provider == self.theirs.names.provider() && is_ours(attempt.principal) {
                self.attempt(&OurAttempt::of(record, attempt));
            }
        }
    }

    fn attempt(&mut self, attempt: &OurAttempt<'_>) {
        let model = self.model(attempt);
        let held = Held {
            trace: attempt.trace,
            began_unix_s: attempt.began_unix_s,
            ended_unix_s: attempt.ended_unix_s,
            model,
            tier: attempt.tier,
            is_estimated: attempt.is_estimated,
            is_unmetered: attempt.is_unmetered,
            parts: attempt.parts.clone(),
        };
        if !self.has_requests {
            return self.sum_ours(&held);
        }
        let found = attempt.request.and_then(|request| self.theirs.requests.remove_entry(request));
        match found {
            Some((id, request)) => {
                self.outcome.by_request = self.outcome.by_request.saturating_add(1);
                self.request(&id, &request, Some(&held));
            }
            None => self.held.push(held),
        }
    }

    /// The model of an attempt: what the provider calls it, or of deployments whose names say nothing, what it was resolved to.
    fn model(&mut self, attempt: &OurAttempt<'_>) -> Arc<str> {
        let known =
            self.models.get(attempt.upstream_model).and_then(|resolved| resolved.get(attempt.resolved_model));
        if let Some(found) = known {
            return Arc::clone(found);
        }
        let names = &mut self.theirs.names;
        let is_resolved = !names.knows(attempt.upstream_model) && names.knows(attempt.resolved_model);
        let key = names.of(if is_resolved { attempt.resolved_model } else { attempt.upstream_model });
        let resolved = self.models.entry(attempt.upstream_model.to_owned()).or_default();
        resolved.insert(attempt.resolved_model.to_owned(), Arc::clone(&key));
        key
    }

    fn sum_ours(&mut self, held: &Held) {
        let grid = self.layout.grid;
        let is_batch = held.tier == Tier::Batch;
        let margin = match grid.width_s {
            None => 0,
            Some(_) if is_batch => BATCH_EDGE_S,
            Some(_) => EDGE_S,
        };
        let is_near = held.ended_unix_s.saturating_add(margin) >= grid.from_unix_s
            && held.ended_unix_s < grid.until_unix_s.saturating_add(margin);
        if !is_near {
            return;
        }
        let slot = grid.slot(held.ended_unix_s);
        if grid.slots().contains(&slot) {
            self.outcome.ours.lines = self.outcome.ours.lines.saturating_add(1);
            self.outcome.unmetered = self.outcome.unmetered.saturating_add(u64::from(held.is_unmetered));
        }
        let nearness = grid.nearness(held.began_unix_s, held.ended_unix_s);
        let tier = Some(tier_number(held.tier));
        let covered: Vec<_> =
            held.parts.iter().copied().filter(|part| self.layout.covered.contains(&part.measure)).collect();
        if let Some(shape) = self.layout.units {
            if held.is_unmetered {
                // Shown beside what is missing, where nothing else is known of them.
                let key = Layout::key(shape, Some(&held.model), tier, Measure::Output);
                if let Some(cell) = self.units.get_mut(&key).and_then(|cells| cells.get_mut(&slot)) {
                    cell.ours.unmetered += 1;
                    cell.ours.example(held.trace);
                }
            }
            for part in covered {
                let key = Layout::key(shape, Some(&held.model), tier, part.measure);
                let cell = self.units.entry(key).or_default().entry(slot).or_default();
                add(cell, held, part, part.quantity, nearness);
            }
        }
        if let Some(shape) = self.layout.money {
            for part in &held.parts {
                if !shape.is_whole && !self.layout.covered.contains(&part.measure) {
                    continue;
                }
                let picos = i128::from(part.price.unwrap_or(0)).saturating_mul(part.quantity);
                let key = Layout::key(shape, Some(&held.model), tier, part.measure);
                let cell = self.money.entry(key).or_default().entry(slot).or_default();
                add(cell, held, *part, picos, nearness);
            }
        }
    }

    /// Compares one request, or what only one side has.
    fn request(&mut self, id: &str, theirs: &TheirRequest, ours: Option<&Held>) {
        let span = (theirs.at_unix_s, theirs.at_unix_s.saturating_add(1));
        let has_money = theirs.parts.values().any(|part| part.picos.is_some());
        let model = theirs.model.clone().or_else(|| ours.map(|ours| Arc::clone(&ours.model)));
        let tier = theirs.tier.or_else(|| ours.map(|ours| tier_number(ours.tier)));
        let mut cells: BTreeMap<Measure, Cell> = BTreeMap::new();
        for (measure, sum) in &theirs.parts {
            let cell = cells.entry(*measure).or_default();
            cell.has_theirs = sum.quantity.is_some();
            cell.theirs = sum.quantity.unwrap_or(0);
            cell.their_picos = sum.picos;
            cell.amounts = sum.amounts;
        }
        let is_whole = theirs.parts.get(&Measure::Whole).is_some_and(|part| part.picos.is_some());
        for part in ours.iter().flat_map(|ours| &ours.parts) {
            let is_covered = COVERED.contains(&part.measure) || cells.contains_key(&part.measure);
            if let (true, Some(ours)) = (is_covered, ours) {
                add(cells.entry(part.measure).or_default(), ours, *part, part.quantity, (false, false));
            }
            if let (true, Some(whole), Some(ours)) = (is_whole, cells.get_mut(&Measure::Whole), ours) {
                let picos = i128::from(part.price.unwrap_or(0)).saturating_mul(part.quantity);
                whole.ours.picos = whole.ours.picos.saturating_add(picos);
                whole.ours.attempts = 1;
                whole.ours.example(ours.trace);
            }
        }
        if ours.is_some() {
            self.outcome.ours.lines = self.outcome.ours.lines.saturating_add(1);
        }
        for (measure, mut cell) in cells {
            // The whole has the money of all; counted there, it is not counted by measure again.
            if is_whole && measure != Measure::Whole {
                cell.their_picos = None;
            }
            let counts_money = if is_whole { measure == Measure::Whole } else { true };
            let key = SeriesKey { model: model.clone(), tier, measure };
            let mut comparison = Comparison {
                names: &self.theirs.names,
                grid: self.layout.grid,
                what: What::Units,
                counts_money: counts_money || !has_money,
                rounding_picos: rounding(self.theirs.decimals),
                series: OurSum::default(),
                outcome: &mut self.outcome,
            };
            comparison.cell(&Place { key: &key, span, request: Some(id) }, &cell);
        }
    }

    /// What only we have, where the export tells requests apart.
    fn unmatched(&mut self, held: &Held) {
        let (from, until) = self.theirs.window.unwrap_or((0, 0));
        if held.ended_unix_s < from || held.ended_unix_s >= until {
            let amount: i128 = held.parts.iter().map(|part| part.quantity).sum();
            self.outcome.outside = self.outcome.outside.saturating_add(amount);
            return;
        }
        let theirs = TheirRequest {
            at_unix_s: held.ended_unix_s,
            model: Some(Arc::clone(&held.model)),
            tier: Some(tier_number(held.tier)),
            parts: BTreeMap::new(),
        };
        self.request("", &theirs, Some(held));
        self.outcome.unmetered = self.outcome.unmetered.saturating_add(u64::from(held.is_unmetered));
    }

    /// Where no id of theirs is one of ours, requests are summed up by the hour as other lines are.
    fn without_ids(&mut self) {
        for (_, request) in std::mem::take(&mut self.theirs.requests) {
            for (measure, sum) in request.parts {
                let key = TheirKey {
                    from_unix_s: request.at_unix_s,
                    until_unix_s: request.at_unix_s,
                    model: request.model.clone(),
                    tier: request.tier,
                    measure,
                };
                self.theirs.sums.entry(key).or_default().add(sum);
            }
        }
        self.layout = Layout::of(&self.theirs);
        self.sum_theirs();
    }

    /// What came of it.
    pub fn finish(mut self) -> Outcome {
        let held = std::mem::take(&mut self.held);
        if self.has_requests && self.outcome.by_request == 0 {
            self.without_ids();
        }
        let requests = std::mem::take(&mut self.theirs.requests);
        for (id, request) in &requests {
            self.request(id, request, None);
        }
        let is_by_request = self.theirs.sums.is_empty();
        for held in &held {
            if is_by_request { self.unmatched(held) } else { self.sum_ours(held) }
        }
        let (units, money) = (std::mem::take(&mut self.units), std::mem::take(&mut self.money));
        for (what, series) in [(What::Units, &units), (What::Money, &money)] {
            let mut comparison = Comparison {
                names: &self.theirs.names,
                grid: self.layout.grid,
                what,
                counts_money: what == What::Money || self.layout.money.is_none(),
                rounding_picos: rounding(self.theirs.decimals),
                series: OurSum::default(),
                outcome: &mut self.outcome,
            };
            for (key, cells) in series {
                comparison.series(key, cells);
            }
        }
        let Grid { from_unix_s, until_unix_s, width_s } = self.layout.grid;
        let mut outcome = self.outcome;
        (outcome.from_unix_s, outcome.until_unix_s, outcome.width_s) = (from_unix_s, until_unix_s, width_s);
        outcome.theirs.lines = self.theirs.lines;
        let (count, picos) = self.theirs.credits;
        if count > 0 {
            outcome.add(crate::Kind::Credit, 0, picos);
        }
        outcome.rank();
        outcome
    }
}

fn add(cell: &mut Cell, held: &Held, part: Part, amount: i128, (before, after): (bool, bool)) {
    let ours = &mut cell.ours;
    ours.amount = ours.amount.saturating_add(amount);
    if let Some(price) = part.price {
        ours.picos = ours.picos.saturating_add(i128::from(price).saturating_mul(part.quantity));
        ours.priced = ours.priced.saturating_add(part.quantity);
        ours.price_min = Some(ours.price_min.map_or(price, |min| min.min(price)));
        ours.price_max = Some(ours.price_max.map_or(price, |max| max.max(price)));
    }
    let part_of = |is: bool| if is { amount } else { 0 };
    ours.near_before = ours.near_before.saturating_add(part_of(before));
    ours.near_after = ours.near_after.saturating_add(part_of(after));
    ours.batch = ours.batch.saturating_add(part_of(held.tier == Tier::Batch));
    if held.is_estimated {
        // In units or in money, as the amount is.
        let each = amount.checked_div(part.quantity).unwrap_or(0);
        let allowed = amount.saturating_add(each.saturating_mul(ESTIMATED_UNITS));
        ours.estimated = ours.estimated.saturating_add(allowed);
    }
    ours.attempts = ours.attempts.saturating_add(1);
    ours.example(held.trace);
}

/// Half of the last decimal of the export's most precise amount, in pico-USD.
fn rounding(decimals: u8) -> i128 {
    let power = 12_u32.saturating_sub(u32::from(decimals.max(2)));
    10_i128.pow(power) / 2
}
