//! Usage sums of one minute and group, and their encoding.

use std::collections::HashMap;
use std::ops::Range;

use database::error::StoreError;
use domain::{
    AccountId, CacheTier, Charge, Counts, FirstUnits, Later, MeterRecord, Nanos, Operation, Outcome, Priced,
    Principal, Profile, QosClass, StoredKind, Units, UsageSource, WorkspaceId,
};
use filter::{Field, Filterable, Term};
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::requests::RequestFilter;
use crate::reuse::ReuseSums;
use crate::service::{ServiceSums, first_byte_us, latency_us, taken_over};
use crate::usage::{Dimension, Percentiles, UsageFilter, UsageSums};

/// Raised with every change of the encodings below; a test ties the two together.
const FORMAT: u8 = 1;
const GROUPS: &str = "usage_groups";
const MINUTES: &str = "usage_minutes";
pub(crate) const MINUTE_MS: u64 = 60_000;
const MINUTES_OF_HOUR: u64 = 60;
/// Stands in an encoded group before a principal, where no model was found.
const NOTHING: &str = "";
/// Stands in an encoded group before what later versions added, where nobody was tried.
const NOBODY: Principal = Principal::Account(AccountId::from_uuid(uuid::Uuid::nil()));

/// The dimensions that usage is broken down by. Empty is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Group<'a> {
    project: [u8; 16],
    key: Option<[u8; 16]>,
    model: &'a str,
    modality: &'a str,
    provider: &'a str,
    profile: &'a str,
    region: Option<&'a str>,
    environment: &'a str,
    status: u16,
    outcome: &'a str,
    operation: &'a str,
    tag: Option<&'a str>,
    /// The requested model name, encoded after the other fields, where older versions don't read. Only for a
    /// model that was found, so that invented names create no groups; unknown for rows that an older version
    /// counted.
    #[serde(skip)]
    requested: Option<&'a str>,
    /// The credential, account or node that answered or was tried last; encoded after `requested`, for the
    /// same reason.
    #[serde(skip)]
    principal: Option<Principal>,
    /// The cache that what was reused came from; encoded among the dimensions of later versions.
    #[serde(skip)]
    cache_tier: Option<CacheTier>,
    /// The class that the request's hints stated; encoded beside the cache.
    #[serde(skip)]
    qos_class: Option<QosClass>,
    /// The code of the fault that the client was told; encoded beside the cache.
    #[serde(skip)]
    error_code: Option<&'a str>,
    /// The agent whose turn it was made in, and the adapter with which a node answered; encoded beside the cache.
    #[serde(skip)]
    agent: Option<&'a str>,
    #[serde(skip)]
    adapter: Option<&'a str>,
}

/// Which minutes of an hour have exchanges, as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Minutes(u64);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub sums: UsageSums,
    latency: Histogram,
    first_byte: Histogram,
    /// Stored only with the sums of an hour.
    pub minutes: Minutes,
}

/// The sums of some records for one row of the roll-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MinuteTally {
    pub workspace: WorkspaceId,
    pub minute: u64,
    /// The encoded group.
    pub group: Vec<u8>,
    /// Bytes of its first record: the template for delta encoding, if the group is new.
    pub sample: Vec<u8>,
    pub tally: Tally,
}

/// The numbers of the cache, the class, the fault, the agent and the adapter among the dimensions of later versions.
const CACHE_TIER: u8 = 1;
const QOS_CLASS: u8 = 2;
const ERROR_CODE: u8 = 3;
const AGENT: u8 = 4;
const ADAPTER: u8 = 5;

type Name<'a> = (WorkspaceId, u64, Group<'a>);

/// Accumulates the sums of a batch.
#[derive(Default)]
pub(crate) struct Tallying<'a> {
    indices: HashMap<Name<'a>, usize>,
    found: Vec<(Name<'a>, Vec<u8>, Tally)>,
    /// Neighbouring records mostly have the same group, and comparing is cheaper than hashing.
    before: Option<(Name<'a>, usize)>,
}

impl<'a> Tallying<'a> {
    /// Adds a record; returns the index of the tally that counts it. `tail` is the record's encoding.
    pub(crate) fn add(&mut self, record: &MeterRecord<&'a str>, tail: &[u8]) -> usize {
        let name = (record.workspace, record.started_unix_ms / MINUTE_MS, Group::of(record));
        for attempt in taken_over(record) {
            let of_attempt = Group {
                provider: attempt.provider,
                profile: attempt.profile().as_str(),
                region: attempt.region,
                principal: name.2.principal.map(|_| attempt.principal),
                ..name.2
            };
            let index = self.index((name.0, name.1, of_attempt), tail);
            if let Some((_, _, tally)) = self.found.get_mut(index) {
                tally.sums.service.taken_over += 1;
            }
        }
        let index = self.index(name, tail);
        if let Some((_, _, tally)) = self.found.get_mut(index) {
            tally.count(record);
        }
        index
    }

    fn index(&mut self, name: Name<'a>, tail: &[u8]) -> usize {
        let index = match self.before {
            Some((earlier, index)) if earlier == name => index,
            _ => *self.indices.entry(name).or_insert_with(|| {
                self.found.push((name, tail.to_vec(), Tally::default()));
                self.found.len() - 1
            }),
        };
        self.before = Some((name, index));
        index
    }

    pub(crate) fn into_tallies(self) -> Result<Vec<MinuteTally>, StoreError> {
        let form = |((workspace, minute, group), sample, tally): (Name<'_>, _, Tally)| {
            let tally = Tally { minutes: Minutes::of(minute), ..tally };
            Ok(MinuteTally { workspace, minute, group: group.encode()?, sample, tally })
        };
        self.found.into_iter().map(form).collect()
    }
}

/// The region of the attempt that answered, or of the last one.
pub(crate) fn region<Text>(record: &MeterRecord<Text>) -> Option<&Text> {
    let answered = record.attempts.iter().rev().find(|attempt| Some(attempt.principal) == record.principal);
    answered.and_then(|attempt| attempt.region.as_ref())
}

impl<'a> Group<'a> {
    fn of(record: &MeterRecord<&'a str>) -> Self {
        Self {
            project: *record.project.as_bytes(),
            key: record.key.map(|key| *key.as_bytes()),
            model: record.resolved_model,
            modality: record.operation.modality().as_str(),
            provider: record.provider,
            profile: record.profile().map_or("", Profile::as_str),
            region: region(record).copied(),
            environment: record.environment,
            status: record.status,
            outcome: record.outcome.as_str(),
            operation: record.operation.as_str(),
            tag: record.tag,
            requested: Some(record.requested_model).filter(|_| !record.resolved_model.is_empty()),
            principal: record.principal.filter(|_| !record.resolved_model.is_empty()),
            cache_tier: record.cache_tier().filter(|_| !record.resolved_model.is_empty()),
            qos_class: record.extras.qos_class.filter(|_| !record.resolved_model.is_empty()),
            error_code: record.fault_code,
            agent: record.extras.agent,
            adapter: record.extras.adapter,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let later = self.later();
        // Each is read wherever more follows.
        let principal = self.principal.or_else(|| (!later.is_empty()).then_some(NOBODY));
        let requested = self.requested.or_else(|| principal.map(|_| NOTHING));
        let encoded = postcard::to_extend(self, vec![FORMAT]).and_then(|bytes| match requested {
            Some(requested) => postcard::to_extend(requested, bytes),
            None => Ok(bytes),
        });
        let encoded = encoded.and_then(|bytes| match principal {
            Some(principal) => postcard::to_extend(&principal, bytes),
            None => Ok(bytes),
        });
        let encoded = encoded
            .and_then(|bytes| if later.is_empty() { Ok(bytes) } else { postcard::to_extend(&later, bytes) });
        encoded.map_err(|error| StoreError::corrupt(GROUPS, error))
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let corrupt = |error| StoreError::corrupt(GROUPS, error);
        let (group, rest) = postcard::take_from_bytes(strip_format(GROUPS, bytes)?).map_err(corrupt)?;
        let (requested, rest) = behind(rest).map_err(corrupt)?;
        let (principal, rest) = behind::<Principal>(rest).map_err(corrupt)?;
        let (later, _) = behind::<Vec<(u8, &str)>>(rest).map_err(corrupt)?;
        let later = later.unwrap_or_default();
        let text = |wanted| later.iter().find(|(number, _)| *number == wanted).map(|(_, text)| *text);
        let cache_tier = text(CACHE_TIER).and_then(CacheTier::from_name);
        let qos_class = text(QOS_CLASS).and_then(QosClass::from_word);
        let requested = requested.filter(|requested| *requested != NOTHING);
        let principal = principal.filter(|principal| *principal != NOBODY);
        let (error_code, agent, adapter) = (text(ERROR_CODE), text(AGENT), text(ADAPTER));
        Ok(Self { requested, principal, cache_tier, qos_class, error_code, agent, adapter, ..group })
    }

    /// The dimensions that were added after the principal, by their numbers. Versions that don't know one ignore it.
    fn later(&self) -> Vec<(u8, &'a str)> {
        let tier = self.cache_tier.map(|tier| (CACHE_TIER, tier.as_str()));
        let class = self.qos_class.map(|class| (QOS_CLASS, class.as_str()));
        let code = self.error_code.map(|code| (ERROR_CODE, code));
        let agent = self.agent.map(|agent| (AGENT, agent));
        let adapter = self.adapter.map(|adapter| (ADAPTER, adapter));
        tier.into_iter().chain(class).chain(code).chain(agent).chain(adapter).collect()
    }

    /// Whether requests of this group can match the filter.
    pub(crate) fn may_have(&self, filter: &RequestFilter) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let is_model =
            |model: &String| model == self.model || self.requested.is_none_or(|requested| requested == model);
        filter.model.as_ref().is_none_or(is_model)
            && is(&filter.provider, self.provider)
            && is(&filter.profile, self.profile)
            && filter.key.is_none_or(|key| Some(*key.as_bytes()) == self.key)
            && filter.project.is_none_or(|project| *project.as_bytes() == self.project)
            && is(&filter.environment, self.environment)
            && filter.status.is_none_or(|status| status == self.status)
            && filter.outcome.is_none_or(|outcome| outcome.as_str() == self.outcome)
            && (filter.tag.is_none() || filter.tag.as_deref() == self.tag)
            && (filter.qos_class.is_none() || filter.qos_class == self.qos_class || self.model.is_empty())
            && filter.terms.iter().all(|term| self.may_hold(term))
    }

    /// A dimension is the same for all requests of a group; other terms can't be decided here.
    fn may_hold(&self, term: &Term) -> bool {
        match term.field {
            Field::Model if self.requested.is_none() => true,
            // A request whose model was not found has a class, and its group does not.
            Field::QosClass if self.model.is_empty() => true,
            field if field.applies_to_usage() => term.holds(&Alike(self)),
            _ => true,
        }
    }

    fn mode(&self) -> Option<&'static str> {
        self.profile().map(|profile| profile.mode().as_str())
    }

    pub(crate) fn profile(&self) -> Option<Profile> {
        self.profile.parse().ok()
    }

    pub(crate) fn passes(&self, filter: &UsageFilter) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        filter.project.is_none_or(|project| *project.as_bytes() == self.project)
            && filter.key.is_none_or(|key| Some(*key.as_bytes()) == self.key)
            && is(&filter.model, self.model)
            && is(&filter.provider, self.provider)
            && (filter.profile.is_none() || (is(&filter.profile, self.profile) && !self.profile.is_empty()))
            && filter.mode.is_none_or(|mode| self.mode() == Some(mode.as_str()))
            && is(&filter.environment, self.environment)
            && (filter.tag.is_none() || filter.tag.as_deref() == self.tag)
            && (filter.qos_class.is_none() || filter.qos_class == self.qos_class)
            && filter.terms.iter().all(|term| term.holds(self))
    }

    /// The value of this dimension in an answer's row.
    pub(crate) fn value(&self, dimension: Dimension) -> Option<String> {
        let id = |prefix: &str, id: [u8; 16]| format!("{prefix}_{}", uuid::Uuid::from_bytes(id).simple());
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        match dimension {
            Dimension::Provider => text(self.provider),
            Dimension::Model => text(self.model),
            Dimension::Modality => text(self.modality),
            Dimension::Profile => text(self.profile),
            Dimension::Mode => self.mode().map(str::to_owned),
            Dimension::Key => self.key.map(|key| id(domain::KeyId::PREFIX, key)),
            Dimension::Project => Some(id(domain::ProjectId::PREFIX, self.project)),
            Dimension::Region => self.region.map(str::to_owned),
            Dimension::Environment => Some(self.environment.to_owned()),
            Dimension::Status => Some(self.status.to_string()),
            Dimension::Outcome => text(self.outcome),
            Dimension::Operation => text(self.operation),
            Dimension::Tag => self.tag.map(str::to_owned),
            Dimension::Credential => match self.principal? {
                own @ (Principal::Credential(_) | Principal::Subscription(_)) => Some(own.to_string()),
                _ => None,
            },
            Dimension::Node => match self.principal? {
                Principal::Node(id) => Some(id.to_string()),
                _ => None,
            },
            Dimension::Account => match self.principal? {
                Principal::Account(id) => Some(id.to_string()),
                _ => None,
            },
            Dimension::ErrorCode => self.error_code.map(str::to_owned),
            Dimension::CacheTier => self.cache_tier.map(|tier| tier.as_str().to_owned()),
            Dimension::QosClass => self.qos_class.map(|class| class.as_str().to_owned()),
            Dimension::Agent => self.agent.map(str::to_owned),
            Dimension::Adapter => self.adapter.map(str::to_owned),
            // Summed apart from the minutes.
            Dimension::Task | Dimension::EndUser => None,
        }
    }
}

/// Decodes a field appended to the encoding, which is absent if an older version wrote it.
fn behind<'a, T: Deserialize<'a>>(rest: &'a [u8]) -> Result<(Option<T>, &'a [u8]), postcard::Error> {
    if rest.is_empty() {
        return Ok((None, rest));
    }
    postcard::take_from_bytes(rest).map(|(found, rest)| (Some(found), rest))
}

impl Filterable for Group<'_> {
    fn any_text(&self, field: Field, is_wanted: &dyn Fn(&str) -> bool) -> bool {
        let named = Dimension::from_name(field.as_str()).and_then(|dimension| self.value(dimension));
        named.is_some_and(|text| is_wanted(&text))
    }

    fn number(&self, field: Field) -> Option<i64> {
        (field == Field::Status).then(|| i64::from(self.status))
    }
}

/// A group standing for each of its requests, whose model may also match by its requested name.
struct Alike<'g>(&'g Group<'g>);

impl Filterable for Alike<'_> {
    fn any_text(&self, field: Field, is_wanted: &dyn Fn(&str) -> bool) -> bool {
        let is = |text: &str| !text.is_empty() && is_wanted(text);
        self.0.any_text(field, &is) || (field == Field::Model && self.0.requested.is_some_and(is))
    }

    fn number(&self, field: Field) -> Option<i64> {
        self.0.number(field)
    }
}

/// What the workspace pays for the sums of one profile, as a budget that counts everything does.
pub(crate) fn spend(profile: Option<Profile>, sums: &UsageSums) -> Nanos {
    let charge = Charge { cost: sums.cost, provider_cost: sums.provider_cost, priced: Priced::default() };
    profile.map_or(sums.cost, |profile| Counts::All.of(profile, &charge))
}

impl Minutes {
    /// For hours that an older version added to: any minute is possible.
    const ANY: Self = Self((1 << MINUTES_OF_HOUR) - 1);

    const fn of(minute: u64) -> Self {
        Self(1 << (minute % MINUTES_OF_HOUR))
    }

    pub(crate) const fn plus(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Runs of consecutive minutes, the last ones first.
    pub(crate) fn runs(self) -> impl Iterator<Item = Range<u64>> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let end = u64::from(u64::BITS - left.leading_zeros());
            let start = u64::from(u64::BITS - (!left & low_bits(end)).leading_zeros());
            left &= low_bits(start);
            (end > 0).then_some(start..end)
        })
    }
}

/// The lowest `count` bits.
const fn low_bits(count: u64) -> u64 {
    (1_u64 << count) - 1
}

/// The sums of one exchange.
pub(crate) fn sums_of<Text>(record: &MeterRecord<Text>) -> UsageSums {
    // An answer from our own cache needed no attempt.
    let served = record.caching.and_then(|caching| caching.served);
    let attempted = !record.attempts.is_empty() || served.is_some();
    let when = |is: bool| u64::from(attempted && is);
    let usage = &record.usage;
    let completed = record.outcome == Outcome::Completed;
    // Retrieving a stored response uses nothing, nor do operations on files and batches.
    let is_about_object = StoredKind::of(record.operation).is_some();
    let is_counted = record.operation != Operation::Stored && !is_about_object && served.is_none();
    UsageSums {
        requests: u64::from(attempted),
        input_tokens: usage.prompt_total(),
        output_tokens: usage.completion_total(),
        cached_tokens: usage.cached_read,
        cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_long),
        reasoning_tokens: usage.reasoning,
        cost: record.charge.cost,
        provider_cost: record.charge.provider_cost,
        unpriced: when(record.charge.priced == Priced::Unpriced),
        estimated: when(usage.source == UsageSource::Estimate),
        unmetered: when(usage.source == UsageSource::None && completed && is_counted),
        failed: when(!completed),
        unattempted: u64::from(!attempted),
        attempts: record.attempts.len() as u64,
        realized_reused_tokens: if usage.source == UsageSource::Provider { usage.cached_read } else { 0 },
        reuse: ReuseSums::of(record),
        service: ServiceSums::of(record),
        units: usage.units,
    }
}

impl Tally {
    pub(crate) fn count<Text>(&mut self, record: &MeterRecord<Text>) {
        self.sums.plus(&sums_of(record));
        let is_hit = record.caching.is_some_and(|caching| caching.served.is_some());
        if (record.attempts.is_empty() && !is_hit) || record.outcome != Outcome::Completed {
            return;
        }
        self.latency.count(latency_us(record));
        if let Some(us) = first_byte_us(record).filter(|_| record.stream) {
            self.first_byte.count(us);
        }
    }

    pub(crate) fn plus(&mut self, other: &Self) {
        self.sums.plus(&other.sums);
        self.latency.plus(&other.latency);
        self.first_byte.plus(&other.first_byte);
        self.minutes.plus(other.minutes);
    }

    /// With what follows from the sums of earlier versions, which know only what was realized.
    pub(crate) fn with_known_reuse(mut self) -> Self {
        self.sums.reuse.raise(self.sums.realized_reused_tokens);
        self
    }

    pub(crate) fn latency(&self) -> Option<Percentiles> {
        self.latency.percentiles()
    }

    pub(crate) fn first_byte(&self) -> Option<Percentiles> {
        self.first_byte.percentiles()
    }

    /// Appends minutes (here `ANY`) and units after the fields that older versions read. Those see no units,
    /// and drop them when they add to the row.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let is_plain = self.sums.units.is_none() && self.sums.numbered().is_empty();
        if is_plain { self.form() } else { self.encode_behind(Minutes::ANY) }
    }

    /// Appends the hour's minutes; an older version drops them when it adds to the row.
    pub(crate) fn encode_hour(&self) -> Result<Vec<u8>, StoreError> {
        self.encode_behind(self.minutes)
    }

    fn form(&self) -> Result<Vec<u8>, StoreError> {
        let form = TallyForm::of(self);
        postcard::to_extend(&form, vec![FORMAT]).map_err(|error| StoreError::corrupt(MINUTES, error))
    }

    fn encode_behind(&self, minutes: Minutes) -> Result<Vec<u8>, StoreError> {
        let units = &self.sums.units;
        // Later units follow those that every version with units reads.
        let (first, mut later) = units.apart();
        later.extend(self.sums.numbered());
        let bytes = postcard::to_extend(&minutes.0, self.form()?).and_then(|bytes| {
            if units.is_none() && later.is_empty() {
                Ok(bytes)
            } else if later.is_empty() {
                postcard::to_extend(&first, bytes)
            } else {
                postcard::to_extend(&(first, later), bytes)
            }
        });
        bytes.map_err(|error| StoreError::corrupt(MINUTES, error))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |error| StoreError::corrupt(MINUTES, error);
        let (form, rest) = postcard::take_from_bytes(strip_format(MINUTES, bytes)?).map_err(corrupt)?;
        let (minutes, rest) = match rest {
            [] => (Minutes::ANY, rest),
            rest => {
                let (minutes, rest) = postcard::take_from_bytes::<u64>(rest).map_err(corrupt)?;
                (Minutes(minutes & Minutes::ANY.0), rest)
            }
        };
        let (units, later) = match rest {
            [] => (Units::default(), Later::new()),
            rest => {
                let (first, rest) = postcard::take_from_bytes::<FirstUnits>(rest).map_err(corrupt)?;
                let later: Later = match rest {
                    [] => Later::new(),
                    rest => postcard::from_bytes(rest).map_err(corrupt)?,
                };
                (Units::of(first, &later), later)
            }
        };
        let mut tally = TallyForm::into_tally(form, minutes)
            .ok_or_else(|| StoreError::corrupt(MINUTES, "a histogram has invalid steps"))?;
        tally.sums.units = units;
        tally.sums.read_numbered(&later);
        Ok(tally)
    }
}

fn strip_format<'a>(table: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        _ => Err(StoreError::corrupt(table, "the format is not known")),
    }
}

#[derive(Serialize, Deserialize)]
struct TallyForm {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    cost_nanos: i64,
    provider_cost_nanos: i64,
    unpriced: u64,
    estimated: u64,
    unmetered: u64,
    failed: u64,
    unattempted: u64,
    attempts: u64,
    realized_reused_tokens: u64,
    latency_steps: Vec<(u32, u64)>,
    first_byte_steps: Vec<(u32, u64)>,
}

impl TallyForm {
    fn of(tally: &Tally) -> Self {
        let sums = &tally.sums;
        Self {
            requests: sums.requests,
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            cached_tokens: sums.cached_tokens,
            cache_write_tokens: sums.cache_write_tokens,
            reasoning_tokens: sums.reasoning_tokens,
            cost_nanos: sums.cost.0,
            provider_cost_nanos: sums.provider_cost.0,
            unpriced: sums.unpriced,
            estimated: sums.estimated,
            unmetered: sums.unmetered,
            failed: sums.failed,
            unattempted: sums.unattempted,
            attempts: sums.attempts,
            realized_reused_tokens: sums.realized_reused_tokens,
            latency_steps: tally.latency.counts(),
            first_byte_steps: tally.first_byte.counts(),
        }
    }

    fn into_tally(self, minutes: Minutes) -> Option<Tally> {
        let sums = UsageSums {
            requests: self.requests,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: self.cached_tokens,
            cache_write_tokens: self.cache_write_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cost: Nanos(self.cost_nanos),
            provider_cost: Nanos(self.provider_cost_nanos),
            unpriced: self.unpriced,
            estimated: self.estimated,
            unmetered: self.unmetered,
            failed: self.failed,
            unattempted: self.unattempted,
            attempts: self.attempts,
            realized_reused_tokens: self.realized_reused_tokens,
            ..UsageSums::default()
        };
        let (latency, first_byte) = (Histogram::of_counted(&self.latency_steps), self.first_byte_steps);
        Some(Tally { sums, latency: latency?, first_byte: Histogram::of_counted(&first_byte)?, minutes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(number: u64) -> Tally {
        let sums = UsageSums {
            requests: number,
            cost: Nanos(-5),
            realized_reused_tokens: 1 << 40,
            ..UsageSums::default()
        };
        let mut tally = Tally { sums, ..Tally::default() };
        tally.latency.count(number);
        tally.latency.count(1_000_000);
        tally.first_byte.count(7);
        tally
    }

    fn group() -> Group<'static> {
        Group {
            project: [1; 16],
            key: None,
            model: "openai/gpt-4o",
            modality: "chat",
            provider: "openai",
            profile: "byok",
            region: Some("eu"),
            environment: "production",
            status: 200,
            outcome: "completed",
            operation: "chat",
            tag: Some("batch"),
            requested: Some("fast"),
            principal: Some(Principal::Credential(domain::CredentialId::new(1, [9; 10]))),
            cache_tier: None,
            qos_class: None,
            error_code: None,
            agent: None,
            adapter: None,
        }
    }

    #[test]
    fn an_error_code_is_read_back_beside_the_others() {
        // What is refused before its model is found has neither a model nor a principal.
        let refused = Group { requested: None, principal: None, ..group() };
        for (qos_class, of) in [(None, group()), (Some(QosClass::Batch), group()), (None, refused)] {
            let with = Group { error_code: Some("quota_exceeded"), qos_class, ..of };
            let bytes = with.encode().unwrap();
            assert_eq!(Group::decode(&bytes).unwrap(), with);
            assert_eq!(with.value(Dimension::ErrorCode).as_deref(), Some("quota_exceeded"));
        }
        assert_eq!(group().value(Dimension::ErrorCode), None);
    }

    /// Versions before them read the rest.
    #[test]
    fn an_agent_and_an_adapter_are_read_back_with_and_without_the_other() {
        let values = |group: Group<'_>| [Dimension::Agent, Dimension::Adapter].map(|one| group.value(one));
        for (agent, adapter) in [(None, Some("law")), (Some("helper"), None), (Some("helper"), Some("law"))] {
            let bytes = Group { agent, adapter, ..group() }.encode().unwrap();
            let read = Group::decode(&bytes).unwrap();
            assert_eq!(values(read), [agent, adapter].map(|value| value.map(str::to_owned)));
            assert_eq!(Group { agent: None, adapter: None, ..read }, group());
            assert!(bytes.starts_with(&group().encode().unwrap()));
        }
        assert_eq!(values(group()), [None, None]);
    }

    /// Versions before the class read the rest of the group, and those before each field what is before it.
    #[test]
    fn a_class_is_read_back_with_and_without_one_who_served() {
        for principal in [group().principal, None] {
            let with = Group { qos_class: Some(QosClass::Batch), principal, ..group() };
            let bytes = with.encode().unwrap();
            assert_eq!(Group::decode(&bytes).unwrap(), with);
            assert_eq!(with.value(Dimension::QosClass).as_deref(), Some("batch"));
            assert_eq!(with.value(Dimension::Credential).is_some(), principal.is_some());
            let before = Group { qos_class: None, ..with }.encode().unwrap();
            assert!(bytes.starts_with(&before) && bytes.len() > before.len());
        }
        let filter = |qos_class| RequestFilter { qos_class: Some(qos_class), ..RequestFilter::default() };
        let with = Group { qos_class: Some(QosClass::Batch), ..group() };
        assert!(with.may_have(&filter(QosClass::Batch)) && !with.may_have(&filter(QosClass::Standard)));
        assert!(!group().may_have(&filter(QosClass::Batch)));
        assert!(
            Group { model: "", ..group() }.may_have(&filter(QosClass::Batch)),
            "its records may have one"
        );
    }

    #[test]
    fn what_is_kept_reads_back_and_adds_up() {
        let (one, two) = (tally(9), tally(300));
        assert_eq!(
            Tally::decode(&one.encode().unwrap()).unwrap(),
            Tally { minutes: Minutes::ANY, ..one.clone() }
        );
        let mut both = one;
        both.plus(&two);
        assert_eq!((both.sums.requests, both.sums.cost), (309, Nanos(-10)));
        assert_eq!(both.latency().unwrap().p99_us, two.latency().unwrap().p99_us);
        let bytes = group().encode().unwrap();
        assert_eq!(Group::decode(&bytes).unwrap(), group());
        let before_principals = Group { principal: None, ..group() };
        let earlier = Group { requested: None, ..before_principals };
        for group in [before_principals, earlier] {
            assert_eq!(Group::decode(&group.encode().unwrap()).unwrap(), group);
        }
        // As the previous version reads it.
        let before: Group<'_> = postcard::from_bytes(&bytes[1..]).unwrap();
        assert_eq!(before, earlier);
        for tier in CacheTier::ALL {
            for principal in [None, group().principal] {
                let group = Group { principal, cache_tier: Some(tier), ..group() };
                let bytes = group.encode().unwrap();
                assert_eq!(Group::decode(&bytes).unwrap(), group);
                let (before, rest) = postcard::take_from_bytes::<Group<'_>>(&bytes[1..]).unwrap();
                let (requested, rest) = behind::<&str>(rest).unwrap();
                let (read, _) = behind::<Principal>(rest).unwrap();
                assert_eq!((before, requested, read), (earlier, Some("fast"), principal.or(Some(NOBODY))));
            }
        }
        assert!(Tally::decode(&[FORMAT + 1]).is_err() && Group::decode(&[]).is_err());
    }

    #[test]
    fn an_hour_knows_its_minutes_until_an_older_version_adds_to_it() {
        let mut hour = Tally { minutes: Minutes::of(7), ..tally(9) };
        hour.plus(&Tally { minutes: Minutes::of(60 * 400 + 59), ..tally(10) });
        let bytes = hour.encode_hour().unwrap();
        assert_eq!(Tally::decode(&bytes).unwrap(), hour);
        let before: TallyForm = postcard::from_bytes(&bytes[1..]).unwrap();
        let before = before.into_tally(Minutes::ANY).unwrap().encode().unwrap();
        let read = Tally::decode(&before).unwrap();
        assert_eq!((read.sums, read.minutes), (hour.sums, Minutes::ANY));
        assert!(Tally::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn units_add_up_and_stand_where_older_versions_do_not_look() {
        let with = |images| {
            let mut tally = tally(9);
            tally.sums.units = Units { images, searches: 1, ..Units::default() };
            tally
        };
        let mut both = Tally { minutes: Minutes::of(7), ..with(2) };
        both.plus(&with(3));
        assert_eq!(both.sums.units, Units { images: 5, searches: 2, ..Units::default() });
        assert_eq!(Tally::decode(&both.encode_hour().unwrap()).unwrap(), both);
        let bytes = both.encode().unwrap();
        assert_eq!(Tally::decode(&bytes).unwrap(), Tally { minutes: Minutes::ANY, ..both.clone() });
        // As the previous version reads it: any minutes, and no units.
        let (form, rest) = postcard::take_from_bytes::<TallyForm>(&bytes[1..]).unwrap();
        let minutes: u64 = postcard::from_bytes(rest).unwrap();
        assert_eq!((form.requests, minutes), (18, Minutes::ANY.0));
        // A version that knows only the first units reads those.
        let mut billed = both.clone();
        billed.sums.units.billed = 7;
        let bytes = billed.encode_hour().unwrap();
        assert_eq!(Tally::decode(&bytes).unwrap(), billed);
        assert!(bytes.starts_with(&both.encode_hour().unwrap()));
        billed.sums.units.video_ms = 8_000;
        assert_eq!(Tally::decode(&billed.encode_hour().unwrap()).unwrap(), billed);
    }

    #[test]
    fn minutes_are_told_as_runs() {
        let runs = |minutes: &[u64]| {
            let mut some = Minutes::default();
            minutes.iter().for_each(|minute| some.plus(Minutes::of(*minute)));
            some.runs().map(|run| (run.start, run.end)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[0]), [(0, 1)]);
        assert_eq!(runs(&[0, 1, 7, 58, 59]), [(58, 60), (7, 8), (0, 2)]);
        assert_eq!(runs(&(0..60).collect::<Vec<_>>()), [(0, 60)]);
    }

    /// As for the packed records: another encoding needs another number, and the earlier one must still be
    /// readable.
    #[test]
    fn the_format_is_the_one_of_its_number() {
        let sum = |bytes: &[u8]| {
            bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
        };
        let before = Group { requested: None, principal: None, ..group() };
        let sums = (sum(&tally(9).encode().unwrap()), sum(&before.encode().unwrap()));
        assert_eq!((FORMAT, sums), (1, (16_175_271_230_962_580_023, 8_394_144_250_118_184_120)));
    }
}
