//! Adapter management of a host. Adapter files are read on a thread of their own, so that running sequences
//! don't wait for the disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TrySendError};

use domain::runtime::ClearedDisk;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::oneshot;
use weights::WeightsError;

use super::{Command, EngineLoop, Host};
use crate::EngineError;
use crate::adapters::{AdapterId, AdapterRead, AdapterReadResult, AdapterStatus, RegisterOptions};
use crate::blocks::CacheScope;
use crate::scheduler::ForgottenScope;

type Then = Box<dyn FnOnce(&mut EngineLoop, AdapterReadResult) + Send>;

/// A read, and what to do with its result.
pub(super) struct Job {
    reading: AdapterRead,
    then: Then,
}

/// The reader thread: does one read after the other until the runner ends.
pub(super) fn read_all(jobs: &Receiver<Job>, back: &WeakSender<Command>) {
    while let Ok(Job { reading, then }) = jobs.recv() {
        let read = reading.read();
        if let Some(back) = back.upgrade() {
            // Waits while too many commands do: a read must not be lost.
            let _ = back.blocking_send(Command::Do(Box::new(move |engine| then(engine, read))));
        }
    }
}

impl EngineLoop {
    /// Hands a read to the reader thread, or returns it if too many wait. It never blocks: the reader thread
    /// may be waiting for this one to take a command.
    fn read(
        &self,
        reading: AdapterRead,
        then: impl FnOnce(&mut Self, AdapterReadResult) + Send + 'static,
    ) -> Result<(), Box<AdapterRead>> {
        match self.jobs.try_send(Job { reading, then: Box::new(then) }) {
            Err(TrySendError::Full(job)) => Err(Box::new(job.reading)),
            // The reader thread outlives this one, so that it is connected.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Starts the reads of adapters that sequences wait for. Those that find too many others are started
    /// after a later step: the end of each read is a command, which another step follows.
    pub(super) fn bring(&mut self) {
        for reading in self.scheduler.readings() {
            // On failure, the next step ends the sequences that wait for it, and its status has the error.
            let read = self.read(reading, |engine, read| {
                let id = read.id().clone();
                let settled = engine.scheduler.settle(read);
                engine.notify_waiters(&id, settled);
            });
            if let Err(reading) = read {
                self.scheduler.read_later(*reading);
            }
        }
    }

    /// Notifies the callers that wait for an adapter, once it is in memory or failed.
    fn notify_waiters(&mut self, id: &AdapterId, settled: Result<u64, EngineError>) {
        let is_here = self.scheduler.has_adapter_here(id);
        let why = settled.err().map(|error| error.to_string());
        for (_, waiter) in self.adapter_waiters.extract_if(.., |(expected, _)| expected == id) {
            let result = match &why {
                Some(why) if !is_here => {
                    Err(EngineError::AdapterUnread { id: id.to_string(), why: why.clone() })
                }
                _ => Ok(()),
            };
            let _ = waiter.send(result);
        }
    }
}

fn too_many_reads(most: usize) -> EngineError {
    let most = most as u64;
    WeightsError::AdapterLimit { what: "adapters that wait to be loaded", wanted: most + 1, most }.into()
}

impl Host {
    /// Registers an adapter. Returns its generation.
    ///
    /// # Errors
    /// Its files or its name are unusable, there is no memory for it, or too many others wait to be read.
    pub async fn register_adapter(
        &self,
        id: AdapterId,
        directory: PathBuf,
        registering: RegisterOptions,
    ) -> Result<u64, EngineError> {
        let (sender, receiver) = oneshot::channel();
        let read = move |engine: &mut EngineLoop| {
            let reading = engine.scheduler.reading(id, &directory, registering)?;
            let most = engine.scheduler.limits().registered;
            engine
                .read(reading, |engine, read| drop(sender.send(engine.scheduler.settle(read))))
                .map_err(|_| too_many_reads(most))
        };
        self.ask(read).await??;
        receiver.await.map_err(|_| EngineError::Lost)?
    }

    /// Requests that an adapter be loaded into memory; returns before it is.
    ///
    /// # Errors
    /// There is none of that name, or no memory for it.
    pub async fn load_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        let load = move |engine: &mut EngineLoop| {
            engine.scheduler.load_adapter(&id)?;
            engine.bring();
            Ok(())
        };
        self.ask(load).await?
    }

    /// Like `load_adapter`, but returns once it is in memory.
    ///
    /// # Errors
    /// There is none of that name, no memory for it, or it can't be read.
    pub async fn bring_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        let (sender, receiver) = oneshot::channel();
        let load = move |engine: &mut EngineLoop| {
            if engine.scheduler.load_adapter(&id)? {
                let _ = sender.send(Ok(()));
            } else {
                engine.adapter_waiters.push((id, sender));
                engine.bring();
            }
            Ok::<_, EngineError>(())
        };
        self.ask(load).await??;
        receiver.await.map_err(|_| EngineError::Lost)?
    }

    /// Drops and zeroes the cached prefixes of a scope. Returns how much that was.
    pub async fn forget(&self, share: CacheScope) -> Result<ForgottenScope, EngineError> {
        self.ask(move |engine| engine.scheduler.forget(share)).await
    }

    /// Removes the cached prefixes of a scope from the disk; `None` without a prefix cache there.
    ///
    /// # Errors
    /// The disk failed, so that some may be left.
    pub(crate) async fn forget_on_disk(&self, share: CacheScope) -> Result<Option<ClearedDisk>, EngineError> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let (sender, receiver) = oneshot::channel();
        disk.purge(share.0, move |cleared| drop(sender.send(cleared)));
        let cleared = receiver.await.map_err(|_| EngineError::Lost)?;
        cleared.map(Some).map_err(EngineError::Disk)
    }

    /// Unregisters an adapter. Sequences that run with it keep it; those that wait for it end.
    pub async fn unload_adapter(&self, id: AdapterId) -> Result<(), EngineError> {
        self.ask(move |engine| engine.scheduler.unload_adapter(&id)).await?
    }

    /// Sets whether an adapter, once in memory, may be evicted.
    pub async fn pin_adapter(&self, id: AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        self.ask(move |engine| engine.scheduler.pin_adapter(&id, is_pinned)).await?
    }

    /// All adapters, by name.
    pub async fn adapters(&self) -> Result<Vec<AdapterStatus>, EngineError> {
        self.ask(|engine| engine.scheduler.adapters()).await
    }

    /// Runs a closure on the runner's thread, between two steps, and returns its result.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut EngineLoop) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (sender, receiver) = oneshot::channel();
        if let Some(commands) = &self.commands {
            let command = Command::Do(Box::new(move |engine| drop(sender.send(what(engine)))));
            let _ = commands.send(command).await;
        }
        receiver.await.map_err(|_| EngineError::Lost)
    }
}
