//! Judges the canaries of aliases by the settled requests of their window, and withdraws those that leave their gates.

use std::collections::HashMap;

use domain::limits::{CANARY_REQUESTS_MAX, PAGE_ROWS_MAX};
use domain::{AliasPick, AliasReleaseId, Blame, CanaryGates, FaultClass, ReleaseChoice, WorkspaceId};
use snapshot::{AliasEntry, CanaryEntry};
use store::{Act, AliasAct, AliasChange, AliasRow, Page, RequestFilter, StoreError, WithdrawnCanary};

use crate::Deps;

/// How often canaries are judged.
pub(crate) const JUDGE_EVERY_MS: u64 = 5_000;
/// How far back the requests of an alias without a canary are measured.
const WINDOW_S: u32 = 600;

/// What was measured of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    pub requests: u32,
    /// Those that failed for a reason other than the client's own or a limit of the workspace.
    pub errors: u32,
    latencies_us: Vec<u64>,
    first_bytes_us: Vec<u64>,
}

impl Measured {
    /// In hundredths of a per cent.
    pub fn error_bps(&self) -> u32 {
        let bps = u64::from(self.errors) * 10_000 / u64::from(self.requests.max(1));
        u32::try_from(bps).unwrap_or(u32::MAX)
    }

    pub fn latency_p95_ms(&self) -> Option<u64> {
        p95_ms(&self.latencies_us)
    }

    pub fn first_byte_p95_ms(&self) -> Option<u64> {
        p95_ms(&self.first_bytes_us)
    }

    /// Counts a request that ended, with its latency and the time to its first byte.
    pub fn count(&mut self, fault: Option<FaultClass>, latency_us: u64, first_byte_us: Option<u64>) {
        self.requests += 1;
        match fault {
            Some(class) if is_error(class) => self.errors += 1,
            Some(_) => {}
            None => {
                self.latencies_us.push(latency_us);
                self.first_bytes_us.extend(first_byte_us);
            }
        }
    }
}

/// What the release or its target may be the cause of.
const fn is_error(class: FaultClass) -> bool {
    matches!(class.blame(), Blame::Upstream | Blame::Credential | Blame::Us)
        || matches!(class, FaultClass::NotFound | FaultClass::Unsupported | FaultClass::ContentPolicy)
}

/// By the nearest rank; `None` of nothing.
fn p95_ms(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * 95).div_ceil(100).checked_sub(1)?;
    sorted.get(rank).map(|us| us / 1_000)
}

/// The measured window of an alias: the canary's, else the usual one.
pub fn window_s(canary: Option<&CanaryGates>) -> u32 {
    canary.map_or(WINDOW_S, |gates| gates.window_s)
}

/// What was measured of the releases of an alias since a moment: of requests by its name alone, not of those
/// that pin a release. The newest `CANARY_REQUESTS_MAX` requests count.
pub async fn measure(
    deps: &Deps,
    workspace: WorkspaceId,
    name: &str,
    since_unix_ms: u64,
) -> Result<HashMap<AliasReleaseId, Measured>, StoreError> {
    let filter = RequestFilter {
        model: Some(name.to_owned()),
        alias: Some(name.to_owned()),
        since_unix_ms: Some(since_unix_ms),
        ..RequestFilter::default()
    };
    let mut measured: HashMap<AliasReleaseId, Measured> = HashMap::new();
    let (mut seen, mut after) = (0_u32, None);
    loop {
        let page = Page { limit: PAGE_ROWS_MAX, after };
        let listed = deps.store.records().requests(workspace, filter.clone(), page).await?;
        for row in &listed.rows {
            let pick = AliasPick::read(&row.resolution);
            if let Some(pick) = pick.filter(|pick| pick.choice != ReleaseChoice::Pinned) {
                let release = measured.entry(pick.release).or_default();
                release.count(row.fault, row.latency_us, row.first_byte_us);
            }
        }
        seen = seen.saturating_add(PAGE_ROWS_MAX);
        after = listed.next;
        if after.is_none() || seen >= CANARY_REQUESTS_MAX {
            return Ok(measured);
        }
    }
}

/// Why a canary has left its gates; `None` while it keeps to them, or has had too few requests.
pub fn left(gates: &CanaryGates, canary: &Measured, active: Option<&Measured>) -> Option<String> {
    if canary.requests < gates.requests_min {
        return None;
    }
    let percent = |bps: u32| format!("{}.{:02} %", bps / 100, bps % 100);
    let beside =
        |text: Option<String>| text.map_or_else(String::new, |text| format!("; the active release: {text}"));
    if let Some(most) = gates.error_bps_max.filter(|most| canary.error_bps() > *most) {
        let (errors, requests) = (canary.errors, canary.requests);
        let active = beside(active.map(|active| percent(active.error_bps())));
        let rate = percent(canary.error_bps());
        return Some(format!(
            "{errors} of {requests} requests failed ({rate}, gate {}{active})",
            percent(most)
        ));
    }
    let latencies = [
        (
            "latency",
            gates.latency_p95_ms_max,
            canary.latency_p95_ms(),
            active.and_then(Measured::latency_p95_ms),
        ),
        (
            "time to first byte",
            gates.first_byte_p95_ms_max,
            canary.first_byte_p95_ms(),
            active.and_then(Measured::first_byte_p95_ms),
        ),
    ];
    latencies.into_iter().find_map(|(what, most, found, active)| {
        let (most, found) = (most?, found?);
        let active = beside(active.map(|ms| format!("{ms} ms")));
        (found > most).then(|| format!("p95 of {what} is {found} ms (gate {most} ms{active})"))
    })
}

/// Judges every canary that has gates.
pub(crate) async fn judge_all(deps: &Deps) -> Result<(), StoreError> {
    let snapshot = deps.keeper.current();
    for workspace in snapshot.workspaces() {
        for alias in &workspace.aliases {
            if let Some(canary) = alias.canary.as_ref().filter(|canary| canary.gates.is_any_set()) {
                judge(deps, workspace.id, alias, canary).await?;
            }
        }
    }
    Ok(())
}

async fn judge(
    deps: &Deps,
    workspace: WorkspaceId,
    alias: &AliasEntry,
    canary: &CanaryEntry,
) -> Result<(), StoreError> {
    let window_ms = u64::from(canary.gates.window_s) * 1_000;
    let since = deps.world.clock.unix_ms().saturating_sub(window_ms).max(canary.started_unix_ms);
    let measured = measure(deps, workspace, &alias.name, since).await?;
    let Some(of_canary) = measured.get(&canary.release.id) else { return Ok(()) };
    let Some(reason) = left(&canary.gates, of_canary, measured.get(&alias.active.id)) else { return Ok(()) };
    match withdraw(deps, workspace, alias, canary.release.id, reason).await {
        // Somebody else changed or removed it meanwhile; the next judgement sees how it is now.
        Err(StoreError::NotFound { .. } | StoreError::Conflict { .. } | StoreError::Precondition { .. }) => {
            Ok(())
        }
        other => other,
    }
}

async fn withdraw(
    deps: &Deps,
    workspace: WorkspaceId,
    alias: &AliasEntry,
    release: AliasReleaseId,
    reason: String,
) -> Result<(), StoreError> {
    let row = deps.store.aliases().get(workspace, alias.id).await?;
    let Some(canary) = row.canary.filter(|canary| canary.release == release) else { return Ok(()) };
    tracing::warn!(alias = row.name, %release, reason, "a canary left its gates and is withdrawn");
    let withdrawn = WithdrawnCanary {
        release,
        percent: canary.percent,
        reason,
        is_automatic: true,
        unix_ms: deps.world.clock.unix_ms(),
    };
    let version = row.version;
    let row = AliasRow { canary: None, withdrawn: Some(withdrawn), ..row };
    let change = AliasChange { row, release: None, act: AliasAct::WithdrawCanary };
    deps.store.aliases().replace(change, Some(version), Act::system(&deps.world)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(requests: u32, errors: u32, latency_ms: u64) -> Measured {
        Measured {
            requests,
            errors,
            latencies_us: vec![latency_ms * 1_000; requests as usize],
            first_bytes_us: vec![latency_ms * 500; requests as usize],
        }
    }

    #[test]
    fn a_canary_leaves_by_the_first_gate_that_it_does_not_keep_to() {
        let gates = CanaryGates {
            error_bps_max: Some(500),
            latency_p95_ms_max: Some(1_000),
            first_byte_p95_ms_max: Some(400),
            requests_min: 20,
            window_s: 600,
        };
        let active = measured(100, 1, 300);
        let left = |canary: Measured| left(&gates, &canary, Some(&active));
        assert_eq!(left(measured(19, 19, 9_000)), None, "too few to judge");
        assert_eq!(left(measured(20, 1, 700)), None, "5 % is the gate itself");
        let why = left(measured(20, 2, 700)).unwrap();
        assert!(why.starts_with("2 of 20 requests failed (10.00 %, gate 5.00 %"), "{why}");
        assert!(why.contains("the active release: 1.00 %"), "{why}");
        let why = left(measured(20, 0, 1_001)).unwrap();
        assert!(why.contains("p95 of latency is 1001 ms (gate 1000 ms"), "{why}");
        let why = left(measured(20, 0, 802)).unwrap();
        assert!(why.contains("time to first byte is 401 ms (gate 400 ms"), "{why}");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<u64> = (1..=100).map(|ms| ms * 1_000).collect();
        assert_eq!(p95_ms(&hundred), Some(95));
        assert_eq!(p95_ms(&[7_000]), Some(7));
        assert_eq!(p95_ms(&[]), None);
        assert_eq!(measured(0, 0, 0).error_bps(), 0);
    }

    #[test]
    fn what_the_client_or_a_budget_caused_is_no_error_of_the_release() {
        for (class, expected) in [
            (FaultClass::Upstream, true),
            (FaultClass::RateLimit, true),
            (FaultClass::UpstreamAuth, true),
            (FaultClass::Deadline, true),
            (FaultClass::NotFound, true),
            (FaultClass::BadRequest, false),
            (FaultClass::BudgetReached, false),
            (FaultClass::Cancelled, false),
        ] {
            assert_eq!(is_error(class), expected, "{class:?}");
        }
    }
}
