//! Records and lines to compare.

use std::sync::OnceLock;

use catalogue::Catalogue;
use domain::record::MeterRecord;
use domain::{AccountId, Principal, ProjectId, Usage, UsageSource, WorkspaceId};
use reconciliation::{Line, Matching, Measure, Names, Theirs};

use crate::generated::{self, Owner};
pub use crate::generated::{DAY_S, MINI, MINI_FULL, PROVIDER};

/// The first of November 2026.
pub const START_S: u64 = 1_793_491_200;

/// Read once: properties compare hundreds of times.
pub fn catalogue() -> &'static Catalogue {
    static EMBEDDED: OnceLock<Catalogue> = OnceLock::new();
    EMBEDDED.get_or_init(|| Catalogue::embedded().unwrap())
}

pub fn principal() -> Principal {
    Principal::Account(AccountId::new(1, [7; 10]))
}

pub fn used(input: u64, cached_read: u64, output: u64) -> Usage {
    Usage { input, cached_read, output, source: UsageSource::Provider, ..Usage::default() }
}

pub fn owner() -> Owner {
    Owner {
        workspace: WorkspaceId::new(1, [1; 10]),
        project: ProjectId::new(1, [1; 10]),
        principal: principal(),
    }
}

/// A request with one attempt that ended then.
pub fn record(number: u64, ended_unix_s: u64, usage: Usage) -> MeterRecord {
    generated::record(&owner(), number, ended_unix_s, usage)
}

/// A line of a day.
pub fn line(day: u64, measure: Measure, quantity: Option<i64>, cost_picos: Option<i128>) -> Line {
    let from_unix_s = START_S + day * DAY_S;
    Line {
        from_unix_s,
        until_unix_s: from_unix_s + DAY_S,
        account: None,
        model: Some(MINI.to_owned()),
        tier: None,
        request: None,
        measure,
        quantity,
        cost_picos,
        decimals: 12,
    }
}

pub fn theirs(lines: impl IntoIterator<Item = Line>) -> Theirs {
    let mut theirs = Theirs::new(Names::new(catalogue(), PROVIDER));
    lines.into_iter().for_each(|line| theirs.take(line));
    theirs
}

pub fn compare(lines: impl IntoIterator<Item = Line>, records: &[MeterRecord]) -> reconciliation::Outcome {
    let mut matching = Matching::new(theirs(lines));
    for record in records {
        matching.take(record, &|one| one == principal());
    }
    matching.finish()
}
