//! The tests of `domain::purge`.

use domain::purge::{Guarantee, Place, PurgeScope, Purged, first_request_at};
use domain::{ProjectId, TraceId, WorkspaceId};

#[test]
fn a_scope_covers_its_own_requests_alone() {
    let (workspace, other) = (WorkspaceId::new(1, [1; 10]), WorkspaceId::new(1, [2; 10]));
    let (project, beside) = (ProjectId::new(1, [1; 10]), ProjectId::new(1, [2; 10]));
    let request = |unix_ms| TraceId::new(unix_ms, [7; 10]);
    let scope = |what| PurgeScope { before: first_request_at(30), ..PurgeScope::of(workspace, what) };
    for (what, expected) in [
        (Purged::Everything, [true, true, true, false]),
        (Purged::Project(project), [true, true, false, false]),
        (Purged::Requests(vec![request(20), request(30)]), [false, true, false, false]),
        (Purged::From(first_request_at(20)), [false, true, true, false]),
        (Purged::Session("ses_1".into()), [false; 4]),
    ] {
        let asked = [(project, 10), (project, 20), (beside, 29), (project, 30)];
        let found = asked.map(|(project, at)| scope(what.clone()).covers(workspace, project, request(at)));
        assert_eq!(found, expected, "{what:?}");
        assert!(!scope(what).covers(other, project, request(20)));
    }
    assert!(PurgeScope::of(workspace, Purged::Everything).covers(workspace, project, request(1 << 47)));
}

#[test]
fn guarantees_are_ordered_and_named() {
    assert!(Guarantee::ALL.is_sorted());
    for place in Place::ALL {
        assert!(place.holds().ends_with('.'));
    }
}
