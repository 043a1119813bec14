//! The scores of models and providers, beside the sums of their usage.

use std::collections::BTreeMap;

use api::state::Control;
use domain::Fault;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use store::{Dimension, ScoreFilter, ScoreGroup, ScoreSum, UsageFilter, UsageQuery};

use crate::limits::SCORE_LINES_MAX;

/// The scores of one name in a row of usage.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageScore")]
pub(crate) struct UsageScoreView {
    name: String,
    scores: u64,
    mean: f64,
}

fn show(sum: ScoreSum) -> UsageScoreView {
    UsageScoreView { mean: sum.mean(), name: sum.name, scores: sum.scores }
}

/// What scores can be grouped and filtered by as these sums are.
fn scored_by(query: &UsageQuery) -> Option<(Dimension, ScoreGroup)> {
    let UsageFilter { project, .. } = query.filter;
    let is_of_all = query.filter == UsageFilter { project, ..UsageFilter::default() };
    match query.group_by.as_slice() {
        [Dimension::Model] if is_of_all && query.interval.is_none() => {
            Some((Dimension::Model, ScoreGroup::Model))
        }
        [Dimension::Provider] if is_of_all && query.interval.is_none() => {
            Some((Dimension::Provider, ScoreGroup::Provider))
        }
        _ => None,
    }
}

/// The scores of a workspace's models or providers, by each of them; the empty name is that of none. `None` where sums are
/// grouped or filtered by what scores don't know.
pub(crate) async fn by_group(
    control: &Control,
    query: &UsageQuery,
) -> Result<Option<(Dimension, BTreeMap<String, Vec<UsageScoreView>>)>, Box<Fault>> {
    let Some((dimension, by)) = scored_by(query) else { return Ok(None) };
    let filter = ScoreFilter {
        project: query.filter.project,
        since_unix_ms: Some(query.window.start_unix_ms),
        until_unix_ms: Some(query.window.end_unix_ms),
        ..ScoreFilter::default()
    };
    let sums = control.deps.store.scores().sums(query.workspace, by, filter, SCORE_LINES_MAX).await;
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sum in sums.map_err(of_store)? {
        found.entry(sum.group.clone()).or_default().push(show(sum));
    }
    Ok(Some((dimension, found)))
}
