//! Sums data paths: who saw how many requests, and how much was computed in which region.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AttemptRecord, MeterRecord};

use super::party::{Party, PartyRole, Retention, Saw, later};

/// The same party, as far as a reader can tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    pub role: PartyRole,
    pub name: String,
    pub purpose: &'static str,
    pub saw: Option<Saw>,
    pub place: Option<String>,
    pub host: Option<String>,
    pub key: Option<String>,
    /// Without its end, which each request has for itself.
    pub retention: Retention,
}

/// What a party saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSum {
    pub requests: u64,
    pub first_seen_unix_ms: u64,
    pub last_seen_unix_ms: u64,
    /// When it retains nothing of it any more, if that is known of all of it.
    pub until_unix_ms: Option<u64>,
}

/// What providers and nodes of a region did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegionSum {
    pub requests: u64,
    pub attempts: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// The data paths of many requests.
#[derive(Debug, Default)]
pub struct Sums {
    pub lines: BTreeMap<LineKey, LineSum>,
    /// By region; `None` where nobody stated one.
    pub regions: BTreeMap<Option<String>, RegionSum>,
}

impl Sums {
    /// Counts a request once for each party, however often that saw it.
    pub fn take(&mut self, record: &MeterRecord, path: Vec<Party>) {
        self.take_regions(record, &path);
        let mut counted: BTreeSet<LineKey> = BTreeSet::new();
        for party in path {
            let (seen, until) = (party.seen_unix_ms, party.retention.until_unix_ms);
            let key = key_of(party);
            let is_again = !counted.insert(key.clone());
            let line = self.lines.entry(key).or_insert(LineSum {
                requests: 0,
                first_seen_unix_ms: seen,
                last_seen_unix_ms: seen,
                until_unix_ms: until,
            });
            line.requests += u64::from(!is_again);
            line.first_seen_unix_ms = line.first_seen_unix_ms.min(seen);
            line.last_seen_unix_ms = line.last_seen_unix_ms.max(seen);
            line.until_unix_ms = later((line.until_unix_ms, until));
        }
    }

    /// Attempts of the exchange itself: side requests that were made for it are counted as requests themselves.
    fn take_regions(&mut self, record: &MeterRecord, path: &[Party]) {
        let mut counted: BTreeSet<&Option<String>> = BTreeSet::new();
        for attempt in &record.attempts {
            let Some(party) = path.iter().find(|party| party.attempt == Some(attempt.number)) else {
                continue;
            };
            let sum = self.regions.entry(party.place.clone()).or_default();
            sum.requests += u64::from(counted.insert(&party.place));
            sum.add(attempt);
        }
    }
}

impl RegionSum {
    fn add(&mut self, attempt: &AttemptRecord) {
        self.attempts += 1;
        self.input_tokens = self.input_tokens.saturating_add(attempt.usage.prompt_total());
        self.output_tokens = self.output_tokens.saturating_add(attempt.usage.completion_total());
    }
}

fn key_of(party: Party) -> LineKey {
    LineKey {
        role: party.role,
        name: party.name,
        purpose: party.purpose,
        saw: party.saw,
        place: party.place,
        host: party.host,
        key: party.key,
        retention: Retention { until_unix_ms: None, ..party.retention },
    }
}
