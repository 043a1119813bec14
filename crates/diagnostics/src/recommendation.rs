//! Which profile a workload is served by at the least effort.

use std::collections::BTreeMap;

use domain::Profile;

use crate::score::{Band, Score};
use crate::trace::Trace;

/// The fewest repeated prompt tokens for which a node may pay off: with fewer, it is idle most of the time.
const NODE_TOKENS_MIN: u64 = 100_000_000;

const NOTHING: &str = "Little comes back, so no cache is worth an effort here.";

/// The simplest profile that gets what there is to get, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    pub profile: Profile,
    pub reason: String,
}

/// The least that serves this workload. A node is the most work to run, so it is recommended only where providers' caches demonstrably
/// don't hold what comes back, and there is enough of it.
pub fn recommend(traces: &[Trace], score: &Score) -> Recommendation {
    let now = present(traces);
    let candidate: u64 = traces.iter().map(Trace::candidate).fold(0, u64::saturating_add);
    let missed: u64 = traces.iter().map(Trace::missed).fold(0, u64::saturating_add);
    let is_held = missed <= candidate / 2;
    let (profile, reason) = match score.band {
        Band::Low => (now, NOTHING.to_owned()),
        _ if candidate == 0 => (now, NOTHING.to_owned()),
        Band::Strong if !is_held && candidate >= NODE_TOKENS_MIN && now != Profile::Byoc => (
            Profile::Byoc,
            format!(
                "{candidate} prompt tokens had been sent before, and providers' caches held less than half of them: a node of your own keeps its prefixes as long as it has memory."
            ),
        ),
        Band::Strong | Band::Good if is_held => {
            (now, "Most of what comes back is served from a cache already: nothing needs to change.".to_owned())
        }
        Band::Strong | Band::Good => (
            now,
            "Providers' prompt caches can hold what comes back: let the gateway mark prompts for them before you run anything yourself."
                .to_owned(),
        ),
        Band::Limited => {
            (now, "Some prompts come back: a provider's automatic cache is enough for them.".to_owned())
        }
    };
    Recommendation { profile, reason }
}

/// The profile that serves most of the requests now; managed where nothing says so.
fn present(traces: &[Trace]) -> Profile {
    let mut counts: BTreeMap<&'static str, (u64, Profile)> = BTreeMap::new();
    for profile in traces.iter().filter_map(|trace| trace.booked.as_ref()?.profile) {
        counts.entry(profile.as_str()).or_insert((0, profile)).0 += 1;
    }
    counts
        .into_values()
        .max_by_key(|(count, _)| *count)
        .map_or(Profile::ManagedProvider, |(_, profile)| profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::score;
    use crate::trace::Booked;

    fn traces(repeated: u64, realized: u64, profile: Option<Profile>) -> Vec<Trace> {
        let booked = profile.map(|profile| Booked {
            project: "p".into(),
            key: None,
            profile: Some(profile),
            eligible_tokens: 0,
            is_helped: false,
            has_tools: None,
            retries: vec![],
        });
        let one = |number: u64| Trace {
            id: number.to_string(),
            family: Some("a".into()),
            arrival_ms: number,
            input_tokens: 20_000_000,
            candidate_tokens: repeated,
            realized_tokens: realized,
            booked: booked.clone(),
            ..Trace::default()
        };
        (0..10).map(one).collect()
    }

    #[test]
    fn the_simplest_profile_is_recommended() {
        let most = 19_000_000;
        let cases = [
            (traces(0, 0, None), Profile::ManagedProvider, "Little comes back"),
            (traces(most, 0, None), Profile::Byoc, "held less than half"),
            (traces(most, most, None), Profile::ManagedProvider, "nothing needs to change"),
            (traces(most, most, Some(Profile::Byok)), Profile::Byok, "nothing needs to change"),
            (traces(most, 0, Some(Profile::Byoc)), Profile::Byoc, "let the gateway mark"),
            (traces(most, 0, None)[..2].to_vec(), Profile::ManagedProvider, "let the gateway mark"),
            (traces(most, 0, None)[..1].to_vec(), Profile::ManagedProvider, "Some prompts"),
            (vec![], Profile::ManagedProvider, "Little comes back"),
        ];
        for (traces, profile, reason) in cases {
            let found = recommend(&traces, &score(&traces));
            assert!(found.profile == profile && found.reason.contains(reason), "{found:?}");
        }
    }
}
