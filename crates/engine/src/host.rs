//! Runs a `Scheduler` on its own thread. Commands come over a channel, and each sequence's events go back over a
//! channel of its own. Dropping the receiver cancels the sequence.

mod adapted;
mod passages;
mod serving_gate;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use domain::limits::ENGINE_COMMANDS_MAX;
use domain::runtime::RuntimeLoad;
use prefixes::DiskCache;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, oneshot};
use weights::adapters::Limits;

use self::adapted::{Job, read_all};
use self::passages::EndedReadings;
pub(crate) use self::passages::{Asking, Reading};
use crate::EngineError;
use crate::adapters::AdapterId;
use crate::backend::Backend;
use crate::request::{EmbeddingInput, FinishReason, Refused, Request, SequenceId, StepEvent};
use crate::sampler::SampledToken;
use crate::scheduler::{Scheduler, SchedulerLimits};
use serving_gate::ServingGate;

/// Events of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceEvent {
    Refused(Refused),
    /// The sequence was scheduled; this many tokens of its prompt came from the prefix cache.
    Scheduled {
        cached_tokens: usize,
    },
    Token(SampledToken),
    /// The final hidden state of a sequence that is only prefilled (embeddings, reranking).
    State(Vec<f32>),
    End(FinishReason),
}

/// Events of a sequence beside its tokens: refused or scheduled, its state, and its end.
const EVENTS_BESIDE_TOKENS: usize = 4;

enum Command {
    Generate(Request, mpsc::Sender<SequenceEvent>),
    Embed(EmbeddingInput, mpsc::Sender<SequenceEvent>),
    /// Anything else that is done between two steps.
    Do(Box<dyn FnOnce(&mut EngineLoop) + Send>),
    /// Wakes the thread, which then drops the prefixes of the readings that have ended, and takes what was read from
    /// the disk.
    Wake,
}

/// Hands a command over without waiting. A sequence is refused as by a full queue if too many commands wait
/// for the current step to end; if the host is gone, its receiver sees a closed channel.
fn submit(commands: &mpsc::Sender<Command>, command: Command) {
    if let Err(TrySendError::Full(Command::Generate(_, events) | Command::Embed(_, events))) =
        commands.try_send(command)
    {
        let _ = events.try_send(SequenceEvent::Refused(Refused::Full));
    }
}

/// A runner's threads. Dropping it ends them, after the current step.
#[derive(Debug)]
pub struct Host {
    commands: Option<mpsc::Sender<Command>>,
    longest: usize,
    limits: Limits,
    block_bytes: usize,
    is_lost: Arc<AtomicBool>,
    load: Arc<Mutex<RuntimeLoad>>,
    serving_gate: Arc<ServingGate>,
    /// Counter of requests whose passages share a cached prefix.
    readings: Arc<AtomicU64>,
    ended_readings: EndedReadings,
    /// The prefix cache on disk.
    disk: Option<Arc<DiskCache>>,
    /// The runner's thread, and the one that reads adapter files.
    threads: Vec<JoinHandle<()>>,
}

struct EngineLoop {
    scheduler: Scheduler,
    commands: mpsc::Receiver<Command>,
    open: HashMap<SequenceId, mpsc::Sender<SequenceEvent>>,
    /// Adapter reads for the reader thread.
    jobs: SyncSender<Job>,
    /// Callers that wait until an adapter is in memory.
    adapter_waiters: Vec<(AdapterId, oneshot::Sender<Result<(), EngineError>>)>,
    ended_readings: EndedReadings,
    /// Taken while there are sequences to run, so that background work pauses.
    serving_gate: Arc<ServingGate>,
    load: Arc<Mutex<RuntimeLoad>>,
}

impl Host {
    /// # Errors
    /// The memory budget is too small, or no thread can be started.
    pub fn start(model: impl Into<Backend>, scheduler_limits: SchedulerLimits) -> Result<Self, EngineError> {
        Self::start_with(model, scheduler_limits, Limits::default())
    }

    /// Like `start`, with other limits for adapters.
    ///
    /// # Errors
    /// The memory budget is too small, or no thread can be started.
    pub fn start_with(
        model: impl Into<Backend>,
        scheduler_limits: SchedulerLimits,
        limits: Limits,
    ) -> Result<Self, EngineError> {
        Self::of(Scheduler::new(model, scheduler_limits)?.with_limits(limits))
    }

    /// Starts the threads for a configured runner.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn of(runner: Scheduler) -> Result<Self, EngineError> {
        let (longest, limits, block_bytes) = (runner.longest(), runner.limits(), runner.block_bytes());
        let (commands, receiver) = mpsc::channel(ENGINE_COMMANDS_MAX);
        // One read for each adapter that may be registered.
        let (jobs, to_be_read) = sync_channel(limits.registered.max(1));
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&is_lost);
        let serving_gate = Arc::new(ServingGate::default());
        let load = Arc::new(Mutex::new(runner.load()));
        let disk = runner.disk();
        if let Some(disk) = &disk {
            let wake = commands.downgrade();
            // Where it finds no room, the thread has commands to take and does not sleep.
            disk.set_waker(move || {
                if let Some(commands) = wake.upgrade() {
                    drop(commands.try_send(Command::Wake));
                }
            });
        }
        let ended_readings = EndedReadings::default();
        let engine = EngineLoop {
            scheduler: runner,
            commands: receiver,
            open: HashMap::new(),
            jobs,
            adapter_waiters: Vec::new(),
            ended_readings: Arc::clone(&ended_readings),
            serving_gate: Arc::clone(&serving_gate),
            load: Arc::clone(&load),
        };
        let run = move || {
            if engine.run().is_err() {
                lost.store(true, Ordering::Release);
            }
        };
        // A weak sender: the reader thread must not keep the command channel open once the host is dropped.
        let back = commands.downgrade();
        let threads =
            vec![thread("engine", run)?, thread("engine-reader", move || read_all(&to_be_read, &back))?];
        let readings = Arc::default();
        let commands = Some(commands);
        Ok(Self {
            commands,
            longest,
            limits,
            block_bytes,
            is_lost,
            load,
            serving_gate,
            readings,
            ended_readings,
            disk,
            threads,
        })
    }

    /// The longest sequence that can run here, prompt and output together.
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// The limits on adapters.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes of a KV cache block.
    pub const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Whether the model failed for good; no more events are sent.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// The load, as of the last step.
    pub fn load(&self) -> RuntimeLoad {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prefix cache on disk.
    pub(crate) fn disk(&self) -> Option<&DiskCache> {
        self.disk.as_deref()
    }

    /// Where background work waits while requests are served.
    pub(crate) fn serving_gate(&self) -> &ServingGate {
        &self.serving_gate
    }

    /// Submits a sequence. The channel holds all events that it can have, so that a client that reads slowly
    /// never holds the others up; it closes early if the model fails.
    pub fn generate(&self, request: Request) -> mpsc::Receiver<SequenceEvent> {
        let (sender, receiver) = mpsc::channel(self.longest + EVENTS_BESIDE_TOKENS);
        if let Some(commands) = &self.commands {
            submit(commands, Command::Generate(request, sender));
        }
        receiver
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.commands = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for EngineLoop {
    fn drop(&mut self) {
        self.serving_gate.set(false);
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(EngineError::Thread)
}

impl EngineLoop {
    fn run(mut self) -> Result<(), EngineError> {
        loop {
            if !self.take_all() {
                return Ok(());
            }
            self.call_off();
            for happened in self.scheduler.step()? {
                self.send_event(happened);
            }
            self.bring();
        }
    }

    /// Takes the pending commands, and blocks while there is nothing to run. `false` once the host was
    /// dropped.
    fn take_all(&mut self) -> bool {
        self.note();
        let is_idle = self.scheduler.is_idle() || self.scheduler.waits_for_adapters();
        if is_idle || self.scheduler.waits_for_disk() {
            self.serving_gate.set(!is_idle);
            match self.commands.blocking_recv() {
                Some(command) => {
                    self.serving_gate.set(true);
                    self.take(command);
                }
                None => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => {
                    self.end_readings();
                    self.note();
                    return true;
                }
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Publishes the current load.
    fn note(&self) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = self.scheduler.load();
    }

    fn take(&mut self, command: Command) {
        let (taken, sender) = match command {
            Command::Generate(request, sender) => (self.scheduler.submit(request), sender),
            Command::Embed(input, sender) => (self.scheduler.read(input), sender),
            Command::Do(what) => return what(self),
            // Done once all commands are taken.
            Command::Wake => return,
        };
        match taken {
            Ok(text) => {
                self.open.insert(text, sender);
            }
            Err(refused) => drop(sender.try_send(SequenceEvent::Refused(refused))),
        }
    }

    /// Cancels the sequences whose receivers were dropped.
    fn call_off(&mut self) {
        let runner = &mut self.scheduler;
        self.open.retain(|text, sender| {
            let is_left = sender.is_closed();
            if is_left {
                runner.cancel(*text);
            }
            !is_left
        });
    }

    fn send_event(&mut self, happened: StepEvent) {
        let (text, event) = match happened {
            StepEvent::Scheduled { sequence: text, cached_tokens: remembered } => {
                (text, SequenceEvent::Scheduled { cached_tokens: remembered })
            }
            StepEvent::Token { sequence: text, drawn } => (text, SequenceEvent::Token(drawn)),
            StepEvent::State { sequence: text, state } => (text, SequenceEvent::State(state)),
            StepEvent::End { sequence: text, end } => {
                if let Some(open) = self.open.remove(&text) {
                    // The receiver may have been dropped meanwhile.
                    let _ = open.try_send(SequenceEvent::End(end));
                }
                return;
            }
        };
        if let Some(open) = self.open.get(&text) {
            let _ = open.try_send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair_queue::Group;

    #[test]
    fn a_sequence_that_finds_too_many_commands_waiting_is_refused_as_by_a_full_queue() {
        let (commands, mut waiting) = mpsc::channel(1);
        let mut receivers: Vec<_> = (0..2)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(EVENTS_BESIDE_TOKENS);
                let input =
                    EmbeddingInput { tokens: vec![1], group: Group(1), adapter: None, shared_prefix: None };
                submit(&commands, Command::Embed(input, sender));
                receiver
            })
            .collect();
        assert_eq!(receivers.pop().unwrap().try_recv(), Ok(SequenceEvent::Refused(Refused::Full)));
        assert_eq!(receivers.pop().unwrap().try_recv(), Err(TryRecvError::Empty));
        assert!(matches!(waiting.try_recv(), Ok(Command::Embed(..))));
    }
}
