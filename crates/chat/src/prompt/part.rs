//! Reads the parts of a message's content.

use domain::prompt::{Aliased, CacheMark, Content, Json, Part, Source};
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

use super::extras::{Extras, is_word};
use super::value::{Read, is_object, text};

/// Anthropic's name for a cache breakpoint, which some clients use here.
const BORROWED_MARK: &str = "cache_control";

/// The content of a message: a string or parts. Empty text counts as no content.
pub(super) fn read_content(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Vec<Part>> {
    let mut parts = Vec::new();
    match cursor.kind()? {
        Kind::Null => super::value::skip(cursor)?,
        Kind::String => {
            let text = text(cursor, path)?.unwrap_or_default();
            parts.extend((!text.is_empty()).then(|| Part::text(text)));
        }
        Kind::Array => {
            cursor.array(|cursor, index| {
                let path = format!("{path}[{index}]");
                let part = match cursor.kind()? {
                    // Some clients send a list of bare strings instead of parts.
                    Kind::String => text(cursor, &path)?.map(Part::text),
                    Kind::Object => read_part(cursor, &path, extras)?,
                    kind => return Err(wrong_type(path, "an object", kind)),
                };
                parts.extend(part.filter(|part| !is_nothing(part)));
                Read::Ok(())
            })?;
        }
        kind => return Err(wrong_type(path.to_owned(), "a string or an array of parts", kind)),
    }
    Ok(parts)
}

fn is_nothing(part: &Part) -> bool {
    part.cache.is_none() && matches!(&part.content, Content::Text { text, .. } if text.is_empty())
}

/// `None` for a part that the intermediate form can't hold; its name is recorded in `extras`.
fn read_part(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Option<Part>> {
    let (mut word, mut content, mut cache) = (None, None, None);
    let mut others = Vec::new();
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        match &*name {
            "type" => word = text(cursor, &format!("{path}.type"))?,
            "text" => {
                let text = text(cursor, &format!("{path}.text"))?.unwrap_or_default();
                content = Some(Content::Text { text, citations: Vec::new() });
            }
            "refusal" => {
                let text = text(cursor, &format!("{path}.refusal"))?.unwrap_or_default();
                content = Some(Content::Refusal { text });
            }
            "image_url" | "video_url" => {
                content = Some(read_link(cursor, &format!("{path}.{name}"), &name, extras)?)
            }
            "input_audio" => content = Some(read_audio(cursor, &format!("{path}.input_audio"), extras)?),
            "file" => content = Some(read_file(cursor, &format!("{path}.file"), extras)?),
            "cache_control" | "prompt_cache_breakpoint" => {
                cache = read_mark(cursor, &format!("{path}.{name}"), extras)?;
            }
            _ if cursor.value()?.is_something(cursor.bytes()) => others.push(format!("{path}.{name}")),
            _ => {}
        }
        Read::Ok(())
    })?;
    let Some(word) = word else {
        return Err(missing(format!("{path}.type"), "Give each part a type, such as text or image_url."));
    };
    match (&*word, content) {
        ("text" | "refusal" | "image_url" | "video_url" | "input_audio" | "file", Some(content)) => {
            others.into_iter().for_each(|name| extras.push(name, true));
            Ok(Some(Part::with_path(content, cache, path)))
        }
        ("text" | "refusal" | "image_url" | "video_url" | "input_audio" | "file", None) => {
            Err(missing(format!("{path}.{word}"), "Send the part's content under the name of its type."))
        }
        // Reasoning as other gateways return it, valid only at the provider that made it.
        ("thinking" | "redacted_thinking" | "reasoning", _) => {
            extras.push(path.to_owned(), false);
            Ok(None)
        }
        _ => {
            extras.push(path.to_owned(), true);
            Ok(None)
        }
    }
}

/// An image or a video: an object with its URL, or the URL alone.
fn read_link(cursor: &mut Cursor<'_>, path: &str, name: &str, extras: &mut Extras) -> Read<Content> {
    let (mut url, mut detail) = (None, None);
    if cursor.kind()? == Kind::String {
        url = text(cursor, path)?;
    } else if is_object(cursor, path)? {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "url" => {
                url = text(cursor, &format!("{path}.url"))?;
                Ok(())
            }
            "detail" if name == "image_url" => {
                detail = text(cursor, &format!("{path}.detail"))?;
                Ok(())
            }
            other => extras.take(cursor, || format!("{path}.{other}"), true),
        })?;
    }
    let path = format!("{path}.url");
    let url = url.ok_or_else(|| missing(path.clone(), "Send an https or a data URL."))?;
    let source = source_of(url, &path)?;
    Ok(if name == "image_url" { Content::Image { source, detail } } else { Content::Video { source } })
}

/// The bytes of a data URL, or the URL.
fn source_of(url: String, path: &str) -> Read<Source> {
    let Some(data) =
        url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url.get(5..))
    else {
        return Ok(Source::Url { url, media_type: None });
    };
    let inline = data.split_once(',').and_then(|(kind, base64)| {
        let kind = kind.strip_suffix(";base64")?;
        let media_type = kind.split(';').next().filter(|media_type| !media_type.is_empty())?;
        Some(Source::Inline { media_type: media_type.to_owned(), base64: base64.to_owned() })
    });
    inline.ok_or_else(|| {
        let fix = "Send it as data:<media type>;base64,<bytes>.".to_owned();
        wrong_value(path.to_owned(), "is a data URL without a media type, or not in base64", fix)
    })
}

fn read_audio(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Content> {
    let (mut base64, mut format) = (None, None);
    if is_object(cursor, path)? {
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "data" => base64 = text(cursor, &format!("{path}.data"))?,
                "format" => format = text(cursor, &format!("{path}.format"))?,
                other => extras.take(cursor, || format!("{path}.{other}"), true)?,
            }
            Read::Ok(())
        })?;
    }
    let base64 = base64.ok_or_else(|| missing(format!("{path}.data"), "Send the audio in base64."))?;
    let format = format.ok_or_else(|| missing(format!("{path}.format"), "Send wav or mp3."))?;
    Ok(Content::Audio { source: Source::Inline { media_type: format!("audio/{format}"), base64 } })
}

fn read_file(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Content> {
    let (mut file, mut id, mut name) = (None, None, None);
    if is_object(cursor, path)? {
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "file_data" => file = text(cursor, &format!("{path}.file_data"))?,
                "file_id" => id = text(cursor, &format!("{path}.file_id"))?,
                "filename" => name = text(cursor, &format!("{path}.filename"))?,
                other => extras.take(cursor, || format!("{path}.{other}"), true)?,
            }
            Read::Ok(())
        })?;
    }
    let source = match (file, id) {
        (Some(file), _) if file.starts_with("data:") => source_of(file, &format!("{path}.file_data"))?,
        (Some(base64), _) => Source::Inline { media_type: "application/pdf".to_owned(), base64 },
        (None, Some(id)) => Source::File { id, media_type: None },
        (None, None) => {
            return Err(missing(format!("{path}.file_data"), "Send the file in base64, or the id of one."));
        }
    };
    Ok(Content::Document { source, name, context: None, cite: false })
}

/// A cache breakpoint, under OpenAI's name or Anthropic's.
pub(super) fn read_mark(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Option<CacheMark>> {
    if cursor.kind()? != Kind::Object {
        return extras.take(cursor, || path.to_owned(), false).map(|()| None);
    }
    if path.ends_with(BORROWED_MARK) {
        extras.aliases.add(Aliased::CacheMark, BORROWED_MARK);
    }
    let mut mark = CacheMark { lifetime: None };
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "mode" | "type" => {
                let value = cursor.value()?;
                if !is_word(&value, "explicit")
                    && !is_word(&value, "ephemeral")
                    && !matches!(value, Value::Null)
                {
                    extras.push(path.to_owned(), false);
                }
            }
            "ttl" => mark.lifetime = super::setting::read_lifetime(cursor, &format!("{path}.ttl"), extras)?,
            other => extras.take(cursor, || format!("{path}.{other}"), false)?,
        }
        Read::Ok(())
    })?;
    Ok(Some(mark))
}

/// Arguments that came as an object are kept as written.
pub(super) fn read_arguments(cursor: &mut Cursor<'_>, path: &str) -> Read<String> {
    match cursor.kind()? {
        Kind::Object => super::value::raw(cursor).map(|Json(text)| text),
        _ => Ok(text(cursor, path)?.unwrap_or_default()),
    }
}
