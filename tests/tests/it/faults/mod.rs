//! What applications see when providers fail: the official SDKs raise the same exceptions as against the
//! provider itself, and send no more requests.

mod drive;
mod page;
mod scripted;
mod stage;
mod verdict;

use domain::{Fault, FaultClass, Grammar};
use drive::{SDKS, Sdk};
use page::Judged;
use scripted::{Scripted, all};
use stage::{Outcome, Outcomes, Row, Stage};
use verdict::{Calls, Raised, holds_always, stands_for, verdict};

/// The minimum percentage of rows in which the very same exception is raised: of those in which the provider
/// reports the failure, and of all, many of which are failures that a provider never reports itself.
const SAME_SAID_PERCENT: usize = 88;
const SAME_PERCENT: usize = 68;
/// The maximum percentage of rows with the exception of the failure's class instead, for a documented reason.
const EXCUSED_PERCENT_MAX: usize = 32;

/// Failures that are tested with clients of other wire formats than the provider's.
const ABROAD: &str = "bad request|context length|content filter|key refused|permission|no such model|\
     no credit|rate limit|conflict|server error, streamed|overloaded|gateway timeout|reset|error under 200|\
     ends before content|cut after content|ends after content|overloaded after content";

/// What the SDK raises when its own vendor reports the class's reference failure.
fn own<'o>(faults: &[Scripted], outcomes: &'o Outcomes, sdk: Sdk, scripted: &Scripted) -> &'o Outcome {
    let name = stands_for(scripted.class, scripted.is_late);
    let fault = faults.iter().position(|known| known.name == name).unwrap();
    &outcomes.direct[&Row { sdk, vendor: sdk.grammar, fault }]
}

#[tokio::test]
async fn sdks_raise_what_they_would_without_a_gateway() {
    let faults = all();
    let mut stage = Stage::open().await;
    for sdk in SDKS {
        for (at, scripted) in faults.iter().enumerate() {
            stage.ask_vendor(sdk, at, scripted);
            stage.ask_gateway(sdk, sdk.grammar, at, scripted).await;
        }
    }
    let outcomes = stage.play().await;
    let mut judged = Vec::new();
    for (fault, scripted) in faults.iter().enumerate() {
        for sdk in SDKS {
            let row = Row { sdk, vendor: sdk.grammar, fault };
            let (Some(direct), Some(through)) = (outcomes.direct.get(&row), outcomes.through.get(&row))
            else {
                continue;
            };
            holds_always(scripted, through, direct.calls, &format!("{} {}", sdk.name(), scripted.name));
            let verdict = verdict(scripted, direct, through, own(&faults, &outcomes, sdk, scripted));
            if verdict.raised == Raised::Different || verdict.calls == Calls::Different {
                println!("{} {}: {direct:?} {through:?}", sdk.name(), scripted.name);
            }
            judged.push(Judged { row, verdict });
        }
    }
    gate(&faults, &judged);
    page::keep(&faults, &outcomes, &judged);
}

/// Checks the bounds of identical and excused rows; there must be no others.
fn gate(faults: &[Scripted], judged: &[Judged]) {
    let percent = |rows: &[&Judged], is: &dyn Fn(Raised) -> bool| {
        rows.iter().filter(|one| is(one.verdict.raised)).count() * 100 / rows.len()
    };
    let all: Vec<&Judged> = judged.iter().collect();
    let reported: Vec<&Judged> = judged.iter().filter(|one| faults[one.row.fault].is_readable()).collect();
    let is_same = |raised| raised == Raised::Same;
    let same = (percent(&reported, &is_same), percent(&all, &is_same));
    assert!(same.0 >= SAME_SAID_PERCENT, "the same in {} % of {} rows that are said", same.0, reported.len());
    assert!(same.1 >= SAME_PERCENT, "the same in {} % of {} rows", same.1, all.len());
    let excused = percent(&all, &|raised| matches!(raised, Raised::OfClass(_)));
    assert!(excused < EXCUSED_PERCENT_MAX, "excused in {excused} % of {} rows", all.len());
    let is_other =
        |one: &&&Judged| one.verdict.raised == Raised::Different || one.verdict.calls == Calls::Different;
    assert_eq!(all.iter().filter(is_other).count(), 0, "rows that nothing explains");
}

#[tokio::test]
async fn sdks_raise_by_class_whatever_the_provider_speaks() {
    let (faults, abroad) = (all(), ABROAD.split('|').collect::<Vec<_>>());
    let mut stage = Stage::open().await;
    for sdk in SDKS {
        for (at, scripted) in faults.iter().enumerate() {
            if faults.iter().any(|other| stands_for(other.class, other.is_late) == scripted.name) {
                stage.ask_vendor(sdk, at, scripted);
            }
            if !abroad.contains(&scripted.name) {
                continue;
            }
            for vendor in [Grammar::Chat, Grammar::Anthropic, Grammar::Gemini] {
                if !stage::is_same_seller(sdk.grammar, vendor) {
                    stage.ask_gateway(sdk, vendor, at, scripted).await;
                }
            }
        }
    }
    let outcomes = stage.play().await;
    assert!(outcomes.through.len() > 2 * SDKS.len() * (abroad.len() - 2), "{}", outcomes.through.len());
    for (row, through) in &outcomes.through {
        let scripted = &faults[row.fault];
        let own = own(&faults, &outcomes, row.sdk, scripted);
        let label = format!("{} over {:?}: {}", row.sdk.name(), row.vendor, scripted.name);
        if (scripted.class, row.sdk.grammar) == (FaultClass::ContentPolicy, Grammar::Gemini) {
            // This wire format has no such error: an answer without candidates gives the reason.
            let report = &through.report;
            assert!(report.raised.is_none() && report.whole && through.calls == 1, "{label}: {through:?}");
            continue;
        }
        holds_always(scripted, through, own.calls, &label);
        assert_eq!(through.report.raised, own.report.raised, "{label}: {through:?} {own:?}");
        if !scripted.is_late {
            let fault = Fault::new(scripted.class, "word", "Text.");
            let of_class = dialects::status(&fault, row.sdk.dialect());
            assert_eq!(through.report.status, Some(of_class), "{label}: {through:?}");
        }
        assert!(through.calls <= own.calls, "{label}: {through:?} {own:?}");
    }
}
