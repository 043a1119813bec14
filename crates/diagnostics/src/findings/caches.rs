//! What a prompt cache could have saved: what was sent before and not read from it, and what changes so early that nothing can be.

use std::collections::BTreeMap;

use domain::Profile;

use crate::finding::{Finding, FindingKind, Gathered, Mend, Place, filter_of, place, term};
use crate::score::SHORT_LIFETIME_MS;
use crate::trace::{Booked, Trace};

/// Below a hundredth of the prompts it is the cache's own granularity, not a finding.
const MISSED_PART: u64 = 100;
/// Requests from which a caller's prompts are compared.
const UNSTABLE_REQUESTS_MIN: u64 = 5;
/// A prompt repeats so little of what a cache takes that its prefix changed: a tenth.
const UNSTABLE_PART: u64 = 10;

/// What had been sent before and did not come from a cache: candidate less realized, at the difference between the price of input and that
/// of cached input.
pub(super) fn missed(traces: &[Trace]) -> Vec<Finding> {
    let mut places: BTreeMap<Place<'_>, (Gathered, u64, Option<&Booked>)> = BTreeMap::new();
    for trace in traces {
        let (gathered, input, booked) = places.entry(place(trace)).or_default();
        *input = input.saturating_add(trace.input_tokens);
        if trace.missed() > 0 {
            gathered.add(trace, trace.saving(trace.missed()), 0, trace.missed());
            *booked = booked.or(trace.booked.as_ref());
        }
    }
    let is_finding =
        |gathered: &Gathered, input: u64| gathered.tokens > 0 && gathered.tokens >= input / MISSED_PART;
    let found = places.into_iter().filter(|(_, (gathered, input, _))| is_finding(gathered, *input));
    found
        .map(|(place, (gathered, _, booked))| Finding {
            kind: FindingKind::MissedCache,
            subject: place.1.to_owned(),
            sentence: format!(
                "{} prompt tokens had been sent before and were charged as new ones, in {} requests.",
                gathered.tokens,
                gathered.count()
            ),
            money: gathered.money,
            waited_ms: 0,
            requests: gathered.count(),
            filter: filter_of(place, "input:>0"),
            mend: mend_missed(booked),
            examples: gathered.examples(),
        })
        .collect()
}

/// What the gateway does not do yet for the cache of whoever served it.
fn mend_missed(booked: Option<&Booked>) -> Mend {
    let Some(booked) = booked else {
        return Mend {
            sentence: "Mark what comes back for the provider's prompt cache: the gateway does so for what it serves.".to_owned(),
            page: "/caches".to_owned(),
            command: None,
        };
    };
    let page = format!("/projects/{}", booked.project);
    let set = |flag: &str| Some(format!("tidegate project set {} {flag}", booked.project));
    match booked.profile {
        Some(Profile::Byoc) => Mend {
            sentence: "Give the node more memory for its prefix cache, or send a conversation to one node."
                .to_owned(),
            page: "/nodes".to_owned(),
            command: None,
        },
        Some(Profile::Byok | Profile::Subscription) if !booked.is_helped => Mend {
            sentence: "Let the gateway mark prompts for the cache on your own credentials, too.".to_owned(),
            page,
            command: set("--cache-byok apply"),
        },
        _ if !booked.is_helped => Mend {
            sentence: "Let the gateway mark prompts for the provider's cache.".to_owned(),
            page,
            command: set("--cache-managed apply"),
        },
        _ => Mend {
            sentence:
                "Have prefixes that come back later than the cache lives read again before they expire."
                    .to_owned(),
            page,
            command: set("--cache-keep-alive on"),
        },
    }
}

/// Whose prompts are compared: a project's and key's with a model; without books, a family's.
type Caller<'t> = (Option<(&'t str, Option<&'t str>)>, &'t str);

fn caller(trace: &Trace) -> Option<Caller<'_>> {
    match &trace.booked {
        Some(booked) => Some((Some((&booked.project, booked.key.as_deref())), &trace.target)),
        None => trace.family.as_deref().map(|family| (None, family)),
    }
}

/// A caller's prompts, while they are compared.
#[derive(Default)]
struct Compared {
    gathered: Gathered,
    compared: u64,
    /// Of those that repeat next to nothing, so that a filter leaves out short prompts.
    input_tokens_min: Option<u64>,
    last_ms: Option<u64>,
}

/// Prompts that are long enough for a cache, came soon after another of their caller, and repeat next to nothing: something changes at
/// their start. The money is what a cache could save at most.
pub(super) fn unstable(traces: &[Trace]) -> Vec<Finding> {
    let mut sorted: Vec<&Trace> = traces.iter().collect();
    sorted.sort_by_key(|trace| (trace.arrival_ms, &trace.id));
    let mut callers: BTreeMap<Caller<'_>, Compared> = BTreeMap::new();
    for trace in sorted {
        let eligible = trace.booked.as_ref().map_or(trace.input_tokens, |booked| booked.eligible_tokens);
        let Some(caller) = caller(trace).filter(|_| eligible > 0) else { continue };
        let Compared { gathered, compared, input_tokens_min, last_ms } = callers.entry(caller).or_default();
        let before = last_ms.replace(trace.arrival_ms);
        if before.is_some_and(|before| trace.arrival_ms.saturating_sub(before) <= SHORT_LIFETIME_MS) {
            *compared += 1;
            if trace.candidate() < eligible / UNSTABLE_PART {
                let tokens = eligible.saturating_sub(trace.candidate());
                gathered.add(trace, trace.saving(tokens), 0, tokens);
                *input_tokens_min =
                    Some(input_tokens_min.map_or(trace.input_tokens, |least| least.min(trace.input_tokens)));
            }
        }
    }
    let is_finding =
        |of: &Compared| of.gathered.count() >= UNSTABLE_REQUESTS_MIN && of.gathered.count() > of.compared / 2;
    let found = callers.into_iter().filter(|(_, of)| is_finding(of));
    found
        .map(|((booked, subject), Compared { gathered, compared, input_tokens_min, .. })| Finding {
            kind: FindingKind::UnstablePrefix,
            subject: subject.to_owned(),
            sentence: format!(
                "{} of {compared} requests came within five minutes of another by the same caller and repeated less than a tenth of what a cache takes.",
                gathered.count()
            ),
            money: gathered.money,
            waited_ms: 0,
            requests: gathered.count(),
            filter: booked.map(|(project, key)| {
                let key = key.map(|key| format!(" {}", term("key", key))).unwrap_or_default();
                let (model, project) = (term("model", subject), term("project", project));
                format!("{model} {project}{key} input:>={}", input_tokens_min.unwrap_or(0))
            }),
            mend: Mend {
                sentence: "If these prompts share instructions, put what changes (a date, an id, a name) behind them.".to_owned(),
                page: "/caches".to_owned(),
                command: None,
            },
            examples: gathered.examples(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::{Nanos, Price, Rates};

    use super::*;

    const RATES: Rates = Rates {
        input: Price(2_500_000),
        output: Price(10_000_000),
        cached_read: Some(Price(1_250_000)),
        cache_write: None,
        cache_write_long: None,
        reasoning: None,
        units: domain::UnitRates {
            audio_in: None,
            audio_out: None,
            image_in: None,
            image_out: None,
            image: None,
            audio_ms: None,
            search: None,
            character: None,
            billed: None,
            video_ms: None,
            web_search: None,
            file_search: None,
            cache_token_hour: None,
        },
    };

    fn booked(profile: Profile, is_helped: bool) -> Booked {
        Booked {
            project: "prj_1".into(),
            key: Some("key_1".into()),
            profile: Some(profile),
            eligible_tokens: 2_000,
            is_helped,
            has_tools: None,
            retries: vec![],
        }
    }

    fn trace(number: u64, candidate: u64, realized: u64) -> Trace {
        Trace {
            id: format!("t{number}"),
            target: "openai/gpt-4o".into(),
            arrival_ms: number * 60_000,
            input_tokens: 2_000,
            candidate_tokens: candidate,
            realized_tokens: realized,
            rates: Some(RATES),
            booked: Some(booked(Profile::Byok, false)),
            ..Trace::default()
        }
    }

    #[test]
    fn what_was_missed_has_the_price_of_the_difference() {
        let found =
            missed(&[trace(1, 0, 0), trace(2, 1_500, 0), trace(3, 1_500, 1_000), trace(4, 1_500, 1_500)]);
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        // 2,000 tokens at 2.50 − 1.25 USD a million.
        assert_eq!((finding.money.micros(), finding.requests), (2_500, 2));
        assert_eq!(finding.examples, ["t2", "t3"]);
        assert_eq!(finding.filter.as_deref(), Some("model:openai/gpt-4o project:prj_1 input:>0"));
        assert_eq!(finding.mend.command.as_deref(), Some("tidegate project set prj_1 --cache-byok apply"));
        assert_eq!(missed(&[trace(1, 1_500, 1_500)]), []);
        let marked_up: Vec<_> = [trace(2, 1_500, 0)].map(|trace| Trace { markup_bps: 1_000, ..trace }).into();
        assert_eq!(missed(&marked_up)[0].money, Nanos(2_062_500));
        let unpriced = Trace { rates: None, ..trace(2, 1_500, 0) };
        assert_eq!(missed(&[unpriced])[0].money, Nanos::ZERO, "it is missed all the same");
    }

    #[test]
    fn the_mend_is_what_is_not_done_yet() {
        for (profile, is_helped, expected) in [
            (Profile::Byok, true, Some("--cache-keep-alive on")),
            (Profile::ManagedProvider, false, Some("--cache-managed apply")),
            (Profile::ManagedProvider, true, Some("--cache-keep-alive on")),
            (Profile::Byoc, false, None),
        ] {
            let of = Trace { booked: Some(booked(profile, is_helped)), ..trace(1, 1_500, 0) };
            let mend = missed(&[of]).remove(0).mend;
            let expected = expected.map(|flag| format!("tidegate project set prj_1 {flag}"));
            assert_eq!(mend.command, expected, "{profile:?}");
        }
        let foreign = Trace { booked: None, ..trace(1, 1_500, 0) };
        assert_eq!(missed(&[foreign]).remove(0).filter, None);
    }

    #[test]
    fn prefixes_that_change_each_time_are_found() {
        let of = |candidate: u64, count: u64| {
            (0..count).map(|number| trace(number, candidate, 0)).collect::<Vec<_>>()
        };
        let found = unstable(&of(0, 6));
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((finding.requests, finding.money.micros()), (5, 5 * 2_500));
        assert_eq!(
            finding.filter.as_deref(),
            Some("model:openai/gpt-4o project:prj_1 key:key_1 input:>=2000")
        );
        assert_eq!(unstable(&of(0, 5)), [], "too few to say so");
        assert_eq!(unstable(&of(200, 9)), [], "a tenth is repeated");
        let seldom: Vec<_> =
            of(0, 9).into_iter().map(|trace| Trace { arrival_ms: trace.arrival_ms * 6, ..trace }).collect();
        assert_eq!(unstable(&seldom), [], "no cache lives so long");
        let foreign: Vec<_> = of(0, 6)
            .into_iter()
            .map(|trace| Trace { booked: None, family: Some("f".into()), ..trace })
            .collect();
        assert_eq!(unstable(&foreign)[0].subject, "f");
    }
}
