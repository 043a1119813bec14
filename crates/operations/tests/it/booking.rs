//! Which request books an answer.

use conversation::request::{Request, Stored, StoredAct};
use domain::ports::{FoundResponse, StoredResponse};
use domain::{NodeId, Operation, Principal, TraceId};
use operations::{AnsweredCall, Booking, Facts, ObjectFacts};

fn about(act: StoredAct) -> Request {
    Request::about(Stored::new("resp_1".to_owned(), act, String::new()))
}

fn known(is_booked: bool) -> FoundResponse {
    FoundResponse::Known(StoredResponse {
        request: TraceId::new(1, [0; 10]),
        created_by: Principal::Node(NodeId::new(1, [1; 10])),
        model: "m".to_owned(),
        upstream_model: "m".to_owned(),
        is_booked,
    })
}

fn booking(
    operation: Operation,
    request: &Request,
    found: Option<&FoundResponse>,
    is_stored: bool,
) -> Booking {
    let call = AnsweredCall { request, found, is_stored_by_provider: is_stored, is_granted: true };
    operations::of(operation).booking(&call)
}

#[test]
fn a_background_answer_is_booked_once() {
    let background = Request { is_background: true, ..Request::default() };
    let once = Booking::Once { is_granted: true };
    assert_eq!(booking(Operation::Chat, &background, None, true), once);
    assert_eq!(booking(Operation::Chat, &background, None, false), Booking::Own);
    assert_eq!(booking(Operation::Chat, &Request::default(), None, true), Booking::Own);
    assert_eq!(booking(Operation::Embed, &background, None, true), Booking::Own);
}

#[test]
fn a_stored_answer_is_booked_by_the_first_that_sees_its_end() {
    let once = Booking::Once { is_granted: true };
    for (act, is_booked, expected) in [
        (StoredAct::Read, false, once),
        (StoredAct::Cancel, false, once),
        (StoredAct::Read, true, Booking::Never),
        (StoredAct::Delete, false, Booking::Never),
    ] {
        let found = known(is_booked);
        assert_eq!(booking(Operation::Stored, &about(act), Some(&found), false), expected, "{act:?}");
    }
    assert_eq!(booking(Operation::Stored, &about(StoredAct::Read), None, false), Booking::Never);
}

#[test]
fn stored_objects_are_booked_by_their_poller() {
    for operation in [Operation::File, Operation::Batch, Operation::Video] {
        assert!(operations::of(operation).facts().object().is_some(), "{operation:?}");
        assert_eq!(booking(operation, &about(StoredAct::Make), None, false), Booking::Never);
    }
}

#[test]
fn a_cached_prompt_is_booked_by_its_creation_and_its_extensions() {
    let of = |request: &Request| booking(Operation::CachedContent, request, None, false);
    assert_eq!(of(&Request::default()), Booking::Own);
    assert_eq!(of(&about(StoredAct::Extend)), Booking::Own);
    assert_eq!(of(&about(StoredAct::Read)), Booking::Never);
    assert_eq!(of(&about(StoredAct::Delete)), Booking::Never);
}

#[test]
fn each_kind_of_object_says_what_it_is_made_from_and_where() {
    let no_results = ", or no results of it yet";
    for (operation, not_found, is_made_from_file, is_booked_by_last_poll, or_no_content) in [
        (Operation::File, "file_not_found", false, false, ""),
        (Operation::Batch, "batch_not_found", true, false, no_results),
        (Operation::Video, "video_not_found", false, true, ""),
        (Operation::CachedContent, "cached_content_not_found", false, false, ""),
    ] {
        // Of both, budgets count what they cost once they have ended.
        let is_booked_at_end = is_booked_by_last_poll || not_found == "batch_not_found";
        let expected = ObjectFacts {
            not_found,
            is_made_from_file,
            is_booked_at_end,
            is_booked_by_last_poll,
            or_no_content,
        };
        assert_eq!(operations::of(operation).facts().object(), Some(&expected));
    }
    for operation in [Operation::Chat, Operation::Stored, Operation::Images] {
        assert_eq!(operations::of(operation).facts().object(), None, "{operation:?}");
    }
}

/// Each of these sends a request another way, so no other operation may have it by accident.
#[test]
fn one_operation_each_counts_opens_a_session_and_has_its_answers_stored() {
    let with = |fact: fn(&Facts) -> bool| -> Vec<Operation> {
        let all = Operation::ALL.iter().copied();
        all.filter(|operation| fact(operations::of(*operation).facts())).collect()
    };
    assert_eq!(with(|facts| facts.only_counts), [Operation::Count]);
    assert_eq!(with(|facts| facts.is_session), [Operation::Realtime]);
    assert_eq!(with(|facts| facts.stores_answers), [Operation::Chat]);
}
