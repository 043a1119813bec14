//! Adapters of a runner: what is asked of them, and who waits for which.

use std::path::Path;
use std::sync::Arc;

use super::{End, Happened, Refused, Request, Runner, Text};
use crate::adapters::{Adapter, AdapterId, AdapterStatus, Limits, Read, Reading, Registering, Shelf, Wanted};
use crate::{EngineError, Spare};

/// While one waits for an adapter that finds no room, so many texts with others are let in, and no more before it.
const PASSED_MAX: u32 = 32;

/// An adapter, and others with the places that they are had from.
type InTurn = (Option<Arc<Adapter>>, Vec<(usize, Option<Arc<Adapter>>)>);

impl Runner {
    /// The same with other limits for adapters; none is registered yet.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.shelf = Shelf::new(self.model.shape(), limits);
        self
    }

    /// The same, where adapters come into memory within what is left of it.
    #[must_use]
    pub fn within(mut self, spare: Spare) -> Self {
        self.shelf.keep_within(spare);
        self
    }

    /// What of adapters there may be at once.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.shelf.limits()
    }

    /// What is to be read so that an adapter can be registered, on a thread that may wait for a disk; `settle` takes it.
    ///
    /// # Errors
    /// It can't be registered, whatever its files are.
    pub fn reading(
        &self,
        id: AdapterId,
        directory: &Path,
        registering: Registering,
    ) -> Result<Reading, EngineError> {
        self.shelf.reading(id, directory, registering)
    }

    /// What is to be read for texts that wait, on such a thread.
    pub fn readings(&mut self) -> Vec<Reading> {
        self.shelf.readings()
    }

    /// Takes what was read, and tells its generation. Texts that have the one that it replaces keep it.
    ///
    /// # Errors
    /// It can't be taken: its files, its name, or the room for it. Who waited for it is told in the next step.
    pub fn settle(&mut self, read: Read) -> Result<u64, EngineError> {
        let (generation, gone) = self.shelf.settle(read)?;
        if let Some(gone) = gone {
            self.wipe(|under| under.generation == gone);
        }
        Ok(generation)
    }

    /// Has an adapter brought into memory, if there is room or can be made. `true` where it is there already.
    ///
    /// # Errors
    /// There is none of that name, or no room.
    pub fn load_adapter(&mut self, id: &AdapterId) -> Result<bool, EngineError> {
        if !self.shelf.has(id) {
            return Err(EngineError::NoAdapter(id.to_string()));
        }
        self.shelf.forgive();
        match self.shelf.want(id, true) {
            Wanted::Here => Ok(true),
            Wanted::Coming => Ok(false),
            Wanted::NoRoom | Wanted::Never => Err(self.shelf.no_room(id)),
        }
    }

    /// Forgets an adapter. Texts that have it keep it; those that wait for it end.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn unload_adapter(&mut self, id: &AdapterId) -> Result<(), EngineError> {
        let gone = self.shelf.unload(id)?;
        self.wipe(|under| under.generation == gone);
        Ok(())
    }

    /// Whether an adapter stays in memory once it is there.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn pin_adapter(&mut self, id: &AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        self.shelf.pin(id, is_pinned)
    }

    pub(crate) fn has_adapter_here(&self, id: &AdapterId) -> bool {
        self.shelf.is_here(id)
    }

    /// All adapters, by name.
    #[must_use]
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        self.shelf.status()
    }

    /// Whether all that is left waits for adapters that are being read: no step does anything before one is settled.
    #[must_use]
    pub fn waits_for_adapters(&self) -> bool {
        let waits = |id: &AdapterId| !self.shelf.is_here(id) && !self.shelf.is_lost(id);
        let is_stuck = || self.waiting.in_turn().all(|text| text.awaited().is_some_and(waits));
        self.running.is_empty() && self.waiting.len() > 0 && self.shelf.is_bringing() && is_stuck()
    }

    /// Ends the texts whose adapter will not come.
    pub(super) fn end_without_adapter(&mut self, happened: &mut Vec<Happened>) {
        let shelf = &self.shelf;
        let is_lost = |text: &Text| text.awaited().is_some_and(|id| shelf.is_lost(id));
        let mut lost = Vec::new();
        while let Some(text) = self.waiting.remove(is_lost) {
            lost.push(text);
        }
        for text in lost {
            self.end(&text);
            happened.push(Happened::End { text: text.id, end: End::NoAdapter });
        }
        self.shelf.forgive();
    }

    /// What a text has one after the other: all of it from now on, so that it never waits in its midst.
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
        // The first token of the answer is drawn of the prompt's last.
        let place = |from: usize| request.prompt.len().saturating_add(from.saturating_sub(1));
        let later = request.later.iter().map(|later| Ok((place(later.from), held(&later.adapter)?)));
        Ok((first, later.collect::<Result<_, _>>()?))
    }

    /// The next text that has all that it needs, and its adapter with it.
    pub(super) fn next_ready(&mut self) -> Option<Text> {
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

    /// Has the adapters brought that texts wait for, in the order of their turns. Others leave for them only where nobody
    /// waits for those, too: `may_push` when all that could have a turn have it.
    pub(super) fn send_for_adapters(&mut self, may_push: bool) {
        let mut wanted: Vec<AdapterId> = Vec::new();
        for id in self.waiting.in_turn().filter_map(Text::awaited) {
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
                Wanted::NoRoom if self.starved.is_none() => self.starved = Some((id, 0)),
                Wanted::Here | Wanted::Coming if is_starved => self.starved = None,
                Wanted::Never => self.shelf.lose(&id),
                _ => {}
            }
        }
    }
}

impl Text {
    /// The adapter that it can't have its turn without.
    fn awaited(&self) -> Option<&AdapterId> {
        self.request.adapter.as_ref().filter(|_| self.adapter.is_none())
    }
}
