//! Reads extension fields for self-hosted runtimes (`min_p`, `guided_regex`, `cache_salt` and others), under
//! the names that several servers share.

use domain::runtime::{OutputConstraint, RuntimeParameters};
use json::Cursor;
use json::fields::{open_object, optional_boolean};
use json::refusal::wrong_value;

use super::value::{Read, integer, is_array, is_object, number, object, skip, text, texts};
use crate::limits::ADAPTER_SWITCHES_MAX;

const TIMELINE: &str = "metadata.hybrie.adapter_timeline";
/// Selects the base model without an adapter.
const NONE: &str = "none";

/// The step (token index) at which each adapter takes over.
type Timeline = Vec<(u64, Option<String>)>;

/// The extension fields, and the names of those that were found, so that the caller does not take them for
/// unknown.
pub fn read_words(body: &[u8]) -> Read<(RuntimeParameters, Vec<String>)> {
    let (mut words, mut found) = (RuntimeParameters::default(), Vec::new());
    open_object(body)?.object(|cursor, member| {
        let name = member.key.decode();
        if name == "metadata" {
            found.extend(read_metadata(cursor, &mut words)?.then(|| "metadata.hybrie".to_owned()));
            return Read::Ok(());
        }
        let is_known = read(cursor, &name, &mut words)?;
        found.extend(is_known.then(|| name.into_owned()));
        Read::Ok(())
    })?;
    Ok((words, found))
}

fn read(cursor: &mut Cursor<'_>, name: &str, words: &mut RuntimeParameters) -> Read<bool> {
    match name {
        "min_p" => words.min_p = part(cursor, name)?,
        "repetition_penalty" => words.repetition_penalty = positive(cursor, name)?,
        "ignore_eos" => words.ignore_eos = optional_boolean(cursor, name)?.unwrap_or(false),
        "chat_template_kwargs" => words.template = object(cursor, name)?,
        "guided_regex" => {
            words.constraint = text(cursor, name)?.map(OutputConstraint::Regex).or(words.constraint.take())
        }
        "guided_grammar" => {
            words.constraint = text(cursor, name)?.map(OutputConstraint::Grammar).or(words.constraint.take())
        }
        "guided_choice" => words.constraint = choice(cursor, name)?.or(words.constraint.take()),
        "structured_outputs" => read_structure(cursor, words)?,
        "cache_salt" => words.cache_scope = text(cursor, name)?,
        _ => {
            skip(cursor)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// A number within the bounds that servers commonly share.
fn bounded(
    cursor: &mut Cursor<'_>,
    name: &str,
    is_good: impl Fn(f64) -> bool,
    bounds: &str,
) -> Read<Option<f64>> {
    let Some(written) = number(cursor, name)? else { return Ok(None) };
    match written.as_str().parse().ok().filter(|value| is_good(*value)) {
        Some(value) => Ok(Some(value)),
        None => Err(wrong_value(name.to_owned(), "is out of range", format!("Send {bounds}."))),
    }
}

fn part(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<f64>> {
    bounded(cursor, name, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

fn positive(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<f64>> {
    bounded(cursor, name, |value| value > 0.0 && value <= 10.0, "a number above 0 and at most 10")
}

fn choice(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<OutputConstraint>> {
    let texts = texts(cursor, name)?;
    Ok((!texts.is_empty()).then_some(OutputConstraint::Choice(texts)))
}

fn read_structure(cursor: &mut Cursor<'_>, words: &mut RuntimeParameters) -> Read<()> {
    const NAME: &str = "structured_outputs";
    if !is_object(cursor, NAME)? {
        return Ok(());
    }
    cursor.object(|cursor, member| {
        let name = format!("{NAME}.{}", member.key.decode());
        let rule = match &*member.key.decode() {
            "regex" => text(cursor, &name)?.map(OutputConstraint::Regex),
            "grammar" => text(cursor, &name)?.map(OutputConstraint::Grammar),
            "choice" => choice(cursor, &name)?,
            _ => {
                let fix = "Send regex, grammar or choice, or a schema in \"response_format\".".to_owned();
                return Err(wrong_value(name, "isn't a constraint that this runtime supports", fix));
            }
        };
        words.constraint = rule.or(words.constraint.take());
        Ok(())
    })?;
    Ok(())
}

/// Whether `metadata` held options for the runtime.
fn read_metadata(cursor: &mut Cursor<'_>, words: &mut RuntimeParameters) -> Read<bool> {
    if cursor.kind()? != json::Kind::Object {
        return skip(cursor).map(|()| false);
    }
    let (mut timeline, mut is_found) = (Timeline::new(), false);
    cursor.object(|cursor, member| {
        if !member.key.is("hybrie") || !is_object(cursor, "metadata.hybrie")? {
            return if member.key.is("hybrie") { Ok(()) } else { skip(cursor) };
        }
        is_found = true;
        cursor.object(|cursor, member| match &*member.key.decode() {
            "adapter_id" => {
                words.adapter = text(cursor, "metadata.hybrie.adapter_id")?;
                Ok(())
            }
            "adapter_timeline" => {
                timeline = read_timeline(cursor)?;
                Ok(())
            }
            name => {
                let name = format!("metadata.hybrie.{name}");
                let fix = "Send \"adapter_id\", or \"adapter_timeline\".".to_owned();
                Err(wrong_value(name, "isn't supported by this runtime", fix))
            }
        })?;
        Read::Ok(())
    })?;
    begin_with(timeline, words)?;
    Ok(is_found)
}

/// An adapter for step 0 is the one that the answer starts with.
fn begin_with(mut timeline: Timeline, words: &mut RuntimeParameters) -> Read<()> {
    if timeline.first().is_some_and(|(step, _)| *step == 0) {
        if words.adapter.is_some() {
            let fix = "Leave \"adapter_id\" out, or begin the timeline with a later step.".to_owned();
            return Err(wrong_value(
                TIMELINE.to_owned(),
                "begins at step 0, although \"adapter_id\" is set",
                fix,
            ));
        }
        words.adapter = timeline.remove(0).1;
    }
    words.adapter_switches = timeline;
    Ok(())
}

fn read_timeline(cursor: &mut Cursor<'_>) -> Read<Timeline> {
    let mut timeline = Timeline::new();
    if !is_array(cursor, TIMELINE)? {
        return Ok(timeline);
    }
    cursor.array(|cursor, index| {
        let name = format!("{TIMELINE}[{index}]");
        let wrong = |what: &'static str, fix: &str| Err(wrong_value(name.clone(), what, fix.to_owned()));
        let (mut step, mut adapter) = (None, None);
        if is_object(cursor, &name)? {
            cursor.object(|cursor, member| {
                match &*member.key.decode() {
                    "start_step" => step = integer(cursor, &format!("{name}.start_step"))?,
                    "adapter_id" => adapter = text(cursor, &format!("{name}.adapter_id"))?,
                    _ => {
                        return wrong("has an unknown field", "Send \"start_step\" and \"adapter_id\".");
                    }
                }
                Read::Ok(())
            })?;
        }
        let Some(step) = step.and_then(|step| u64::try_from(step).ok()) else {
            return wrong(
                "has no \"start_step\"",
                "Send the number of the answer's token at which the adapter starts, counted from 0.",
            );
        };
        if timeline.last().is_some_and(|(before, _)| *before >= step) {
            return wrong(
                "doesn't begin after the entry before it",
                "Send the entries in the order of their steps, one for each step.",
            );
        }
        if timeline.len() == ADAPTER_SWITCHES_MAX {
            return wrong("is over the limit of 32 entries", "Send at most 32 entries.");
        }
        timeline.push((step, adapter.filter(|adapter| adapter != NONE)));
        Read::Ok(())
    })?;
    Ok(timeline)
}
