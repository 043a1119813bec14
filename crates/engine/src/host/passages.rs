//! Access to a host for passages: sequences that are prefilled for their hidden state, several for one
//! request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::{Command, EVENTS_BESIDE_TOKENS, EngineLoop, Host, SequenceEvent, submit};
use crate::request::EmbeddingInput;

/// The numbers of the readings that have ended and still have a cached prefix. Beside the commands, since an
/// end must not be lost where too many of those wait; there are no more of them than open requests.
pub(super) type EndedReadings = Arc<Mutex<Vec<u64>>>;

/// A handle to a host that does not keep it running.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    commands: Option<mpsc::WeakSender<Command>>,
    readings: Arc<AtomicU64>,
    ended_readings: EndedReadings,
}

/// The passages of one request. Their cached common prefix is dropped together with this.
#[derive(Debug)]
pub(crate) struct Reading {
    asking: Asking,
    number: u64,
}

impl Host {
    pub(crate) fn asking(&self) -> Asking {
        let commands = self.commands.as_ref().map(|commands| commands.downgrade());
        let (readings, ended_readings) = (Arc::clone(&self.readings), Arc::clone(&self.ended_readings));
        Asking { commands, readings, ended_readings }
    }
}

impl Asking {
    /// Submits a passage. The channel closes early if the model failed or the host has ended.
    pub(crate) fn read(&self, input: EmbeddingInput) -> mpsc::Receiver<SequenceEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_BESIDE_TOKENS);
        self.send(Command::Embed(input, sender));
        receiver
    }

    /// Opens a group of passages that share a prefix.
    pub(crate) fn reading(&self) -> Reading {
        let number = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        Reading { asking: self.clone(), number }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = self.commands.as_ref().and_then(mpsc::WeakSender::upgrade) {
            submit(&commands, command);
        }
    }
}

impl Reading {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.asking.ended_readings.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        // Where it finds no room, the thread has commands to take, and sees the number after them.
        self.asking.send(Command::Wake);
    }
}

impl EngineLoop {
    /// Drops the prefixes of the readings that have ended.
    pub(super) fn end_readings(&mut self) {
        let ended = std::mem::take(&mut *self.ended_readings.lock().unwrap_or_else(PoisonError::into_inner));
        for number in ended {
            self.scheduler.end_reading(number);
        }
    }
}
