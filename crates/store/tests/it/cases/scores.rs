//! Scores: one of a name for each request, of one workspace, gone with the records of their requests.

use domain::{ScoreId, TraceId};
use store::{Page, ScoreFilter, ScoreGroup, ScoreRow, Scored};

use crate::samples::{Fresh, founding};

pub async fn a_score_is_its_workspaces_and_leaves_with_its_request(fresh: &Fresh) {
    let (scores, workspace) = (fresh.store.scores(), fresh.founding.workspace.id);
    let row = |number: u64, name: &str, value_micros| ScoreRow {
        id: ScoreId::new(number, [name.len() as u8; 10]),
        workspace,
        project: fresh.founding.project.id,
        request: TraceId::new(number, [7; 10]),
        name: name.to_owned(),
        value_micros,
        version: 1,
        author: "key_1".to_owned(),
        model: "m".to_owned(),
        provider: "p".to_owned(),
        route: String::new(),
        scored_unix_ms: 9,
        started_unix_ms: number,
    };
    for number in 1..=3 {
        let given = row(number, "helpful", -(number as i64));
        assert_eq!(scores.put(given.clone(), 1).await.unwrap(), Scored::Stored(Box::new(given)));
    }
    assert_eq!(scores.put(row(1, "short", 1), 1).await.unwrap(), Scored::TooMany);
    // Another value of the same name takes its place, and keeps its id.
    let turned = ScoreRow { id: ScoreId::new(8, [8; 10]), ..row(1, "helpful", i64::MAX) };
    let stored = scores.put(turned, 1).await.unwrap();
    assert_eq!(stored, Scored::Stored(Box::new(ScoreRow { version: 2, ..row(1, "helpful", i64::MAX) })));
    scores.put(row(1, "helpful", 5), 1).await.unwrap();

    let all = ScoreFilter::default();
    let page = scores.list(workspace, all.clone(), Page::first(2)).await.unwrap();
    assert_eq!(page.rows, vec![row(3, "helpful", -3), row(2, "helpful", -2)]);
    let next = Page { limit: 2, after: page.next };
    let newest = ScoreRow { version: 3, ..row(1, "helpful", 5) };
    assert_eq!(scores.list(workspace, all.clone(), next).await.unwrap().rows, [newest]);
    let sums = scores.sums(workspace, ScoreGroup::Model, all.clone(), 9).await.unwrap();
    assert_eq!((sums.len(), sums[0].scores, sums[0].sum_micros), (1, 3, 0));
    assert_eq!((sums[0].lowest_micros, sums[0].highest_micros), (-3, 5));
    let other = founding(2).workspace.id;
    assert!(scores.sums(other, ScoreGroup::Route, all.clone(), 9).await.unwrap().is_empty());
    let third = row(3, "helpful", -3);
    assert!(scores.delete(other, None, third.id, None).await.is_err());
    assert!(scores.delete(workspace, Some(founding(2).project.id), third.id, None).await.is_err());
    assert!(scores.delete(workspace, None, third.id, Some(2)).await.is_err(), "it is at another version");

    assert_eq!(scores.get(workspace, Some(third.project), third.id).await.unwrap(), third);
    assert!(scores.get(other, None, third.id).await.is_err());

    assert_eq!(scores.forget(3).await.unwrap(), 2);
    assert_eq!(scores.list(workspace, all, Page::first(9)).await.unwrap().rows, vec![third.clone()]);
    scores.delete(workspace, Some(third.project), third.id, Some(1)).await.unwrap();
    assert!(scores.get(workspace, None, third.id).await.is_err());
}
