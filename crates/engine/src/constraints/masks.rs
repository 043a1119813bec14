//! Computes token masks on a helper thread while the model computes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::following::{ConstraintState, TokenMask};
use crate::request::SequenceId;

/// A sequence of the step, with the masks that it needs.
#[derive(Debug)]
pub(crate) struct MaskRequest {
    pub sequence: SequenceId,
    pub following: ConstraintState,
    pub draft_tokens: Vec<u32>,
    pub stop_tokens: Vec<u32>,
    /// The masks for its next token and after each draft token, as far as those can be accepted.
    pub masks: Vec<Option<TokenMask>>,
}

#[derive(Debug, Default)]
pub(crate) struct MaskWorker {
    beside: Option<Beside>,
}

#[derive(Debug)]
struct Beside {
    requests: SyncSender<Vec<MaskRequest>>,
    found: Receiver<Vec<MaskRequest>>,
    thread: JoinHandle<()>,
}

fn find(mut all: Vec<MaskRequest>) -> Vec<MaskRequest> {
    for one in &mut all {
        one.masks = one.following.draft_masks(&one.draft_tokens, &one.stop_tokens);
    }
    all
}

impl Beside {
    fn start() -> Option<Self> {
        // The masks of one step at a time: the next are requested once these were received.
        let (requests, receiver) = sync_channel::<Vec<MaskRequest>>(1);
        let (finds, found) = sync_channel(1);
        let run = move || {
            while let Ok(all) = receiver.recv() {
                if finds.send(find(all)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rules".to_owned()).spawn(run).ok()?;
        Some(Self { requests, found, thread })
    }
}

impl MaskWorker {
    /// Runs `work` while the helper thread computes the masks. Returns no masks if the thread was lost.
    pub(crate) fn run_alongside<T>(
        &mut self,
        all: Vec<MaskRequest>,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<MaskRequest>) {
        if all.is_empty() {
            return (work(), all);
        }
        if self.beside.is_none() {
            self.beside = Beside::start();
        }
        let Some(beside) = &self.beside else { return (work(), find(all)) };
        let is_sent = beside.requests.send(all).is_ok();
        let worked = work();
        let found = if is_sent { beside.found.recv().unwrap_or_default() } else { Vec::new() };
        (worked, found)
    }
}

impl Drop for MaskWorker {
    fn drop(&mut self) {
        if let Some(Beside { requests, thread, .. }) = self.beside.take() {
            drop(requests);
            let _ = thread.join();
        }
    }
}
