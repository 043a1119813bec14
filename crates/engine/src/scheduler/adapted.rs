//! The runner's LoRA adapters: loading, replacing, and admission of the sequences that wait for one.

use std::path::Path;
use std::sync::Arc;

use super::{End, Refused, Request, Scheduler, Sequence, StepEvent};
use crate::adapters::{
    Adapter, AdapterId, AdapterRegistry, AdapterStatus, Limits, Read, Reading, RegisterOptions, Residency,
};
use crate::{AvailableMemory, EngineError};

/// How many sequences with other adapters may be admitted while one waits for memory; then it goes first.
const PASSED_MAX: u32 = 32;

/// A sequence's first adapter, and its switches with the positions from which they apply.
type InTurn = (Option<Arc<Adapter>>, Vec<(usize, Option<Arc<Adapter>>)>);

impl Scheduler {
    /// Sets the limits for adapters; none may be registered yet.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.shelf = AdapterRegistry::new(self.model.shape(), limits);
        self
    }

    /// Loads adapters only within the memory that this reports as available.
    #[must_use]
    pub fn within(mut self, spare: AvailableMemory) -> Self {
        self.shelf.keep_within(spare);
        self
    }

    /// The limits for adapters.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.shelf.limits()
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
    ) -> Result<Reading, EngineError> {
        self.shelf.reading(id, directory, registering)
    }

    /// What waiting sequences need from disk, to be read on such a thread.
    pub fn readings(&mut self) -> Vec<Reading> {
        self.shelf.readings()
    }

    /// Takes an adapter that was read and returns its generation. Sequences that use the one it replaces keep
    /// it.
    ///
    /// # Errors
    /// It can't be taken: its files, its name, or its memory. Sequences that wait for it end in the next
    /// step.
    pub fn settle(&mut self, read: Read) -> Result<u64, EngineError> {
        let (generation, gone) = self.shelf.settle(read)?;
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
        if !self.shelf.has(id) {
            return Err(EngineError::NoAdapter(id.to_string()));
        }
        self.shelf.forgive();
        match self.shelf.want(id, true) {
            Residency::Here => Ok(true),
            Residency::Coming => Ok(false),
            Residency::NoRoom | Residency::Never => Err(self.shelf.no_room(id)),
        }
    }

    /// Removes an adapter. Sequences that use it keep it; those that wait for it end.
    ///
    /// # Errors
    /// There is no adapter of that name.
    pub fn unload_adapter(&mut self, id: &AdapterId) -> Result<(), EngineError> {
        let gone = self.shelf.unload(id)?;
        self.wipe(|under| under.generation == gone);
        Ok(())
    }

    /// Sets whether an adapter is exempt from eviction.
    ///
    /// # Errors
    /// There is no adapter of that name.
    pub fn pin_adapter(&mut self, id: &AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        self.shelf.pin(id, is_pinned)
    }

    pub(crate) fn has_adapter_here(&self, id: &AdapterId) -> bool {
        self.shelf.is_here(id)
    }

    /// All registered adapters, by name.
    #[must_use]
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        self.shelf.status()
    }

    /// Whether every remaining sequence waits for an adapter that is being read, so that no step can do
    /// anything before one is settled.
    #[must_use]
    pub fn waits_for_adapters(&self) -> bool {
        let waits = |id: &AdapterId| !self.shelf.is_here(id) && !self.shelf.is_lost(id);
        let is_stuck = || self.waiting.in_turn().all(|text| text.awaited().is_some_and(waits));
        self.running.is_empty() && self.waiting.len() > 0 && self.shelf.is_bringing() && is_stuck()
    }

    /// Ends the sequences whose adapter can't be loaded.
    pub(super) fn end_without_adapter(&mut self, happened: &mut Vec<StepEvent>) {
        let shelf = &self.shelf;
        let is_lost = |text: &Sequence| text.awaited().is_some_and(|id| shelf.is_lost(id));
        let mut lost = Vec::new();
        while let Some(text) = self.waiting.remove(is_lost) {
            lost.push(text);
        }
        for text in lost {
            self.end(&text);
            happened.push(StepEvent::End { text: text.id, end: End::NoAdapter });
        }
        self.shelf.forgive();
    }

    /// Resolves the adapters of a request with switches, all at submission, so that it never has to wait
    /// midway.
    pub(super) fn in_turn(&mut self, request: &Request) -> Result<InTurn, Refused> {
        if request.later.is_empty() {
            return Ok((None, Vec::new()));
        }
        let mut held = |id: &Option<AdapterId>| match id {
            None => Ok(None),
            Some(id) if !self.shelf.has(id) => Err(Refused::NoAdapter),
            Some(id) => self.shelf.give(id).map(Some).ok_or(Refused::AdapterAway),
        };
        let first = held(&request.adapter)?;
        // The answer's first token is sampled from the output of the prompt's last one.
        let place = |from: usize| request.prompt.len().saturating_add(from.saturating_sub(1));
        let later = request.later.iter().map(|later| Ok((place(later.from), held(&later.adapter)?)));
        Ok((first, later.collect::<Result<_, _>>()?))
    }

    /// The next waiting sequence whose adapter is in memory, with that adapter set.
    pub(super) fn next_ready(&mut self) -> Option<Sequence> {
        let (shelf, starved) = (&self.shelf, &self.starved);
        let passed = starved.as_ref().filter(|(_, passed)| *passed >= PASSED_MAX).map(|(id, _)| id);
        let mut text = self.waiting.pop(|text| match text.awaited() {
            None => true,
            Some(id) => shelf.is_here(id) && passed.is_none_or(|starved| starved == id),
        })?;
        if let Some(id) = text.awaited().cloned() {
            text.adapter = self.shelf.give(&id);
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
        for id in self.waiting.in_turn().filter_map(Sequence::awaited) {
            if !wanted.contains(id) {
                wanted.push(id.clone());
            }
        }
        self.starved.take_if(|(id, _)| !wanted.contains(id));
        wanted.sort_by_key(|id| self.starved.as_ref().is_none_or(|(starved, _)| starved != id));
        for id in wanted {
            let found = self.shelf.want(&id, may_push);
            let is_starved = self.starved.as_ref().is_some_and(|(starved, _)| *starved == id);
            match found {
                Residency::NoRoom if self.starved.is_none() => self.starved = Some((id, 0)),
                Residency::Here | Residency::Coming if is_starved => self.starved = None,
                Residency::Never => self.shelf.lose(&id),
                _ => {}
            }
        }
    }
}

impl Sequence {
    /// The adapter that the sequence needs before it can be admitted.
    fn awaited(&self) -> Option<&AdapterId> {
        self.request.adapter.as_ref().filter(|_| self.adapter.is_none())
    }
}
