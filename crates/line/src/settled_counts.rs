//! Sums over settled requests, for `/metrics`: they are counted where records are drained, so that no serving core takes a lock for
//! them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::{MeterRecord, Nanos, Priced, Profile, WorkspaceId};

use crate::limits::LABEL_SETS_MAX;

/// The upper bounds of a histogram's buckets, in milliseconds. Longer times are in one more.
pub const BUCKETS_MS: [u64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000];

/// In the place of a provider and a model that there is no room for.
const OTHER: &str = "other";

/// The labels by which sums are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    pub provider: String,
    pub model: String,
    /// Empty where nothing was called.
    pub profile: &'static str,
    pub outcome: &'static str,
}

/// Times, counted by bucket.
#[derive(Debug, Clone, Default)]
pub struct Times {
    pub buckets: [u64; BUCKETS_MS.len() + 1],
    pub sum_us: u64,
}

impl Times {
    fn count(&mut self, us: u64) {
        let bucket = BUCKETS_MS.partition_point(|bound| *bound * 1_000 < us);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

#[derive(Debug, Clone, Default)]
pub struct SettledSums {
    pub requests: u64,
    pub unpriced: u64,
    /// By kind.
    pub tokens: BTreeMap<&'static str, u64>,
    pub cost: Nanos,
    pub provider_cost: Nanos,
    pub latency: Times,
    /// Of streams.
    pub first_byte: Times,
}

impl SettledSums {
    fn count<Text>(&mut self, record: &MeterRecord<Text>) {
        self.requests += 1;
        self.unpriced += u64::from(record.charge.priced == Priced::Unpriced);
        let (usage, units) = (&record.usage, &record.usage.units);
        let tokens = [
            ("input", usage.input),
            ("cached_read", usage.cached_read),
            ("cache_write", usage.cache_write),
            ("cache_write_long", usage.cache_write_long),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
            ("audio_in", units.audio_in),
            ("audio_out", units.audio_out),
            ("image_in", units.image_in),
            ("image_out", units.image_out),
        ];
        for (kind, tokens) in tokens.into_iter().filter(|(_, tokens)| *tokens > 0) {
            let sum = self.tokens.entry(kind).or_default();
            *sum = sum.saturating_add(tokens);
        }
        self.cost = self.cost.plus(record.charge.cost);
        self.provider_cost = self.provider_cost.plus(record.charge.provider_cost);
        // A record that was booked later, such as a batch's, has no such times.
        if record.timeline.settled_us > 0 {
            self.latency.count(record.timeline.settled_us);
        }
        if record.stream && record.timeline.first_byte_us > 0 {
            self.first_byte.count(record.timeline.first_byte_us);
        }
    }
}

/// The sums of one process.
#[derive(Debug, Default)]
pub struct SettledCounts(Mutex<BTreeMap<Labels, (WorkspaceId, SettledSums)>>);

impl SettledCounts {
    pub fn count<Text: AsRef<str>>(&self, record: &MeterRecord<Text>) {
        let labels = |provider: &str, model: &str| Labels {
            provider: provider.to_owned(),
            model: model.to_owned(),
            profile: record.profile().map_or("", Profile::as_str),
            outcome: record.outcome.as_str(),
        };
        let mut own = labels(record.provider.as_ref(), record.resolved_model.as_ref());
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sets.contains_key(&own) {
            // Customers name models freely, so that each workspace may take half of the sets that are free.
            let of_workspace = sets.values().filter(|(workspace, _)| *workspace == record.workspace).count();
            if of_workspace >= LABEL_SETS_MAX.saturating_sub(sets.len()) {
                own = labels(OTHER, OTHER);
            }
        }
        let (_, sums) = sets.entry(own).or_insert_with(|| (record.workspace, SettledSums::default()));
        sums.count(record);
    }

    #[must_use]
    pub fn sums(&self) -> Vec<(Labels, SettledSums)> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.iter().map(|(labels, (_, sums))| (labels.clone(), sums.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::{AccountId, ProjectId, TraceId};
    use domain::record::PlanRecord;
    use domain::{Charge, Dialect, Operation, Outcome, Principal, Timeline, Usage};

    use super::*;

    fn record(workspace: u8, model: &str) -> MeterRecord<&str> {
        MeterRecord {
            trace: TraceId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [workspace; 10]),
            project: ProjectId::new(1, [1; 10]),
            key: None,
            environment: "production",
            started_unix_ms: 1,
            finished_unix_ms: 2,
            operation: Operation::Chat,
            dialect: Dialect::Chat,
            stream: true,
            requested_model: model,
            resolved_model: model,
            outcome: Outcome::Completed,
            status: 200,
            fault: None,
            fault_code: None,
            principal: Some(Principal::Account(AccountId::new(1, [1; 10]))),
            provider: "openai",
            fallback_used: false,
            tag: None,
            usage: Usage { input: 3, output: 2, ..Usage::default() },
            charge: Charge { cost: Nanos(5), provider_cost: Nanos(4), priced: Priced::Unpriced },
            attempts: Vec::new(),
            plan: PlanRecord::default(),
            timeline: Timeline { first_byte_us: 50_000, settled_us: 50_001, ..Timeline::default() },
            bytes_out: 1,
            drawn: Vec::new(),
            caching: None,
            reason: None,
            extras: Default::default(),
        }
    }

    #[test]
    fn a_settled_request_is_counted_with_its_tokens_money_and_times() {
        let counts = SettledCounts::default();
        counts.count(&record(1, "openai/gpt-4o-mini"));
        counts.count(&record(2, "openai/gpt-4o-mini"));
        let booked_later = MeterRecord { timeline: Timeline::default(), ..record(1, "openai/gpt-4o-mini") };
        counts.count(&booked_later);
        let sums = counts.sums();
        let [(labels, sums)] = sums.as_slice() else { panic!("{sums:?}") };
        assert_eq!(
            (labels.provider.as_str(), labels.profile, labels.outcome),
            ("openai", "managed_provider", "completed")
        );
        assert_eq!(
            (sums.requests, sums.unpriced, sums.cost, sums.provider_cost),
            (3, 3, Nanos(15), Nanos(12))
        );
        assert_eq!((sums.tokens["input"], sums.tokens["output"]), (9, 6));
        assert_eq!((sums.first_byte.buckets[0], sums.latency.buckets[1]), (2, 2), "a bound is in its bucket");
        assert_eq!(sums.latency.sum_us, 100_002);
    }

    #[test]
    fn a_workspace_that_makes_up_names_leaves_room_for_others() {
        let counts = SettledCounts::default();
        let flood = |workspace| {
            (0..LABEL_SETS_MAX)
                .for_each(|number| counts.count(&record(workspace, &format!("made/up-{number}"))));
        };
        flood(1);
        let after_one = counts.sums().len();
        counts.count(&record(2, "openai/gpt-4o-mini"));
        assert!(counts.sums().iter().any(|(labels, _)| labels.model == "openai/gpt-4o-mini"), "{after_one}");
        (2..60).for_each(flood);
        let sums = counts.sums();
        assert!(sums.len() <= LABEL_SETS_MAX + 1, "{}", sums.len());
        let others: u64 =
            sums.iter().filter(|(labels, _)| labels.model == OTHER).map(|(_, sums)| sums.requests).sum();
        let all: u64 = sums.iter().map(|(_, sums)| sums.requests).sum();
        assert!(others > 0 && all == 59 * LABEL_SETS_MAX as u64 + 1, "{others} of {all}");
    }
}
