//! Which steps of a run can start, as a function of its flow and of what became of the steps so far. No clock, no I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::validation::{Action, Flow, Step};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// A gate whose condition does not hold: what needs it is blocked.
    Closed,
    Failed,
    /// Its condition does not hold, or something that it needs was skipped.
    Skipped,
    /// Something that it needs is closed, failed or blocked.
    Blocked,
}

/// What can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Step(usize),
    /// Of a map or a loop.
    Iteration(usize, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    /// It was given out.
    Given,
    Ended(Outcome),
}

/// The iterations of a map or a loop.
#[derive(Debug)]
struct Iterations {
    next: u32,
    total: u32,
    open: u32,
}

/// A run's plan.
#[derive(Debug)]
pub struct Schedule {
    flow: Arc<Flow>,
    states: Vec<State>,
    /// How many needs of each step have not ended.
    open_needs: Vec<usize>,
    dependants: Vec<Vec<usize>>,
    ready: VecDeque<Work>,
    iterations: HashMap<usize, Iterations>,
    /// Steps that have not ended.
    left: usize,
    is_failing: bool,
}

impl Schedule {
    /// Of a run whose steps ended so as stored; nothing of them is given out again.
    pub fn resume(flow: Arc<Flow>, ended: &[(usize, Outcome)]) -> (Self, Vec<(usize, Outcome)>) {
        let count = flow.steps.len();
        let mut dependants = vec![Vec::new(); count];
        for (place, step) in flow.steps.iter().enumerate() {
            for need in &step.needs {
                if let Some(dependants) = dependants.get_mut(*need) {
                    dependants.push(place);
                }
            }
        }
        let mut schedule = Self {
            states: vec![State::Pending; count],
            open_needs: Vec::new(),
            dependants,
            ready: VecDeque::new(),
            iterations: HashMap::new(),
            left: count,
            is_failing: false,
            flow,
        };
        for (place, outcome) in ended {
            schedule.note(*place, *outcome);
        }
        let flow = Arc::clone(&schedule.flow);
        let is_open = |need: &usize| schedule.outcome(*need).is_none();
        schedule.open_needs =
            flow.steps.iter().map(|step| step.needs.iter().filter(|need| is_open(need)).count()).collect();
        let mut decided = Vec::new();
        for place in 0..count {
            schedule.consider(place, &mut decided);
        }
        (schedule, decided)
    }

    /// What can start next.
    pub fn next_work(&mut self) -> Option<Work> {
        if self.is_failing { None } else { self.ready.pop_front() }
    }

    pub fn has_ready(&self) -> bool {
        !self.is_failing && !self.ready.is_empty()
    }

    /// Whether all steps have ended.
    pub const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// A step failed that its flow does not go on without: nothing starts any more.
    pub const fn is_failing(&self) -> bool {
        self.is_failing
    }

    pub const fn fail(&mut self) {
        self.is_failing = true;
    }

    pub fn outcome(&self, step: usize) -> Option<Outcome> {
        match self.states.get(step) {
            Some(State::Ended(outcome)) => Some(*outcome),
            _ => None,
        }
    }

    /// Notes how a step ended; returns the steps that this decides without a start.
    pub fn ended(&mut self, step: usize, outcome: Outcome) -> Vec<(usize, Outcome)> {
        let mut decided = Vec::new();
        if self.outcome(step).is_none() {
            self.note(step, outcome);
            self.release(step, &mut decided);
        }
        decided
    }

    /// Gives out the iterations of a map or a loop, `parallel` at a time, but for those that have ended before.
    pub fn open(&mut self, step: usize, total: u32, parallel: u32, ended: &[u32]) {
        let mut iterations = Iterations { next: 0, total, open: 0 };
        let mut given = VecDeque::new();
        // Of a loop each follows the one before.
        while iterations.next < total && iterations.open < parallel {
            if !ended.contains(&iterations.next) {
                given.push_back(Work::Iteration(step, iterations.next));
                iterations.open += 1;
            }
            iterations.next += 1;
        }
        self.iterations.insert(step, iterations);
        self.ready.extend(given);
    }

    /// Notes that an iteration ended; whether it was the last.
    pub fn iteration_ended(&mut self, step: usize, ended: &[u32]) -> bool {
        let Some(iterations) = self.iterations.get_mut(&step) else { return true };
        iterations.open = iterations.open.saturating_sub(1);
        while iterations.next < iterations.total {
            let next = iterations.next;
            iterations.next += 1;
            if !ended.contains(&next) {
                iterations.open += 1;
                self.ready.push_back(Work::Iteration(step, next));
                return false;
            }
        }
        iterations.open == 0
    }

    /// Whether a map or a loop has no iteration that can still end.
    pub fn has_no_iterations(&self, step: usize) -> bool {
        self.iterations
            .get(&step)
            .is_none_or(|iterations| iterations.open == 0 && iterations.next >= iterations.total)
    }

    /// No further iteration of a step starts.
    pub fn close(&mut self, step: usize) {
        self.ready.retain(|work| !matches!(work, Work::Iteration(of, _) if *of == step));
        self.iterations.remove(&step);
    }

    fn step(&self, place: usize) -> Option<&Step> {
        self.flow.steps.get(place)
    }

    fn note(&mut self, place: usize, outcome: Outcome) {
        let Some(state) = self.states.get_mut(place) else { return };
        if !matches!(state, State::Ended(_)) {
            self.left = self.left.saturating_sub(1);
        }
        *state = State::Ended(outcome);
        let goes_on = self.step(place).is_some_and(|step| step.continues);
        self.is_failing |= outcome == Outcome::Failed && !goes_on && self.flow.fail_on_error;
    }

    /// Tells those that need a step that it has ended.
    fn release(&mut self, first: usize, decided: &mut Vec<(usize, Outcome)>) {
        let mut ended = vec![first];
        while let Some(place) = ended.pop() {
            for dependant in self.dependants.get(place).cloned().unwrap_or_default() {
                let Some(open) = self.open_needs.get_mut(dependant) else { continue };
                *open = open.saturating_sub(1);
                if *open == 0
                    && let Some(outcome) = self.decide(dependant)
                {
                    decided.push((dependant, outcome));
                    ended.push(dependant);
                }
            }
        }
    }

    fn consider(&mut self, place: usize, decided: &mut Vec<(usize, Outcome)>) {
        let is_open = matches!(self.states.get(place), Some(State::Pending));
        if is_open
            && self.open_needs.get(place) == Some(&0)
            && let Some(outcome) = self.decide(place)
        {
            decided.push((place, outcome));
            self.release(place, decided);
        }
    }

    /// Gives a step out whose needs have ended, or says what becomes of it without a start.
    fn decide(&mut self, place: usize) -> Option<Outcome> {
        if !matches!(self.states.get(place), Some(State::Pending)) {
            return None;
        }
        let outcome = self.step(place).and_then(|step| self.inherited(step));
        match outcome {
            Some(outcome) => self.note(place, outcome),
            None => {
                if let Some(state) = self.states.get_mut(place) {
                    *state = State::Given;
                }
                self.ready.push_back(Work::Step(place));
            }
        }
        outcome
    }

    /// What becomes of a step by what it needs; `None` where it can run.
    fn inherited(&self, step: &Step) -> Option<Outcome> {
        let outcomes =
            || step.needs.iter().filter_map(|need| Some((self.step(*need)?, self.outcome(*need)?)));
        let is_well = |(step, outcome): (&Step, Outcome)| match outcome {
            Outcome::Completed => true,
            Outcome::Failed => step.continues,
            _ => false,
        };
        if matches!(step.action, Action::Merge { .. } | Action::Selector { .. }) {
            let has_any = step.needs.is_empty() || outcomes().any(is_well);
            return (!has_any).then_some(Outcome::Skipped);
        }
        let is_blocking = |(step, outcome): (&Step, Outcome)| match outcome {
            Outcome::Closed | Outcome::Blocked => true,
            Outcome::Failed => !step.continues,
            _ => false,
        };
        if outcomes().any(is_blocking) {
            return Some(Outcome::Blocked);
        }
        outcomes().any(|(_, outcome)| outcome == Outcome::Skipped).then_some(Outcome::Skipped)
    }
}
