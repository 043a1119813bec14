//! How a host is asked by what outlives a request: texts that are read one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender, unbounded_channel};

use super::{Command, Host, Told};
use crate::runner::Passage;

/// A way to a host that does not keep it from ending.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    commands: Option<WeakUnboundedSender<Command>>,
    readings: Arc<AtomicU64>,
}

/// Texts that are read for one request. What they have in common is forgotten when it is dropped.
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
    /// Has a text read. What is told ends early where the model was lost, or the host has ended.
    pub(crate) fn read(&self, passage: Passage) -> UnboundedReceiver<Told> {
        let (told, telling) = unbounded_channel();
        self.send(Command::Read(passage, told));
        telling
    }

    /// Texts that have something in common are to be read.
    pub(crate) fn reading(&self) -> Reading {
        let number = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        Reading { asking: self.clone(), number }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = self.commands.as_ref().and_then(WeakUnboundedSender::upgrade) {
            // Nobody there: whoever listens is told that it ends.
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
        self.asking.send(Command::Do(Box::new(move |desk| desk.runner.end_reading(number))));
    }
}
