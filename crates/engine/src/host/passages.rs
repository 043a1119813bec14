//! How a host is asked by what outlives a request: texts that are read one after the other.

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender, unbounded_channel};

use super::{Command, Host, Told};
use crate::runner::Passage;

/// A way to a host that does not keep it from ending.
#[derive(Debug, Clone)]
pub(crate) struct Asking(Option<WeakUnboundedSender<Command>>);

impl Host {
    pub(crate) fn asking(&self) -> Asking {
        Asking(self.commands.as_ref().map(|commands| commands.downgrade()))
    }
}

impl Asking {
    /// Has a text read. What is told ends early where the model was lost, or the host has ended.
    pub(crate) fn read(&self, passage: Passage) -> UnboundedReceiver<Told> {
        let (told, telling) = unbounded_channel();
        if let Some(commands) = self.0.as_ref().and_then(WeakUnboundedSender::upgrade) {
            let _ = commands.send(Command::Read(passage, told));
        }
        telling
    }
}
