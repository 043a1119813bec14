//! Computes token masks on a helper thread while the model computes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::ConstraintState;
use super::following::TokenMask;
use crate::scheduler::SequenceId;

/// A sequence of the step, with the masks that it needs.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub text: SequenceId,
    pub following: ConstraintState,
    pub guesses: Vec<u32>,
    pub ends: Vec<u32>,
    /// The masks for its next token and after each draft token, as far as those can be accepted.
    pub allowed: Vec<Option<TokenMask>>,
}

#[derive(Debug, Default)]
pub(crate) struct MaskWorker {
    beside: Option<Beside>,
}

#[derive(Debug)]
struct Beside {
    asked: Sender<Vec<Ahead>>,
    found: Receiver<Vec<Ahead>>,
    thread: JoinHandle<()>,
}

fn find(mut all: Vec<Ahead>) -> Vec<Ahead> {
    for one in &mut all {
        one.allowed = one.following.ahead(&one.guesses, &one.ends);
    }
    all
}

impl Beside {
    fn start() -> Option<Self> {
        let (asked, asks) = channel::<Vec<Ahead>>();
        let (finds, found) = channel();
        let run = move || {
            while let Ok(all) = asks.recv() {
                if finds.send(find(all)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rules".to_owned()).spawn(run).ok()?;
        Some(Self { asked, found, thread })
    }
}

impl MaskWorker {
    /// Runs `work` while the helper thread computes the masks. Returns no masks if the thread was lost.
    pub(crate) fn beside<T>(&mut self, all: Vec<Ahead>, work: impl FnOnce() -> T) -> (T, Vec<Ahead>) {
        if all.is_empty() {
            return (work(), all);
        }
        if self.beside.is_none() {
            self.beside = Beside::start();
        }
        let Some(beside) = &self.beside else { return (work(), find(all)) };
        let is_asked = beside.asked.send(all).is_ok();
        let worked = work();
        let found = if is_asked { beside.found.recv().unwrap_or_default() } else { Vec::new() };
        (worked, found)
    }
}

impl Drop for MaskWorker {
    fn drop(&mut self) {
        if let Some(Beside { asked, thread, .. }) = self.beside.take() {
            drop(asked);
            let _ = thread.join();
        }
    }
}
