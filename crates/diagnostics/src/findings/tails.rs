//! Streams that stay open long after what their tokens need: somebody waits, and a slot at the provider is held.

use std::collections::BTreeMap;

use domain::Nanos;

use crate::finding::{Finding, FindingKind, Gathered, Mend, Place, filter_of, place};
use crate::trace::Trace;

/// A stream of fewer tokens a second than five is silent for a part of its time: slower models are not in use.
const MS_PER_SLOW_TOKEN: u64 = 200;
/// Idle time of a stream from which it counts.
const IDLE_MS_MIN: u64 = 10_000;

/// How long a stream was open beyond what its tokens need at the slowest speed that is usual.
fn idle_ms(trace: &Trace) -> u64 {
    let Some(ttft) = trace.ttft_ms else { return 0 };
    let open = trace.latency_ms.saturating_sub(ttft);
    open.saturating_sub(trace.output_tokens.saturating_mul(MS_PER_SLOW_TOKEN))
}

/// What its requests have in common that a filter finds: how long they took at least, and how much they answered at most.
#[derive(Default)]
struct Bounds {
    latency_ms_min: Option<u64>,
    output_tokens_max: u64,
}

impl Bounds {
    fn take(&mut self, trace: &Trace) {
        let least = self.latency_ms_min.map_or(trace.latency_ms, |least| least.min(trace.latency_ms));
        self.latency_ms_min = Some(least);
        self.output_tokens_max = self.output_tokens_max.max(trace.output_tokens);
    }

    fn filter(&self) -> String {
        let latency_ms = self.latency_ms_min.unwrap_or(IDLE_MS_MIN);
        format!("latency:>={latency_ms}ms output:<={}", self.output_tokens_max)
    }
}

pub(super) fn tails(traces: &[Trace]) -> Vec<Finding> {
    let mut places: BTreeMap<Place<'_>, (Gathered, Bounds)> = BTreeMap::new();
    for trace in traces {
        let idle = idle_ms(trace);
        if idle >= IDLE_MS_MIN {
            let (gathered, bounds) = places.entry(place(trace)).or_default();
            gathered.add(trace, Nanos::ZERO, idle, 0);
            bounds.take(trace);
        }
    }
    places
        .into_iter()
        .map(|(place, (gathered, bounds))| Finding {
            kind: FindingKind::IdleTail,
            subject: place.1.to_owned(),
            sentence: format!(
                "{} streams were open for {} ms longer than their tokens need at five a second: they were silent, or their readers slow.",
                gathered.count(),
                gathered.waited_ms
            ),
            money: Nanos::ZERO,
            waited_ms: gathered.waited_ms,
            requests: gathered.count(),
            filter: filter_of(place, &bounds.filter()),
            mend: Mend {
                sentence: "Let a route end a stream that is silent for too long (`idle_timeout_ms`).".to_owned(),
                page: "/routes".to_owned(),
                command: Some("tidegate api PATCH /v2/routes/ROUTE --body FILE".to_owned()),
            },
            examples: gathered.examples(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Booked;

    #[test]
    fn a_silent_stream_is_found_and_a_long_answer_is_not() {
        let stream = |ttft_ms: Option<u64>, latency_ms, output_tokens| Trace {
            id: "t".into(),
            ttft_ms,
            latency_ms,
            output_tokens,
            ..Trace::default()
        };
        for (trace, expected) in [
            (stream(Some(500), 20_500, 10), 18_000),
            (stream(Some(500), 20_500, 100), 0),
            (stream(Some(500), 10_499, 0), 9_999),
            (stream(None, 90_000, 1), 0),
            (stream(Some(90_000), 20_000, 1), 0),
        ] {
            assert_eq!(idle_ms(&trace), expected, "{trace:?}");
            assert_eq!(tails(&[trace]).len(), usize::from(expected >= IDLE_MS_MIN));
        }
        let found = tails(&[(25_000, 9), (20_500, 10)].map(|(latency_ms, output_tokens)| Trace {
            booked: Some(Booked { project: "prj_1".into(), ..Booked::default() }),
            target: "m".into(),
            ..stream(Some(500), latency_ms, output_tokens)
        }));
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(finding.filter.as_deref(), Some("model:m project:prj_1 latency:>=20500ms output:<=10"));
    }
}
