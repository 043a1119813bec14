//! Sums over settled requests, for `/metrics`: they are counted where records are stored, so that no serving core takes a lock for
//! them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::{MeterRecord, Nanos, Priced, Profile, WorkspaceId};

use crate::limits::LABEL_SETS_MAX;

/// The upper bounds of a histogram's buckets, in milliseconds. Longer times are in one more.
pub const BUCKETS_MS: [u64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000];

/// The kinds of tokens, in the order of their sums.
pub const TOKEN_KINDS: [&str; 10] = [
    "input",
    "cached_read",
    "cache_write",
    "cache_write_long",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "image_in",
    "image_out",
];

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

    fn add(&mut self, more: &Self) {
        self.buckets.iter_mut().zip(more.buckets).for_each(|(count, more)| *count += more);
        self.sum_us = self.sum_us.saturating_add(more.sum_us);
    }
}

#[derive(Debug, Clone, Default)]
pub struct SettledSums {
    pub requests: u64,
    pub unpriced: u64,
    /// By [`TOKEN_KINDS`].
    pub tokens: [u64; TOKEN_KINDS.len()],
    pub cost: Nanos,
    pub provider_cost: Nanos,
    pub latency: Times,
    /// Of streams.
    pub first_byte: Times,
}

impl SettledSums {
    fn count<Text>(&mut self, record: &MeterRecord<Text>) {
        let (usage, units) = (&record.usage, &record.usage.units);
        let tokens = [
            usage.input,
            usage.cached_read,
            usage.cache_write,
            usage.cache_write_long,
            usage.output,
            usage.reasoning,
            units.audio_in,
            units.audio_out,
            units.image_in,
            units.image_out,
        ];
        self.requests += 1;
        self.unpriced += u64::from(record.charge.priced == Priced::Unpriced);
        self.spend(&tokens, record.charge.cost, record.charge.provider_cost);
        // A record that was booked later, such as a batch's, has no such times.
        if record.timeline.settled_us > 0 {
            self.latency.count(record.timeline.settled_us);
        }
        if record.stream && record.timeline.first_byte_us > 0 {
            self.first_byte.count(record.timeline.first_byte_us);
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.unpriced += more.unpriced;
        self.spend(&more.tokens, more.cost, more.provider_cost);
        self.latency.add(&more.latency);
        self.first_byte.add(&more.first_byte);
    }

    fn spend(&mut self, tokens: &[u64; TOKEN_KINDS.len()], cost: Nanos, provider_cost: Nanos) {
        self.tokens.iter_mut().zip(tokens).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
        self.cost = self.cost.plus(cost);
        self.provider_cost = self.provider_cost.plus(provider_cost);
    }
}

/// The sums of some records, until these are stored.
#[derive(Debug, Default)]
pub struct SettledBatch(Vec<(Labels, WorkspaceId, SettledSums)>);

impl SettledBatch {
    pub fn count<Text: AsRef<str>>(&mut self, record: &MeterRecord<Text>) {
        let (provider, model) = (record.provider.as_ref(), record.resolved_model.as_ref());
        let profile = record.profile().map_or("", Profile::as_str);
        let outcome = record.outcome.as_str();
        // Neighbouring records mostly have the same labels.
        if let Some((labels, workspace, sums)) = self.0.last_mut()
            && (labels.provider.as_str(), labels.model.as_str()) == (provider, model)
            && (labels.profile, labels.outcome, *workspace) == (profile, outcome, record.workspace)
        {
            sums.count(record);
            return;
        }
        let labels = Labels { provider: provider.to_owned(), model: model.to_owned(), profile, outcome };
        let mut sums = SettledSums::default();
        sums.count(record);
        self.0.push((labels, record.workspace, sums));
    }
}

/// The sums of one process.
#[derive(Debug, Default)]
pub struct SettledCounts(Mutex<BTreeMap<Labels, (WorkspaceId, SettledSums)>>);

impl SettledCounts {
    pub fn add(&self, SettledBatch(batch): SettledBatch) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (mut labels, workspace, sums) in batch {
            if let Some((_, found)) = sets.get_mut(&labels) {
                found.add(&sums);
                continue;
            }
            // Customers name models freely, so that each workspace may take half of the sets that are free.
            let of_workspace = sets.values().filter(|(of, _)| *of == workspace).count();
            if of_workspace >= LABEL_SETS_MAX.saturating_sub(sets.len()) {
                labels = Labels { provider: OTHER.to_owned(), model: OTHER.to_owned(), ..labels };
            }
            sets.entry(labels).or_insert_with(|| (workspace, SettledSums::default())).1.add(&sums);
        }
    }

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

    fn batch(records: &[MeterRecord<&str>]) -> SettledBatch {
        let mut batch = SettledBatch::default();
        records.iter().for_each(|record| batch.count(record));
        batch
    }

    #[test]
    fn a_settled_request_is_counted_with_its_tokens_money_and_times() {
        let counts = SettledCounts::default();
        let booked_later = MeterRecord { timeline: Timeline::default(), ..record(1, "openai/gpt-4o-mini") };
        let of_two = [record(2, "openai/gpt-4o-mini"), booked_later];
        counts.add(batch(&[record(1, "openai/gpt-4o-mini")]));
        counts.add(batch(&of_two));
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
        assert_eq!(sums.tokens, [9, 0, 0, 0, 6, 0, 0, 0, 0, 0]);
        assert_eq!((sums.first_byte.buckets[0], sums.latency.buckets[1]), (2, 2), "a bound is in its bucket");
        assert_eq!(sums.latency.sum_us, 100_002);
    }

    #[test]
    fn a_workspace_that_makes_up_names_leaves_room_for_others() {
        let counts = SettledCounts::default();
        let flood = |workspace| {
            (0..LABEL_SETS_MAX)
                .for_each(|number| counts.add(batch(&[record(workspace, &format!("made/up-{number}"))])));
        };
        flood(1);
        let after_one = counts.sums().len();
        counts.add(batch(&[record(2, "openai/gpt-4o-mini")]));
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
