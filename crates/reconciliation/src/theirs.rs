//! Their side: the lines of an export, summed up by span, model, tier and measure, or kept by request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::Tier;
use providers::exports::{Line, Measure};

use crate::names::Names;

/// The lines of one or several exports of the same provider.
pub struct Theirs {
    pub(crate) names: Names,
    pub(crate) sums: BTreeMap<TheirKey, TheirSum>,
    pub(crate) requests: HashMap<Box<str>, TheirRequest>,
    pub(crate) window: Option<(u64, u64)>,
    pub(crate) credits: (u64, i128),
    /// Decimals of the most precise amount.
    pub(crate) decimals: u8,
    pub(crate) lines: u64,
}

/// Which tier, by its place in `Tier::ALL`, since tiers have no order.
pub(crate) fn tier_number(tier: Tier) -> u8 {
    let at = Tier::ALL.iter().position(|one| *one == tier);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

pub(crate) fn tier_of(number: u8) -> Tier {
    Tier::ALL.get(usize::from(number)).copied().unwrap_or(Tier::Other)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TheirKey {
    pub from_unix_s: u64,
    pub until_unix_s: u64,
    pub model: Option<Arc<str>>,
    pub tier: Option<u8>,
    pub measure: Measure,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TheirSum {
    pub quantity: Option<i128>,
    pub picos: Option<i128>,
    /// Lines with an amount, each of which was rounded.
    pub amounts: u64,
}

impl TheirSum {
    pub fn add(&mut self, other: Self) {
        let sum = |one: Option<i128>, two: Option<i128>| match (one, two) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(0).saturating_add(two.unwrap_or(0))),
        };
        self.quantity = sum(self.quantity, other.quantity);
        self.picos = sum(self.picos, other.picos);
        self.amounts = self.amounts.saturating_add(other.amounts);
    }
}

/// One request by the provider's id.
#[derive(Debug, Clone)]
pub(crate) struct TheirRequest {
    pub at_unix_s: u64,
    pub model: Option<Arc<str>>,
    pub tier: Option<u8>,
    pub parts: BTreeMap<Measure, TheirSum>,
}

impl Theirs {
    pub fn new(names: Names) -> Self {
        Self {
            names,
            sums: BTreeMap::new(),
            requests: HashMap::new(),
            window: None,
            credits: (0, 0),
            decimals: 0,
            lines: 0,
        }
    }

    /// States what the export covers, beyond its lines: buckets without usage have none.
    pub fn widen(&mut self, from_unix_s: u64, until_unix_s: u64) {
        let (from, until) = self.window.unwrap_or((from_unix_s, until_unix_s));
        self.window = Some((from.min(from_unix_s), until.max(until_unix_s)));
    }

    /// Takes one line. What is given back is counted apart, as it is of no bucket's usage.
    pub fn take(&mut self, line: Line) {
        self.lines = self.lines.saturating_add(1);
        self.widen(line.from_unix_s, line.until_unix_s.max(line.from_unix_s.saturating_add(1)));
        let is_back =
            line.cost_picos.is_some_and(|cost| cost < 0) || line.quantity.is_some_and(|count| count < 0);
        if is_back {
            let (count, picos) = self.credits;
            self.credits = (count.saturating_add(1), picos.saturating_add(line.cost_picos.unwrap_or(0)));
            return;
        }
        self.decimals = self.decimals.max(line.decimals);
        let model = line.model.as_deref().map(|name| self.names.of(name));
        let tier = line.tier.map(tier_number);
        let sum = TheirSum {
            quantity: line.quantity.map(i128::from),
            picos: line.cost_picos,
            amounts: u64::from(line.cost_picos.is_some()),
        };
        let Line { from_unix_s, until_unix_s, measure, .. } = line;
        match line.request {
            Some(request) => {
                let parts = BTreeMap::new();
                let entry = self.requests.entry(request.into()).or_insert(TheirRequest {
                    at_unix_s: from_unix_s,
                    model,
                    tier,
                    parts,
                });
                // The order of lines doesn't matter.
                entry.at_unix_s = entry.at_unix_s.min(from_unix_s);
                entry.parts.entry(measure).or_default().add(sum);
            }
            None => {
                let key = TheirKey { from_unix_s, until_unix_s, model, tier, measure };
                self.sums.entry(key).or_default().add(sum);
            }
        }
    }
}
