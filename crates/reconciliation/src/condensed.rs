//! The lines of a large file in a form that fits into a request: one by one, or summed up by the hour where there are too many.

use std::collections::BTreeMap;

use providers::exports::{Line, Measure};

use crate::limits::CONDENSED_LINES_MAX;

const HOUR_S: u64 = 3_600;

/// What lines are summed up by: span, account, model, tier and measure.
type Group = (u64, u64, Option<String>, Option<String>, Option<u8>, Measure, bool);

/// Takes the lines of a file.
#[derive(Default)]
pub struct Condensed {
    lines: Vec<Line>,
    sums: BTreeMap<Group, Line>,
    has_ids: bool,
}

impl Condensed {
    pub fn take(&mut self, line: Line) {
        self.has_ids |= line.request.is_some();
        if self.lines.len() < CONDENSED_LINES_MAX && self.sums.is_empty() {
            self.lines.push(line);
            return;
        }
        for one in std::mem::take(&mut self.lines).into_iter().chain([line]) {
            self.add(one);
        }
    }

    fn add(&mut self, line: Line) {
        let (from, until) = match line.until_unix_s.saturating_sub(line.from_unix_s) {
            0..HOUR_S => {
                let start = line.from_unix_s / HOUR_S * HOUR_S;
                (start, start.saturating_add(HOUR_S))
            }
            _ => (line.from_unix_s, line.until_unix_s),
        };
        let is_back =
            line.cost_picos.is_some_and(|cost| cost < 0) || line.quantity.is_some_and(|count| count < 0);
        let tier = line.tier.map(crate::theirs::tier_number);
        let group = (from, until, line.account.clone(), line.model.clone(), tier, line.measure, is_back);
        let line = Line { from_unix_s: from, until_unix_s: until, request: None, ..line };
        match self.sums.entry(group) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(line);
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                let sum = occupied.get_mut();
                if let Some(quantity) = line.quantity {
                    sum.quantity = Some(sum.quantity.unwrap_or(0).saturating_add(quantity));
                }
                if let Some(cost) = line.cost_picos {
                    sum.cost_picos = Some(sum.cost_picos.unwrap_or(0).saturating_add(cost));
                }
                sum.decimals = sum.decimals.max(line.decimals);
            }
        }
    }

    /// The lines, and whether ids of requests were left out.
    pub fn finish(self) -> (Vec<Line>, bool) {
        let is_summed = !self.sums.is_empty();
        let lines = if is_summed { self.sums.into_values().collect() } else { self.lines };
        (lines, is_summed && self.has_ids)
    }
}
