//! Openings, intents and endings shared by the tests.

use std::rc::Rc;

use domain::record::PlanRecord;
use domain::{
    AccountId, CredentialId, Dialect, MeterRecord, NodeId, Operation, Outcome, Price, Principal, ProjectId,
    Rates, TraceId, Usage, UsageSource, WorkspaceId,
};
use ledger::simulation::{SimulatedBooks, now};
use ledger::{Closing, Durability, Intent, Journal, Opening, Tab};

pub fn trace(number: u64) -> TraceId {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    TraceId::new(1_700_000_000_000, bytes)
}

pub fn opening(number: u64) -> Opening {
    Opening {
        trace: trace(number),
        workspace: WorkspaceId::new(1, [1; 10]),
        project: ProjectId::new(1, [2; 10]),
        key: None,
        environment: "production".into(),
        operation: Operation::Chat,
        dialect: Dialect::Chat,
        stream: true,
        requested_model: "openai/gpt-4o-mini".into(),
        tag: None,
        qos_class: None,
        started_unix_ms: 1_700_000_000_000,
        started_us: 0,
    }
}

pub fn rates() -> Rates {
    let (input, output, cached_read) = (Price(150_000), Price(600_000), Some(Price(75_000)));
    Rates { input, output, cached_read, ..Rates::default() }
}

pub fn byok() -> Principal {
    Principal::Credential(CredentialId::new(1, [3; 10]))
}

pub fn managed() -> Principal {
    Principal::Account(AccountId::new(1, [4; 10]))
}

pub fn node() -> Principal {
    Principal::Node(NodeId::new(1, [5; 10]))
}

pub fn intent(principal: Principal) -> Intent {
    Intent {
        principal,
        provider: "openai".into(),
        upstream_model: "gpt-4o-mini".into(),
        region: None,
        rates: Some(rates()),
        markup_bps: 1_000,
        estimate_prompt_bytes: 400,
        ceiling: None,
        expected_input: None,
        patience: std::time::Duration::ZERO,
    }
}

pub fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, source: UsageSource::Provider, ..Usage::default() }
}

pub fn completed(usage: Usage) -> Closing<'static> {
    let outcome = Outcome::Completed;
    Closing { outcome, status: 200, fault: None, usage, bytes_out: 1_000, fallback_used: false }
}

pub fn started(seed: u64) -> SimulatedBooks {
    let mut books = SimulatedBooks::new(seed, Durability::Written);
    books.start().expect("a fresh disk");
    books
}

pub fn journal(books: &SimulatedBooks) -> Rc<Journal> {
    Rc::clone(books.journal().expect("it runs"))
}

/// An open tab with a plan.
pub fn open(books: &SimulatedBooks, number: u64) -> Tab {
    let mut tab = journal(books).open_tab(opening(number)).expect("there is room");
    let plan = PlanRecord { resolution: "catalogue".into(), ..PlanRecord::default() };
    tab.record_plan("openai/gpt-4o-mini".into(), plan);
    tab
}

/// Makes an attempt and ends the turn; returns whether the intent counts as durable.
pub fn attempt(books: &SimulatedBooks, tab: &mut Tab, principal: Principal) -> bool {
    let mut future = Box::pin(tab.start_attempt(intent(principal)));
    if let Some(result) = now(future.as_mut()) {
        return result.is_ok();
    }
    let _failed = books.turn();
    matches!(now(future.as_mut()), Some(Ok(_)))
}

/// An open tab with an attempt.
pub fn tried(books: &SimulatedBooks, number: u64, principal: Principal) -> Tab {
    let mut tab = open(books, number);
    assert!(attempt(books, &mut tab, principal));
    tab
}

/// A whole exchange, drained.
pub fn exchange(books: &SimulatedBooks, number: u64) {
    let tab = tried(books, number, byok());
    tab.close(completed(usage(100, 20)));
    books.turn().expect("a good disk");
}

pub fn exchanges(books: &SimulatedBooks, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| exchange(books, number));
}

/// The record of an exchange, once everything is drained.
pub fn booked(books: &SimulatedBooks, number: u64) -> MeterRecord {
    books.turn().expect("a good disk");
    books.drain().expect("a good store");
    books.sink.record(trace(number)).expect("a settled record")
}

/// A kill, with which what is open goes.
pub fn crash(books: &mut SimulatedBooks, open: impl Sized) {
    books.kill();
    drop(open);
    books.revive();
}
