//! The runner's LoRA adapters: loading, replacing, and admission of the sequences that wait for one.

use std::path::Path;
use std::sync::Arc;

use kernels::Adapter;
use weights::AvailableMemory;
use weights::adapters::Limits;

use super::Scheduler;
use crate::EngineError;
use crate::adapters::{
    AdapterId, AdapterRead, AdapterReadResult, AdapterRegistry, AdapterStatus, RegisterOptions, Residency,
};
use crate::limits::PASSED_MAX;
use crate::request::{FinishReason, Refused, Request, StepEvent};
use crate::sequence::Sequence;

/// A sequence's first adapter, and its switches with the positions from which they apply.
type InTurn = (Option<Arc<Adapter>>, Vec<(usize, Option<Arc<Adapter>>)>);

impl Scheduler {
    /// Sets the limits for adapters; none may be registered yet.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.adapter_registry = AdapterRegistry::new(self.model.shape(), limits);
        self.seal_for_disk();
        self
    }

    /// Loads adapters only within the memory that this reports as available.
    pub fn within(mut self, available_memory: AvailableMemory) -> Self {
        self.adapter_registry.keep_within(available_memory);
        self
    }

    /// The limits for adapters.
    pub const fn limits(&self) -> Limits {
        self.adapter_registry.limits()
    }

    /// Prepares the registration of an adapter. The `Reading` is to be run on a thread that may block on the
    /// disk, and its result passed to `settle`.
    ///
    /// # Errors
    /// It can't be registered, whatever its files contain.
    pub fn reading(
        &self,
        id: AdapterId,
        directory: &Path,
        registering: RegisterOptions,
    ) -> Result<AdapterRead, EngineError> {
        self.adapter_registry.reading(id, directory, registering)
    }

    /// What waiting sequences need from disk, to be read on such a thread.
    pub fn readings(&mut self) -> Vec<AdapterRead> {
        self.adapter_registry.readings()
    }

    /// Returns one of those, which is handed out again by the next call.
    pub(crate) fn read_later(&mut self, reading: AdapterRead) {
        self.adapter_registry.read_later(reading);
    }

    /// Takes an adapter that was read and returns its generation. Sequences that use the one it replaces keep
    /// it.
    ///
    /// # Errors
    /// It can't be taken: its files, its name, or its memory. Sequences that wait for it end in the next
    /// step.
    pub fn settle(&mut self, read: AdapterReadResult) -> Result<u64, EngineError> {
        let (generation, gone) = self.adapter_registry.settle(read)?;
        if let Some(gone) = gone {
            self.wipe(|under| under.generation == gone);
        }
        Ok(generation)
    }

    /// Requests that an adapter be loaded, evicting others if necessary. `true` if it is in memory already.
    ///
    /// # Errors
    /// There is no adapter of that name, or no memory for it.
    pub fn load_adapter(&mut self, id: &AdapterId) -> Result<bool, EngineError> {
        if !self.adapter_registry.has(id) {
            return Err(EngineError::NoAdapter(id.to_string()));
        }
        self.adapter_registry.forgive();
        match self.adapter_registry.want(id, true) {
            Residency::Here => Ok(true),
            Residency::Coming => Ok(false),
            Residency::NoRoom | Residency::Never => Err(self.adapter_registry.limit_error(id).into()),
        }
    }

    /// Removes an adapter. Sequences that use it keep it; those that wait for it end.
    pub fn unload_adapter(&mut self, id: &AdapterId) -> Result<(), EngineError> {
        let gone = self.adapter_registry.unload(id)?;
        self.wipe(|under| under.generation == gone);
        Ok(())
    }

    /// Sets whether an adapter is exempt from eviction.
    pub fn pin_adapter(&mut self, id: &AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        self.adapter_registry.pin(id, is_pinned)
    }

    pub(crate) fn has_adapter_here(&self, id: &AdapterId) -> bool {
        self.adapter_registry.is_here(id)
    }

    /// All registered adapters, by name.
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        self.adapter_registry.status()
    }

    /// Whether every remaining sequence waits for an adapter that is being read, so that no step can do
    /// anything before one is settled.
    pub fn waits_for_adapters(&self) -> bool {
        let waits = |id: &AdapterId| !self.adapter_registry.is_here(id) && !self.adapter_registry.is_lost(id);
        let is_stuck = || self.waiting.in_turn().all(|text| text.awaited_adapter().is_some_and(waits));
        self.running.is_empty() && self.waiting.len() > 0 && self.adapter_registry.is_bringing() && is_stuck()
    }

    /// Ends the sequences whose adapter can't be loaded.
    pub(super) fn end_without_adapter(&mut self, happened: &mut Vec<StepEvent>) {
        let shelf = &self.adapter_registry;
        let is_lost = |text: &Sequence| text.awaited_adapter().is_some_and(|id| shelf.is_lost(id));
        let mut lost = Vec::new();
        while let Some(text) = self.waiting.remove(is_lost) {
            lost.push(text);
        }
        for text in lost {
            self.end(&text);
            happened.push(StepEvent::End { sequence: text.id, end: FinishReason::NoAdapter });
        }
        self.adapter_registry.forgive();
    }

    /// Resolves the adapters of a request with switches, all at submission, so that it never has to wait
    /// midway.
    pub(super) fn in_turn(&mut self, request: &Request) -> Result<InTurn, Refused> {
        if request.adapter_switches.is_empty() {
            return Ok((None, Vec::new()));
        }
        let mut held = |id: &Option<AdapterId>| match id {
            None => Ok(None),
            Some(id) if !self.adapter_registry.has(id) => Err(Refused::NoAdapter),
            Some(id) => self.adapter_registry.give(id).map(Some).ok_or(Refused::AdapterNotResident),
        };
        let first = held(&request.adapter)?;
        // The answer's first token is sampled from the output of the prompt's last one.
        let position = |from: usize| request.prompt.len().saturating_add(from.saturating_sub(1));
        let later =
            request.adapter_switches.iter().map(|later| Ok((position(later.from), held(&later.adapter)?)));
        Ok((first, later.collect::<Result<_, _>>()?))
    }

    /// The next waiting sequence whose adapter is in memory, with that adapter set.
    pub(super) fn next_ready(&mut self) -> Option<Sequence> {
        let (shelf, starved) = (&self.adapter_registry, &self.starved);
        let passed = starved.as_ref().filter(|(_, passed)| *passed >= PASSED_MAX).map(|(id, _)| id);
        let mut text = self.waiting.pop(|text| match text.awaited_adapter() {
            None => true,
            Some(id) => shelf.is_here(id) && passed.is_none_or(|starved| starved == id),
        })?;
        if let Some(id) = text.awaited_adapter().cloned() {
            text.adapter = self.adapter_registry.give(&id);
            if let Some((starved, passed)) = &mut self.starved {
                *passed += u32::from(*starved != id);
            }
        }
        Some(text)
    }

    /// Requests the adapters that sequences wait for, in scheduling order. An adapter is evicted for another
    /// only if no sequence waits for it, too, and only with `may_push`: once every sequence that could be
    /// admitted is.
    pub(super) fn send_for_adapters(&mut self, may_push: bool) {
        let mut wanted: Vec<AdapterId> = Vec::new();
        for id in self.waiting.in_turn().filter_map(Sequence::awaited_adapter) {
            if !wanted.contains(id) {
                wanted.push(id.clone());
            }
        }
        self.starved.take_if(|(id, _)| !wanted.contains(id));
        wanted.sort_by_key(|id| self.starved.as_ref().is_none_or(|(starved, _)| starved != id));
        for id in wanted {
            let found = self.adapter_registry.want(&id, may_push);
            let is_starved = self.starved.as_ref().is_some_and(|(starved, _)| *starved == id);
            match found {
                Residency::NoRoom if self.starved.is_none() => self.starved = Some((id, 0)),
                Residency::Here | Residency::Coming if is_starved => self.starved = None,
                Residency::Never => self.adapter_registry.lose(&id),
                _ => {}
            }
        }
    }
}

impl Sequence {
    /// The adapter that the sequence needs before it can be admitted.
    fn awaited_adapter(&self) -> Option<&AdapterId> {
        self.request.adapter.as_ref().filter(|_| self.adapter.is_none())
    }
}
