//! What the checks of policies found in a request, and what guards its answer.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use domain::{CheckCount, Event, Fault, HookCall, HookServer};

/// What the checks of policies found in a request.
#[derive(Debug, Default)]
pub struct Screening {
    /// The refusal, where a check or a rule refuses the request.
    pub fault: Option<Box<Fault>>,
    /// What checks the answer, or puts back into it what was masked.
    pub guard: Option<Rc<dyn GuardAnswers>>,
    /// What was found so far, in the request and in its answer.
    pub found: Rc<RefCell<Vec<CheckCount>>>,
    /// How the hooks answered so far, and which servers they are.
    pub hook_calls: RefCell<Vec<(HookCall, HookServer)>>,
}

/// Makes guards, one for each answer: an attempt that fails may be followed by another.
pub trait GuardAnswers: Debug {
    fn guard(&self) -> Box<dyn AnswerGuard>;

    /// Whether it only counts what it finds, so that the answer stays as it is.
    fn only_counts(&self) -> bool;

    /// Whether no text of this JSON body holds anything that a guard would count or change: the answer then goes out as it is,
    /// unread.
    fn clears(&self, body: &[u8]) -> bool;
}

/// Checks one answer's events, in order. It may hold back the end of a text until more of it has come.
pub trait AnswerGuard: Debug {
    fn apply(&mut self, events: &mut Vec<Event>);
}
