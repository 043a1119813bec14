//! Reads settings that are objects, or of one of several types.

use domain::limits::CHOICES_MAX;
use domain::prompt::{
    Aliased, CacheLifetime, CacheMark, Caching, Effort, Json, OutputFormat, Reasoning, ServiceTier,
};
use json::fields::{optional_boolean, optional_count};
use json::refusal::{missing, too_small, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

use super::extras::{Extras, is_word};
use super::value::{Read, is_object, object, skip, text, texts};

pub(super) fn read_stop(cursor: &mut Cursor<'_>) -> Read<Vec<String>> {
    match cursor.kind()? {
        Kind::String => Ok(text(cursor, "stop")?.into_iter().collect()),
        Kind::Array | Kind::Null => texts(cursor, "stop"),
        kind => Err(wrong_type("stop".to_owned(), "a string or an array of strings", kind)),
    }
}

/// The number of choices; 1 is the default, and read as absent.
pub(super) fn read_choices(cursor: &mut Cursor<'_>) -> Read<Option<u32>> {
    let Some(count) = optional_count(cursor, "n")? else { return Ok(None) };
    match u32::try_from(count) {
        Ok(1) => Ok(None),
        Ok(choices) if (1..=CHOICES_MAX).contains(&choices) => Ok(Some(choices)),
        Ok(0) => Err(too_small("n".to_owned(), 1)),
        _ => {
            let fix = format!("Send a whole number from 1 to {CHOICES_MAX}, or leave it out.");
            Err(wrong_value("n".to_owned(), "is out of range", fix))
        }
    }
}

/// String metadata. Objects are options for self-hosted runtimes; lists are tags for a proxy's reports, and no answer depends on them.
pub(super) fn read_metadata(cursor: &mut Cursor<'_>, extras: &mut Extras) -> Read<Vec<(String, String)>> {
    let mut metadata = Vec::new();
    if is_object(cursor, "metadata")? {
        cursor.object(|cursor, member| {
            let key = member.key.decode().into_owned();
            let kind = cursor.kind()?;
            if matches!(kind, Kind::Object | Kind::Array) {
                return extras.take(cursor, || format!("metadata.{key}"), kind == Kind::Object);
            }
            if let Some(value) = text(cursor, &format!("metadata.{key}"))? {
                metadata.push((key, value));
            }
            Read::Ok(())
        })?;
    }
    Ok(metadata)
}

pub(super) fn read_format(cursor: &mut Cursor<'_>, extras: &mut Extras) -> Read<Option<OutputFormat>> {
    if !is_object(cursor, "response_format")? {
        return Ok(None);
    }
    let (mut kind, mut schema) = (None, None);
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "type" => kind = text(cursor, "response_format.type")?,
            "json_schema" => schema = read_schema(cursor, extras)?,
            // Some servers take the schema directly next to `"type": "json_object"`.
            "schema" => {
                let json = object(cursor, "response_format.schema")?;
                schema = schema.take().or(json.map(schema_alone));
            }
            name => extras.take(cursor, || format!("response_format.{name}"), true)?,
        }
        Read::Ok(())
    })?;
    match (kind.as_deref(), schema) {
        (Some("text"), _) => Ok(Some(OutputFormat::Text)),
        (Some("json_object" | "json_schema"), Some(schema)) => Ok(Some(schema)),
        (Some("json_object"), None) => Ok(Some(OutputFormat::JsonObject)),
        (Some("json_schema"), None) => {
            let fix = "Send the schema with a name, such as {\"name\": \"answer\", \"schema\": {…}}.";
            Err(missing("response_format.json_schema".to_owned(), fix))
        }
        (Some(_), _) => {
            extras.push("response_format".to_owned(), true);
            Ok(None)
        }
        (None, _) => {
            Err(missing("response_format.type".to_owned(), "Send text, json_object or json_schema."))
        }
    }
}

pub(super) fn schema_alone(schema: Json) -> OutputFormat {
    OutputFormat::JsonSchema { name: None, description: None, schema, strict: None }
}

fn read_schema(cursor: &mut Cursor<'_>, extras: &mut Extras) -> Read<Option<OutputFormat>> {
    const NAME: &str = "response_format.json_schema";
    if !is_object(cursor, NAME)? {
        return Ok(None);
    }
    let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" => name = text(cursor, "response_format.json_schema.name")?,
            "description" => description = text(cursor, "response_format.json_schema.description")?,
            "schema" => schema = object(cursor, "response_format.json_schema.schema")?,
            "strict" => strict = optional_boolean(cursor, "response_format.json_schema.strict")?,
            other => extras.take(cursor, || format!("{NAME}.{other}"), true)?,
        }
        Read::Ok(())
    })?;
    // An omitted schema allows everything.
    let schema = schema.unwrap_or_else(|| Json("{}".to_owned()));
    Ok(Some(OutputFormat::JsonSchema { name, description, schema, strict }))
}

/// An unknown effort is dropped and reported: the answer is as good without it.
pub(super) fn read_effort(
    cursor: &mut Cursor<'_>,
    name: &str,
    reasoning: &mut Reasoning,
    extras: &mut Extras,
) -> Read<()> {
    let value = cursor.value()?;
    let effort = match &value {
        Value::String(word) => Effort::of(&word.decode()),
        _ => None,
    };
    match effort {
        Some(effort) => reasoning.effort = Some(effort),
        None if matches!(value, Value::Null) => {}
        None => extras.push(name.to_owned(), false),
    }
    Ok(())
}

/// OpenRouter's form: an object that holds the effort.
pub(super) fn read_reasoning(
    cursor: &mut Cursor<'_>,
    reasoning: &mut Reasoning,
    extras: &mut Extras,
) -> Read<()> {
    if cursor.kind()? != Kind::Object {
        return extras.take(cursor, || "reasoning".to_owned(), false);
    }
    extras.aliases.add(Aliased::Reasoning, "reasoning");
    cursor.object(|cursor, member| match &*member.key.decode() {
        "effort" => read_effort(cursor, "reasoning.effort", reasoning, extras),
        "max_tokens" => {
            reasoning.budget_tokens = optional_count(cursor, "reasoning.max_tokens")?;
            extras.aliases.add(Aliased::ThinkingBudget, "reasoning.max_tokens");
            Ok(())
        }
        name => extras.take(cursor, || format!("reasoning.{name}"), false),
    })?;
    Ok(())
}

/// Anthropic's form, which some clients use here.
pub(super) fn read_thinking(
    cursor: &mut Cursor<'_>,
    reasoning: &mut Reasoning,
    extras: &mut Extras,
) -> Read<()> {
    if cursor.kind()? != Kind::Object {
        return extras.take(cursor, || "thinking".to_owned(), false);
    }
    extras.aliases.add(Aliased::Reasoning, "thinking");
    cursor.object(|cursor, member| match &*member.key.decode() {
        "type" => {
            match text(cursor, "thinking.type")?.as_deref() {
                // The budget, or a separate effort, already says that it is enabled.
                Some("enabled") | None => {}
                Some("adaptive") => reasoning.is_adaptive = true,
                Some("disabled") => reasoning.effort = Some(Effort::None),
                Some(_) => extras.push("thinking.type".to_owned(), false),
            }
            Ok(())
        }
        "budget_tokens" => {
            reasoning.budget_tokens = optional_count(cursor, "thinking.budget_tokens")?;
            extras.aliases.add(Aliased::ThinkingBudget, "thinking.budget_tokens");
            Ok(())
        }
        name => extras.take(cursor, || format!("thinking.{name}"), false),
    })?;
    Ok(())
}

pub(super) fn read_tier(
    cursor: &mut Cursor<'_>,
    tier: &mut Option<ServiceTier>,
    extras: &mut Extras,
) -> Read<()> {
    let word = text(cursor, "service_tier")?;
    *tier = word.as_deref().and_then(ServiceTier::by_name);
    if word.is_some() && tier.is_none() {
        extras.push("service_tier".to_owned(), false);
    }
    Ok(())
}

pub(super) fn read_stream_options(cursor: &mut Cursor<'_>, extras: &mut Extras) -> Read<()> {
    if !is_object(cursor, "stream_options")? {
        return Ok(());
    }
    cursor.object(|cursor, member| match &*member.key.decode() {
        // `decode_request` reads this one.
        "include_usage" => skip(cursor),
        // Padding against traffic analysis: answers have none, which is what `false` asks for. Usage in every
        // chunk (vLLM): the last chunk reports all of it.
        name @ ("include_obfuscation" | "continuous_usage_stats") => {
            extras.take(cursor, || format!("stream_options.{name}"), false)
        }
        name => extras.take(cursor, || format!("stream_options.{name}"), true),
    })?;
    Ok(())
}

pub(super) fn read_caching(cursor: &mut Cursor<'_>, caching: &mut Caching, extras: &mut Extras) -> Read<()> {
    const NAME: &str = "prompt_cache_options";
    if !is_object(cursor, NAME)? {
        return Ok(());
    }
    let (mut is_explicit, mut lifetime) = (false, None);
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "mode" => {
                let value = cursor.value()?;
                is_explicit = !is_word(&value, "implicit") && !matches!(value, Value::Null);
            }
            "ttl" => lifetime = read_lifetime(cursor, "prompt_cache_options.ttl", extras)?,
            name => extras.take(cursor, || format!("{NAME}.{name}"), false)?,
        }
        Read::Ok(())
    })?;
    if is_explicit {
        extras.push(format!("{NAME}.mode"), false);
    } else {
        caching.automatic = Some(CacheMark { lifetime });
    }
    Ok(())
}

/// How long a cached prefix lives; an unknown value is dropped and reported.
pub(super) fn read_lifetime(
    cursor: &mut Cursor<'_>,
    name: &str,
    extras: &mut Extras,
) -> Read<Option<CacheLifetime>> {
    Ok(match text(cursor, name)?.as_deref() {
        None => None,
        Some("5m") => Some(CacheLifetime::Minutes5),
        Some("30m") => Some(CacheLifetime::Minutes30),
        Some("1h") => Some(CacheLifetime::Hour1),
        Some("12h") => Some(CacheLifetime::Hours12),
        Some(_) => {
            extras.push(name.to_owned(), false);
            None
        }
    })
}
