//! Reads responses of the Gemini API, streamed or buffered.

mod choice;
mod logprobs;
mod part;
mod partial;
mod usage;

use std::hash::{DefaultHasher, Hash, Hasher};

use conversation::answer::{ReadAnswer, StreamFault};
use domain::limits::CHOICES_MAX;
use domain::{Event, Finish, Json, Reason};
use json::{Cursor, Kind, Span, Value};

use self::choice::Choice;
use self::part::optional_text;
use super::failure::upstream_error;
use super::names::{camel, each, raw};
use crate::limits::CALL_ID_STEM_BYTES_MAX;

pub(super) use self::usage::UsageCounters;

#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    done: bool,
    choices: Vec<Choice>,
    registers: UsageCounters,
    /// The prefix of generated call ids: the response's own id, or a digest where it has none.
    id_stem: String,
    calls: u64,
}

/// The members of a chunk. All are located before any is processed, since an error may come last.
#[derive(Default)]
struct Chunk {
    candidates: Option<Span>,
    usage: Option<Span>,
    feedback: Option<Span>,
    id: Option<String>,
    model: Option<String>,
    is_error: bool,
}

/// A candidate of a chunk. Its parts are read once its choice is known.
#[derive(Default)]
struct Candidate {
    index: Option<u32>,
    content: Option<Span>,
    finish: Option<String>,
    explanation: Option<String>,
    logprobs: Option<Span>,
    citations: Option<Span>,
    searches: u64,
}

impl ReadAnswer for Reader {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        let mut cursor = Cursor::new(data)?;
        if !matches!(cursor.kind()?, Kind::Object | Kind::Array) {
            return Err(StreamFault::Broken("not_an_object"));
        }
        // An error may arrive as the only element of an array.
        each(&mut cursor, |cursor, _| {
            let span = cursor.skip()?;
            self.chunk(span.of(data), out)
        })?;
        cursor.end()?;
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        if self.choices.is_empty() {
            return Err(StreamFault::Broken("empty"));
        }
        if self.choices.iter().any(|choice| !choice.is_finished) {
            return Err(StreamFault::Broken("ended_early"));
        }
        self.done = true;
        out.push(Event::Done);
        Ok(())
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        self.event(b"", body, out)?;
        if self.choices.is_empty() {
            return Err(StreamFault::Broken("not_an_answer"));
        }
        let is_object = Cursor::new(body)?.kind()? == Kind::Object;
        if is_object {
            // A complete document ends here, even without a finish reason.
            for choice in self.choices.iter_mut().filter(|choice| choice.has_content()) {
                choice.finish(None, None, out);
            }
        }
        self.end(out)
    }
}

impl Reader {
    fn chunk(&mut self, json: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let chunk = read_chunk(json)?;
        if chunk.is_error {
            return Err(upstream_error(json));
        }
        self.start(&chunk, json, out);
        if let Some(span) = chunk.candidates {
            let mut unnumbered = 0;
            let mut cursor = Cursor::new(span.of(json))?;
            each(&mut cursor, |cursor, position| self.candidate(cursor, position, &mut unnumbered, out))?;
        }
        if let Some(span) = chunk.feedback {
            self.feedback(span.of(json), out)?;
        }
        if let Some(span) = chunk.usage {
            self.registers.read(span.of(json))?;
            let has_content = self.choices.iter().any(Choice::has_content);
            out.extend(self.registers.usage(has_content).map(Event::Usage));
        }
        Ok(())
    }

    fn start(&mut self, chunk: &Chunk, json: &[u8], out: &mut Vec<Event>) {
        // An empty chunk only keeps the stream alive.
        let is_blank = chunk.candidates.is_none() && chunk.usage.is_none() && chunk.feedback.is_none();
        if self.started || (is_blank && chunk.id.is_none()) {
            return;
        }
        self.started = true;
        let named = chunk.id.as_deref().unwrap_or_default();
        self.id_stem =
            named.chars().filter(char::is_ascii_alphanumeric).take(CALL_ID_STEM_BYTES_MAX).collect();
        if self.id_stem.is_empty() {
            let mut hasher = DefaultHasher::new();
            json.hash(&mut hasher);
            self.id_stem = format!("{:016x}", hasher.finish());
        }
        out.push(Event::Start { id: chunk.id.clone(), model: chunk.model.clone(), created_unix_s: None });
    }

    fn candidate(
        &mut self,
        cursor: &mut Cursor<'_>,
        position: usize,
        unnumbered: &mut usize,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        let bytes = cursor.bytes();
        let Some(candidate) = read_candidate(cursor)? else { return Ok(()) };
        self.registers.note_searches(candidate.searches);
        let index = candidate.index.unwrap_or_else(|| {
            // An index of zero may be omitted. Servers that never send one mean the order.
            *unnumbered += 1;
            if *unnumbered == 1 { 0 } else { u32::try_from(position).unwrap_or(u32::MAX) }
        });
        let (at, id_stem, calls) = (self.choice(index)?, self.id_stem.as_str(), &mut self.calls);
        let Some(choice) = self.choices.get_mut(at) else { return Ok(()) };
        if let Some(span) = candidate.content {
            each_part(span.of(bytes), |part| {
                let make_id = || {
                    *calls += 1;
                    format!("call_{id_stem}_{}", *calls - 1)
                };
                choice.part(part, make_id, out)
            })?;
        }
        if let Some(span) = candidate.citations {
            push_citations(choice, span.of(bytes), out)?;
        }
        if let Some(span) = candidate.logprobs
            && let Some(tokens) = logprobs::read(span.of(bytes))?
        {
            out.push(Event::Logprobs { choice: index, tokens });
        }
        if let Some(word) = candidate.finish {
            choice.finish(Some(&word), candidate.explanation, out);
        }
        Ok(())
    }

    /// The position of the choice with this index, which is added if it is new.
    fn choice(&mut self, index: u32) -> Result<usize, StreamFault> {
        if let Some(at) = self.choices.iter().position(|choice| choice.index == index) {
            return Ok(at);
        }
        if index >= CHOICES_MAX {
            return Err(StreamFault::Broken("too_many_choices"));
        }
        self.choices.push(Choice::new(index));
        Ok(self.choices.len() - 1)
    }

    /// A blocked prompt has no candidates, only this feedback.
    fn feedback(&mut self, json: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let mut cursor = Cursor::new(json)?;
        let (mut word, mut explanation) = (None, None);
        if cursor.kind()? == Kind::Object {
            cursor.object(|cursor, member| {
                match &*camel(&member.key.decode()) {
                    "blockReason" => word = optional_text(cursor)?,
                    "blockReasonMessage" => explanation = optional_text(cursor)?,
                    _ => drop(cursor.skip()?),
                }
                Ok::<(), StreamFault>(())
            })?;
        }
        if word.is_none() || !self.choices.is_empty() {
            return Ok(());
        }
        let mut choice = Choice::new(0);
        choice.finish_with(
            Finish { reason: Reason::ContentFilter, raw: word, sequence: None, explanation },
            out,
        );
        self.choices.push(choice);
        Ok(())
    }
}

fn read_chunk(json: &[u8]) -> Result<Chunk, StreamFault> {
    let mut chunk = Chunk::default();
    let mut cursor = Cursor::new(json)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    cursor.object(|cursor, member| {
        match (&*camel(&member.key.decode()), cursor.kind()?) {
            ("candidates", Kind::Array | Kind::Object) => chunk.candidates = Some(cursor.skip()?),
            ("usageMetadata", Kind::Object) => chunk.usage = Some(cursor.skip()?),
            ("promptFeedback", Kind::Object) => chunk.feedback = Some(cursor.skip()?),
            ("responseId", _) => chunk.id = optional_text(cursor)?.filter(|id| !id.is_empty()),
            ("modelVersion", _) => chunk.model = optional_text(cursor)?.filter(|model| !model.is_empty()),
            ("error", _) => chunk.is_error = cursor.value()?.is_something(cursor.bytes()),
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    Ok(chunk)
}

fn read_candidate(cursor: &mut Cursor<'_>) -> Result<Option<Candidate>, StreamFault> {
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let mut candidate = Candidate::default();
    cursor.object(|cursor, member| {
        match (&*camel(&member.key.decode()), cursor.kind()?) {
            ("index", _) => {
                candidate.index = cursor.count()?.map(|index| u32::try_from(index).unwrap_or(u32::MAX))
            }
            ("content", Kind::Object) => candidate.content = Some(cursor.skip()?),
            ("finishReason", _) => candidate.finish = optional_text(cursor)?.filter(|word| !word.is_empty()),
            ("finishMessage", _) => candidate.explanation = optional_text(cursor)?,
            ("logprobsResult", Kind::Object) => candidate.logprobs = Some(cursor.skip()?),
            ("groundingMetadata", Kind::Object) => candidate.searches = count_searches(cursor)?,
            ("citationMetadata", Kind::Object) => candidate.citations = Some(cursor.skip()?),
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    Ok(Some(candidate))
}

fn count_searches(cursor: &mut Cursor<'_>) -> Result<u64, StreamFault> {
    let mut searches = 0;
    cursor.object(|cursor, member| {
        if &*camel(&member.key.decode()) != "webSearchQueries" || cursor.kind()? != Kind::Array {
            cursor.skip()?;
            return Ok(());
        }
        cursor.array(|cursor, _| {
            searches += 1;
            cursor.ignore()
        })?;
        Ok::<(), StreamFault>(())
    })?;
    Ok(searches)
}

fn each_part(
    content: &[u8],
    mut take: impl FnMut(part::Part) -> Result<(), StreamFault>,
) -> Result<(), StreamFault> {
    Cursor::new(content)?.object(|cursor, member| {
        if !member.key.is("parts") {
            cursor.skip()?;
            return Ok(());
        }
        each(cursor, |cursor, _| take(part::read(cursor)?))
    })?;
    Ok(())
}

/// Citations of sources that the text repeats, as Gemini's own JSON.
fn push_citations(choice: &Choice, json: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
    let Some(part) = choice.open_text() else { return Ok(()) };
    Cursor::new(json)?.object(|cursor, member| {
        // An older name of the same field.
        if !(member.key.is("citations") || member.key.is("citationSources")) {
            cursor.skip()?;
            return Ok(());
        }
        each(cursor, |cursor, _| {
            let Json(json) = raw(cursor)?.unwrap_or_default();
            if matches!(Cursor::new(json.as_bytes())?.value(), Ok(Value::Object(_))) {
                out.push(Event::Citation { choice: choice.index, part, json: Json(json) });
            }
            Ok::<(), StreamFault>(())
        })
    })?;
    Ok(())
}
