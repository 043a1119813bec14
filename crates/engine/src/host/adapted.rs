//! What is asked of a host's adapters. Their files are read on a thread of their own, so that nobody who is being told
//! something waits for a disk.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;

use super::{Command, Desk, Host};
use crate::EngineError;
use crate::adapters::{AdapterId, AdapterStatus, Read, Reading, Registering};
use crate::blocks::Share;
use crate::runner::Forgot;

type Then = Box<dyn FnOnce(&mut Desk, Read) + Send>;

/// Something to be read, and what is done with it then.
pub(super) struct Job {
    reading: Reading,
    then: Then,
}

/// Reads one after the other, until nobody has anything to be read.
pub(super) fn read_all(jobs: &Receiver<Job>, back: &WeakUnboundedSender<Command>) {
    while let Ok(Job { reading, then }) = jobs.recv() {
        let read = reading.read();
        if let Some(back) = back.upgrade() {
            let _ = back.send(Command::Do(Box::new(move |desk| then(desk, read))));
        }
    }
}

impl Desk {
    fn read(&self, reading: Reading, then: impl FnOnce(&mut Self, Read) + Send + 'static) {
        // The reader ends after this does.
        let _ = self.jobs.send(Job { reading, then: Box::new(then) });
    }

    /// Has that read which texts wait for.
    pub(super) fn bring(&mut self) {
        for reading in self.runner.readings() {
            // Texts that wait for it are told by the next step, and its status tells why.
            self.read(reading, |desk, read| {
                let id = read.id().clone();
                let settled = desk.runner.settle(read);
                desk.tell_expecting(&id, settled);
            });
        }
    }

    /// Tells those who asked for an adapter to be in memory, once it is there or can't be.
    fn tell_expecting(&mut self, id: &AdapterId, settled: Result<u64, EngineError>) {
        let is_here = self.runner.has_adapter_here(id);
        let why = settled.err().map(|error| error.to_string());
        for (_, told) in self.expecting.extract_if(.., |(expected, _)| expected == id) {
            let said = match &why {
                Some(why) if !is_here => {
                    Err(EngineError::AdapterUnread { id: id.to_string(), why: why.clone() })
                }
                _ => Ok(()),
            };
            let _ = told.send(said);
        }
    }
}

impl Host {
    /// Registers an adapter, and tells its generation.
    ///
    /// # Errors
    /// It can't be taken: its files, its name, or the room for it.
    pub async fn register_adapter(
        &self,
        id: AdapterId,
        directory: PathBuf,
        registering: Registering,
    ) -> Result<u64, EngineError> {
        let (said, saying) = oneshot::channel();
        let read = move |desk: &mut Desk| {
            let reading = desk.runner.reading(id, &directory, registering)?;
            desk.read(reading, |desk, read| drop(said.send(desk.runner.settle(read))));
            Ok::<_, EngineError>(())
        };
        self.ask(read).await??;
        saying.await.map_err(|_| EngineError::Lost)?
    }

    /// Has an adapter brought into memory; it may not be there yet when this returns.
    ///
    /// # Errors
    /// There is none of that name, or no room.
    pub async fn load_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        let load = move |desk: &mut Desk| {
            desk.runner.load_adapter(&id)?;
            desk.bring();
            Ok(())
        };
        self.ask(load).await?
    }

    /// The same, and returns when it is there.
    ///
    /// # Errors
    /// There is none of that name, no room, or it can't be read.
    pub async fn bring_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        let (said, saying) = oneshot::channel();
        let load = move |desk: &mut Desk| {
            if desk.runner.load_adapter(&id)? {
                let _ = said.send(Ok(()));
            } else {
                desk.expecting.push((id, said));
                desk.bring();
            }
            Ok::<_, EngineError>(())
        };
        self.ask(load).await??;
        saying.await.map_err(|_| EngineError::Lost)?
    }

    /// Forgets what is remembered of a share, and tells how much that was.
    ///
    /// # Errors
    /// The model was lost.
    pub async fn forget(&self, share: Share) -> Result<Forgot, EngineError> {
        self.ask(move |desk| desk.runner.forget(share)).await
    }

    /// Forgets an adapter. Texts that have it keep it; those that wait for it end.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn unload_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        self.ask(move |desk| desk.runner.unload_adapter(&id)).await?
    }

    /// Whether an adapter stays in memory once it is there.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn pin_adapter(&self, id: AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        self.ask(move |desk| desk.runner.pin_adapter(&id, is_pinned)).await?
    }

    /// All adapters, by name.
    ///
    /// # Errors
    /// The model was lost.
    pub async fn adapters(&self) -> Result<Vec<AdapterStatus>, EngineError> {
        self.ask(|desk| desk.runner.adapters()).await
    }

    /// Has something done between two steps.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (said, saying) = oneshot::channel();
        if let Some(commands) = &self.commands {
            let _ = commands.send(Command::Do(Box::new(move |desk| drop(said.send(what(desk))))));
        }
        saying.await.map_err(|_| EngineError::Lost)
    }
}
