//! The tab that admission opens.

use admit::{CoreAllowances, admit, system};
use decode::fixtures::chat_call;
use domain::{Outcome, TraceId};
use ledger::simulation::SimulatedBooks;
use ledger::{Closing, Durability};

use crate::fixture::{project_id, side_call, snapshot, workspace_id};

fn books() -> SimulatedBooks {
    let mut books = SimulatedBooks::new(1, Durability::Written);
    books.start().unwrap();
    books
}

#[test]
fn an_admitted_call_has_one_open_tab_that_its_end_closes() {
    let books = books();
    let journal = books.journal().unwrap();
    let trace = TraceId::new(1, [9; 10]);
    let caller = system(snapshot(), workspace_id(), project_id(1), side_call()).unwrap();
    let call = chat_call(trace, "openai/gpt-4o", true).unwrap();
    let admitted = admit(call, caller, journal, &CoreAllowances::default(), 250).unwrap();
    assert_eq!(journal.open_tabs(), 1);
    assert_eq!(admitted.call().request().model, "openai/gpt-4o");

    let (_, _, tab) = admitted.into_parts();
    tab.close(Closing {
        outcome: Outcome::Failed,
        status: 404,
        fault: None,
        usage: domain::Usage::default(),
        bytes_out: 0,
        fallback_used: false,
    });
    assert_eq!((journal.open_tabs(), journal.reserved_bytes()), (0, 0));
    books.turn().unwrap();
    books.drain().unwrap();
    let record = books.sink.record(trace).unwrap();
    assert_eq!((record.workspace, record.environment.as_str()), (workspace_id(), "production"));
    assert_eq!((record.requested_model.as_str(), record.stream), ("openai/gpt-4o", true));
    assert_eq!(record.timeline.admitted_us, 250);
}

#[test]
fn what_can_not_be_booked_is_not_served() {
    let books = books();
    let journal = books.journal().unwrap();
    books.disk.set_capacity(Some(books.disk.used_bytes()));
    let mut held = Vec::new();
    let refused = (0..10_000_u64).find_map(|number| {
        let trace = TraceId::new(number, [9; 10]);
        let caller = system(snapshot(), workspace_id(), project_id(1), side_call()).unwrap();
        match admit(chat_call(trace, "m", false).unwrap(), caller, journal, &CoreAllowances::default(), 0) {
            Ok(admitted) => {
                held.push(admitted);
                None
            }
            Err(failed) => Some(failed),
        }
    });
    let failed = refused.unwrap();
    assert_eq!(failed.fault.code, "storage_full");
    assert_eq!(failed.call.request().model, "m");
    assert_eq!(journal.open_tabs(), held.len() as u64);
}
