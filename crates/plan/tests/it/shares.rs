//! Which release and which target of an alias each caller gets.

use std::sync::Arc;

use domain::{
    AliasId, AliasPick, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, CanaryGates, ReleaseChoice,
};
use plan::{SplitBy, split_key};
use snapshot::{AliasEntry, CanaryEntry, ReleaseEntry};

use crate::fixture::Fixture;

const NAME: &str = "code.best";
const MODELS: [&str; 4] = ["tide-1", "tide-2", "tide-3", "tide-4"];

/// A release of models that one node serves.
fn release(number: u8, split: AliasSplit, weights: &[u32]) -> Arc<ReleaseEntry> {
    let target = |(model, weight): (&&str, &u32)| AliasTarget { model: (*model).into(), weight: *weight };
    let targets = MODELS.iter().zip(weights).map(target).collect();
    let spec = AliasReleaseSpec { split, targets, parameters: Vec::new(), note: String::new() };
    let id = AliasReleaseId::new(u64::from(number), [number; 10]);
    Arc::new(ReleaseEntry { id, number: u32::from(number), spec })
}

fn keys() -> impl Iterator<Item = u64> {
    (0..10_000_u32).map(|user| split_key(SplitBy::EndUser, format!("user-{user}").as_bytes()))
}

/// An alias of this release, and of a canary's where that has a percentage, with a node that serves these models.
fn fixture(active: Arc<ReleaseEntry>, percent: Option<u8>, served: &[&str]) -> Fixture {
    let canary = percent.map(|percent| CanaryEntry {
        release: release(2, AliasSplit::Weighted, &[1, 1]),
        percent,
        gates: CanaryGates {
            error_bps_max: None,
            latency_p95_ms_max: None,
            first_byte_p95_ms_max: None,
            requests_min: 1,
            window_s: 1,
        },
        started_unix_ms: 0,
    });
    let others = canary.iter().map(|canary| Arc::clone(&canary.release));
    let alias = AliasEntry {
        id: AliasId::new(1, [1; 10]),
        name: NAME.into(),
        project: None,
        releases: [Arc::clone(&active)].into_iter().chain(others).collect(),
        active,
        fits_parameters: false,
        canary,
        created_unix_ms: 0,
    };
    let mut fixture = Fixture::new().node(1, served);
    fixture.workspace.aliases = vec![Arc::new(alias)];
    fixture
}

/// The choice of the release and the place of the target of each caller; `None` where no target may serve it.
fn picks(fixture: &Fixture, keys: impl Iterator<Item = u64>) -> Vec<Option<(ReleaseChoice, usize)>> {
    let plans = fixture.ask_each(NAME, keys);
    let pick = |plan: plan::Explanation| {
        let pick = AliasPick::read(&plan.resolution).unwrap();
        plan.fault.is_none().then_some((pick.choice, pick.target))
    };
    plans.map(pick).collect()
}

fn targets(fixture: &Fixture, keys: impl Iterator<Item = u64>) -> Vec<Option<usize>> {
    picks(fixture, keys).into_iter().map(|pick| pick.map(|(_, target)| target)).collect()
}

#[test]
fn weights_are_shares_of_the_callers() {
    let weighted = || release(1, AliasSplit::Weighted, &[70, 0, 25, 5]);
    let chosen = targets(&fixture(weighted(), None, &MODELS), keys());
    let again = targets(&fixture(weighted(), None, &MODELS), keys());
    assert_eq!(chosen, again, "the same caller, the same target");
    for (place, share) in (1..).zip([7_000_usize, 0, 2_500, 500]) {
        let count = chosen.iter().filter(|target| **target == Some(place)).count();
        assert!(count.abs_diff(share) < 200, "{place}: {count}");
    }
    // Who can't have the target of the own share gets another, and nobody the one of weight 0.
    for (place, model) in (1..).zip(MODELS) {
        let alone = targets(&fixture(weighted(), None, &[model]), keys().take(100));
        assert_eq!(alone, vec![Some(place).filter(|place| *place != 2); 100], "{model}");
    }
    let ordered = || release(1, AliasSplit::Ordered, &[1, 1, 1]);
    for first in 0..3 {
        let chosen = targets(&fixture(ordered(), None, &MODELS[first..]), keys().take(100));
        assert_eq!(chosen, vec![Some(first + 1); 100]);
    }
}

#[test]
fn a_higher_percentage_only_moves_more_callers_to_the_canary() {
    let mut before = vec![false; 10_000];
    for percent in [0, 1, 10, 50, 99, 100] {
        let fixture = fixture(release(1, AliasSplit::Weighted, &[1]), Some(percent), &MODELS);
        let chosen = picks(&fixture, keys()).into_iter();
        let now: Vec<bool> = chosen.map(|pick| pick.unwrap().0 == ReleaseChoice::Canary).collect();
        assert!(before.iter().zip(&now).all(|(before, now)| *now || !before), "nobody goes back");
        let count = now.iter().filter(|is_canary| **is_canary).count();
        assert!(count.abs_diff(usize::from(percent) * 100) < 200, "{percent} %: {count}");
        before = now;
    }
    assert!(before.iter().all(|is_canary| *is_canary));
}

/// Else the canary's callers would all get the same one of its targets.
#[test]
fn who_gets_the_canary_says_nothing_about_the_target() {
    let fixture = fixture(release(1, AliasSplit::Weighted, &[1]), Some(20), &MODELS);
    let chosen: Vec<_> = picks(&fixture, keys()).into_iter().flatten().collect();
    let canary: Vec<_> = chosen.iter().filter(|(choice, _)| *choice == ReleaseChoice::Canary).collect();
    let first = canary.iter().filter(|(_, target)| *target == 1).count();
    assert!(first.abs_diff(canary.len() / 2) < 150, "{first} of {}", canary.len());
}
