//! Attempts that another one followed: what they cost, and how long requests were held up by them.

use std::collections::BTreeMap;

use crate::finding::{Finding, FindingKind, Gathered, Mend};
use crate::trace::{Trace, WhoRetried};

/// Below a second in all, and without money, it is no finding.
const WAITED_MS_MIN: u64 = 1_000;

/// By who failed.
pub(super) fn retries(traces: &[Trace]) -> Vec<Finding> {
    let mut by: BTreeMap<&WhoRetried, (Gathered, u64, u64)> = BTreeMap::new();
    for trace in traces {
        for retry in trace.booked.iter().flat_map(|booked| &booked.retries) {
            let (gathered, limited, attempts) = by.entry(&retry.by).or_default();
            *limited += u64::from(retry.is_rate_limited);
            *attempts += 1;
            let is_known = gathered.requests.last().is_some_and(|(_, _, id)| *id == trace.id);
            if is_known {
                gathered.money = gathered.money.plus(retry.paid);
                gathered.waited_ms = gathered.waited_ms.saturating_add(retry.waited_ms);
            } else {
                gathered.add(trace, retry.paid, retry.waited_ms, 0);
            }
        }
    }
    let found = by
        .into_iter()
        .filter(|(_, (gathered, _, _))| gathered.money.0 > 0 || gathered.waited_ms >= WAITED_MS_MIN);
    found.map(|(by, (gathered, limited, attempts))| finding(by, gathered, limited, attempts)).collect()
}

fn finding(by: &WhoRetried, gathered: Gathered, limited: u64, attempts: u64) -> Finding {
    let is_by_limits = limited > attempts / 2;
    let why = if is_by_limits { "refused for a rate limit" } else { "failed" };
    let page = match &by.credential {
        Some(credential) => format!("/credentials/{credential}"),
        None => "/upstreams".to_owned(),
    };
    let (sentence, command) = mend(by, is_by_limits);
    Finding {
        kind: FindingKind::Retries,
        subject: by.credential.clone().unwrap_or_else(|| by.provider.clone()),
        sentence: format!(
            "{attempts} attempts at {} {why}, and {} requests waited {} ms for them.",
            by.provider,
            gathered.count(),
            gathered.waited_ms
        ),
        money: gathered.money,
        waited_ms: gathered.waited_ms,
        requests: gathered.count(),
        // Requests that went on elsewhere bear the name of who answered, so that nothing narrower finds them all.
        filter: Some("attempts:>1".to_owned()),
        mend: Mend { sentence: sentence.to_owned(), page, command: Some(command) },
        examples: gathered.examples(),
    }
}

/// What a workspace can change is its own credentials; of the operator's it sees how they are.
fn mend(by: &WhoRetried, is_by_limits: bool) -> (&'static str, String) {
    let look = || "tidegate health".to_owned();
    match (&by.credential, is_by_limits) {
        (Some(credential), true) => (
            "State the limits that the provider agreed to, so that what is known to be refused is not sent.",
            format!("tidegate credential set {credential} --limit requests_per_minute=NUMBER"),
        ),
        (None, true) => ("Add a credential of your own: the operator's are at their limits.", look()),
        (Some(_), false) => (
            "See why it fails, and let a route name another credential.",
            "tidegate route add --credential CREDENTIAL".to_owned(),
        ),
        (None, false) => ("See why it fails, and let a route prefer another.", look()),
    }
}

#[cfg(test)]
mod tests {
    use domain::{Nanos, Profile};

    use super::*;
    use crate::trace::{Booked, Retry};

    fn trace(number: u64, retries: Vec<Retry>) -> Trace {
        let booked = Booked {
            project: "prj_1".into(),
            key: None,
            profile: Some(Profile::Byok),
            eligible_tokens: 0,
            is_helped: false,
            has_tools: None,
            retries,
        };
        Trace { id: format!("t{number}"), booked: Some(booked), ..Trace::default() }
    }

    fn retry(credential: Option<&str>, paid: i64, waited_ms: u64, is_rate_limited: bool) -> Retry {
        let by = WhoRetried { provider: "openai".into(), credential: credential.map(str::to_owned) };
        Retry { by, paid: Nanos(paid), waited_ms, is_rate_limited }
    }

    #[test]
    fn retries_are_counted_by_who_failed() {
        let found = retries(&[
            trace(1, vec![retry(Some("pcr_1"), 0, 600, true), retry(Some("pcr_1"), 7_000, 600, true)]),
            trace(2, vec![retry(Some("pcr_1"), 0, 100, false), retry(None, 0, 900, false)]),
            trace(3, vec![]),
        ]);
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((finding.money, finding.waited_ms, finding.requests), (Nanos(7_000), 1_300, 2));
        assert_eq!(finding.mend.page, "/credentials/pcr_1");
        assert!(
            finding.sentence.contains("3 attempts at openai refused for a rate limit"),
            "{}",
            finding.sentence
        );
        assert_eq!(finding.filter.as_deref(), Some("attempts:>1"));
        assert_eq!(
            finding.mend.command.as_deref(),
            Some("tidegate credential set pcr_1 --limit requests_per_minute=NUMBER")
        );
        let ours = retries(&[trace(1, vec![retry(None, 0, 1_000, false)])]);
        assert_eq!((ours[0].subject.as_str(), ours[0].mend.page.as_str()), ("openai", "/upstreams"));
    }
}
