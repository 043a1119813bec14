//! Access to a host for passages: sequences that are prefilled for their hidden state, several for one
//! request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender, unbounded_channel};

use super::{Command, Host, SequenceEvent};
use crate::request::EmbeddingInput;

/// A handle to a host that does not keep it running.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    commands: Option<WeakUnboundedSender<Command>>,
    readings: Arc<AtomicU64>,
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
        Asking { commands, readings: Arc::clone(&self.readings) }
    }
}

impl Asking {
    /// Submits a passage. The channel closes early if the model failed or the host has ended.
    pub(crate) fn read(&self, input: EmbeddingInput) -> UnboundedReceiver<SequenceEvent> {
        let (sender, receiver) = unbounded_channel();
        self.send(Command::Embed(input, sender));
        receiver
    }

    /// Opens a group of passages that share a prefix.
    pub(crate) fn reading(&self) -> Reading {
        let number = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        Reading { asking: self.clone(), number }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = self.commands.as_ref().and_then(WeakUnboundedSender::upgrade) {
            // If the host is gone, the receiver sees a closed channel.
            let _ = commands.send(command);
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
        let number = self.number;
        self.asking.send(Command::Do(Box::new(move |engine| engine.scheduler.end_reading(number))));
    }
}
