//! Reads Chat Completions responses into events, in every variant that servers produce.

mod calls;
mod choice;
mod delta;
mod logprobs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use conversation::answer::{ReadAnswer, StreamFault};
use domain::limits::CHOICES_MAX;
use domain::{Event, Usage};

use self::choice::ChoiceReading;
use self::delta::{Chunk, ChunkChoice, Delta};
use super::chunk::upstream_error;
use super::usage::UsageCounters;
use conversation::upstream_error::read_error;

/// The end marker of a stream.
const DONE: &[u8] = b"[DONE]";

#[derive(Debug, Default)]
pub struct Reader {
    id: Option<String>,
    model: Option<String>,
    created_unix_s: Option<u64>,
    is_started: bool,
    is_done: bool,
    has_read: bool,
    choices: BTreeMap<u32, ChoiceReading>,
    registers: UsageCounters,
    /// Decoded bytes of the answer: where there are any, zeros are not a usage report.
    content_bytes: u64,
    usage_sent: Option<Usage>,
}

impl ReadAnswer for Reader {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let json = data.trim_ascii();
        if self.is_done || json.is_empty() {
            return Ok(());
        }
        if json.starts_with(DONE) {
            if !self.has_read {
                return Err(StreamFault::Broken("empty"));
            }
            self.finish(out);
            return Ok(());
        }
        if name == b"error" {
            return Err(upstream_error(json));
        }
        self.read(json, false, out)?;
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.is_done {
            return Ok(());
        }
        let is_whole = !self.choices.is_empty() && self.choices.values().all(ChoiceReading::is_finished);
        if !is_whole {
            return Err(StreamFault::Broken(if self.has_read { "ended_early" } else { "empty" }));
        }
        self.finish(out);
        Ok(())
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if body.trim_ascii_start().starts_with(b"[") && read_error(body) != Default::default() {
            return Err(upstream_error(body));
        }
        if !self.read(body, true, out)? {
            return Err(StreamFault::Broken("not_a_completion"));
        }
        self.finish(out);
        Ok(())
    }
}

impl Reader {
    /// Reads one chunk or a buffered response. Returns whether it has a list of choices.
    fn read(&mut self, json: &[u8], is_whole: bool, out: &mut Vec<Event>) -> Result<bool, StreamFault> {
        let chunk = Chunk::read(json, &mut self.registers)?;
        if chunk.is_failure {
            return Err(upstream_error(json));
        }
        self.has_read = true;
        self.id = self.id.take().or(chunk.id);
        self.model = self.model.take().or(chunk.model);
        self.created_unix_s = self.created_unix_s.or(chunk.created_unix_s);
        if !chunk.choices.is_empty() {
            self.start(out);
        }
        for (position, chunk_choice) in chunk.choices.iter().enumerate() {
            self.read_choice(json, position, chunk_choice, is_whole, out)?;
        }
        if self.is_started && chunk.has_usage {
            self.emit_usage(true, out);
        }
        Ok(chunk.has_choices)
    }

    /// Emits `Start` once. Some servers send a first chunk without choices or id, so the caller waits for one
    /// that has choices.
    fn start(&mut self, out: &mut Vec<Event>) {
        if self.is_started {
            return;
        }
        self.is_started = true;
        out.push(Event::Start {
            id: self.id.clone(),
            model: self.model.clone(),
            created_unix_s: self.created_unix_s,
        });
    }

    fn read_choice(
        &mut self,
        json: &[u8],
        position: usize,
        chunk_choice: &ChunkChoice<'_>,
        is_whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        let number = chunk_choice.index.unwrap_or(position as u64);
        let number = u32::try_from(number).map_err(|_| StreamFault::Broken("oversized"))?;
        if self.choices.len() >= CHOICES_MAX as usize && !self.choices.contains_key(&number) {
            return Err(StreamFault::Broken("oversized"));
        }
        let choice = self.choices.entry(number).or_insert_with(|| ChoiceReading::new(number));
        if choice.is_finished() {
            // Chunks that content filters append after the finish reason are not part of the answer.
            return Ok(());
        }
        let delta = match chunk_choice.delta {
            Some(span) => Delta::read(span.of(json))?,
            None => Delta::default(),
        };
        choice.begin_chunk(json);
        let before = out.len();
        self.content_bytes += choice.take(&delta, chunk_choice, is_whole || chunk_choice.is_message, out)?;
        let tokens = logprobs::read(chunk_choice, &delta, json)?;
        // Logprobs go next to their text: after the part's start, before its last delta.
        let is_delta = |event: &Event| matches!(event, Event::Delta { .. });
        let at = out.iter().skip(before).rposition(is_delta).map_or(out.len(), |at| before + at);
        let tokens = tokens.into_iter().map(|tokens| Event::Logprobs { choice: number, tokens });
        out.splice(at..at, tokens);
        if let Some(word) = chunk_choice.finish.as_deref() {
            choice.finish(Some(word), out);
        }
        Ok(())
    }

    /// Counts that come before the end may be zeros that are not a report yet.
    fn emit_usage(&mut self, is_early: bool, out: &mut Vec<Event>) {
        let usage = self.registers.usage(self.content_bytes);
        let has_counts = |usage: &Usage| usage.prompt_total() > 0 || usage.completion_total() > 0;
        if let Some(usage) = usage.filter(|usage| !is_early || has_counts(usage))
            && self.usage_sent != Some(usage)
        {
            self.usage_sent = Some(usage);
            out.push(Event::Usage(usage));
        }
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.start(out);
        for choice in self.choices.values_mut().filter(|choice| !choice.is_finished()) {
            choice.finish(None, out);
        }
        self.emit_usage(false, out);
        self.is_done = true;
        out.push(Event::Done);
    }
}
