//! Prompts that are cached by name (`cachedContents`): what the pipeline reads of a new one and of a change, and
//! what answers report of one.

use bytes::Bytes;
use conversation::fields::checked_model;
use conversation::objects::ClientIds;
use conversation::request::{Addressed, CacheLife, Request, RequestPart, StoredAct, rename_at};
use conversation::stored::StoredObjectReport;
use domain::{Fault, StoredObjectKind};
use json::fields::{not_empty, open_object};
use json::refusal::{duplicate, missing, wrong_value};
use json::splice::splice;
use json::{Cursor, JsonError, Kind, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::address::model_of;
use super::names::{camel, members, text};

/// The prefix of a cache's name.
pub(crate) const RESOURCE: &str = "cachedContents/";
/// How long a prompt is cached if its request does not say.
const USUAL_LIFE: CacheLife = CacheLife::For(3_600_000);
const LIFE_FIX: &str =
    "Send either \"ttl\", such as \"3600s\", or \"expireTime\", such as \"2026-11-24T12:00:00Z\".";

/// What is read of a new cache, and of a change.
#[derive(Default)]
struct New {
    request: Request,
    has_model: bool,
    life: Option<CacheLife>,
}

/// Reads what the pipeline needs of a new cache, or of a change of one.
pub(crate) fn decode(body: &Bytes, addressed: Option<&Addressed>) -> Result<Request, Box<Fault>> {
    let stored = addressed.and_then(|addressed| addressed.stored.clone());
    if let Some(stored) = stored {
        if stored.act != StoredAct::Extend {
            return Ok(Request::about(stored));
        }
        let life = read_change(body)?;
        return Ok(Request { part: RequestPart::CacheLife(life), ..Request::about(stored) });
    }
    not_empty(body)?;
    let mut new = New::default();
    let mut cursor = open_object(body)?;
    members(&mut cursor, "body", |cursor, name, written| new.member(cursor, name, written))?;
    cursor.end()?;
    if !new.has_model {
        return Err(missing(
            "model".to_owned(),
            "Name the model that will use it, as in models/gemini-2.5-flash.",
        ));
    }
    let part = RequestPart::CacheLife(new.life.unwrap_or(USUAL_LIFE));
    Ok(Request { max_output_tokens: Some(0), choices: 1, part, ..new.request })
}

/// Only the end of a cache's life can be changed.
fn read_change(body: &Bytes) -> Result<CacheLife, Box<Fault>> {
    not_empty(body)?;
    let mut new = New::default();
    let mut cursor = open_object(body)?;
    members(&mut cursor, "body", |cursor, name, written| match name {
        "ttl" | "expireTime" => new.member(cursor, name, written),
        // The address has the name.
        "name" => Ok(cursor.skip().map(drop)?),
        _ if cursor.kind()? == Kind::Null => Ok(cursor.skip().map(drop)?),
        _ => Err(wrong_value(written.to_owned(), "can't be changed", LIFE_FIX.to_owned())),
    })?;
    cursor.end()?;
    new.life.ok_or_else(|| missing("ttl".to_owned(), LIFE_FIX))
}

impl New {
    fn member(&mut self, cursor: &mut Cursor<'_>, name: &str, written: &str) -> Result<(), Box<Fault>> {
        match name {
            "model" => self.model(cursor, written),
            "ttl" | "expireTime" => {
                let Some(value) = text(cursor, written)? else { return Ok(()) };
                let life =
                    if name == "ttl" { read_ttl(&value) } else { read_time(&value).map(CacheLife::Until) };
                let life = life.ok_or_else(|| {
                    wrong_value(written.to_owned(), "isn't a valid time", LIFE_FIX.to_owned())
                })?;
                match self.life.replace(life) {
                    Some(_) => Err(wrong_value(
                        written.to_owned(),
                        "sets the expiry a second time",
                        LIFE_FIX.to_owned(),
                    )),
                    None => Ok(()),
                }
            }
            "contents" | "systemInstruction" | "tools" => {
                self.request.prompt_bytes += cursor.skip()?.len() as u64;
                Ok(())
            }
            _ => Ok(cursor.skip().map(drop)?),
        }
    }

    fn model(&mut self, cursor: &mut Cursor<'_>, written: &str) -> Result<(), Box<Fault>> {
        if std::mem::replace(&mut self.has_model, true) {
            return Err(duplicate(written.to_owned()));
        }
        let start = cursor.position();
        let Some(name) = text(cursor, written)? else {
            self.has_model = false;
            return Ok(());
        };
        self.request.model = checked_model(model_of(&name))?;
        // The cursor may have stood before white space.
        let blank =
            cursor.bytes().get(start..).into_iter().flatten().take_while(|byte| **byte != b'"').count();
        self.request.spans.resources.push(json::Span::new(start + blank, cursor.position()));
        Ok(())
    }
}

/// Seconds with an `s`, and perhaps a fraction, as protobuf writes durations.
fn read_ttl(value: &str) -> Option<CacheLife> {
    let number = value.strip_suffix('s')?;
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let milliseconds: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(CacheLife::For(seconds.checked_mul(1_000)?.checked_add(milliseconds)?))
}

/// The Unix time in milliseconds.
fn read_time(value: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(value, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The body of a change.
pub fn write_change(life: CacheLife) -> Vec<u8> {
    let written = match life {
        CacheLife::For(ms) => format!("{{\"ttl\":\"{}.{:03}s\"}}", ms / 1_000, ms % 1_000),
        CacheLife::Until(unix_ms) => {
            let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
            let time = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
            format!("{{\"expireTime\":\"{time}\"}}")
        }
    };
    written.into_bytes()
}

/// Rewrites an answer about a cache for the client, with our name of it. `list_entry` is all of it: answers hold
/// nothing of the prompt.
pub(crate) fn rename(body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
    let mut made = StoredObjectReport::default();
    let mut name = None;
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        let value = cursor.value()?;
        match (&*camel(&member.key.decode()), value) {
            ("name", Value::String(text)) => {
                made.id = text.decode().rsplit_once('/').map_or_else(String::new, |(_, id)| id.to_owned());
                name = Some(text.span);
            }
            ("createTime", Value::String(text)) => made.created_unix_ms = read_time(&text.decode()),
            ("expireTime", Value::String(text)) => made.expires_unix_ms = read_time(&text.decode()),
            ("usageMetadata", Value::Object(span)) => made.tokens = read_tokens(span.of(body))?,
            _ => {}
        }
        Ok::<(), JsonError>(())
    });
    read.ok()?;
    cursor.end().ok()?;
    let span = name.filter(|_| !made.id.is_empty())?;
    let written = ours(StoredObjectKind::CACHED_CONTENT, &made.id);
    let mut out = Vec::new();
    splice(body, &mut [rename_at(span, &written)], &mut out);
    let renamed = out.concat();
    made.list_entry = String::from_utf8(renamed.clone()).ok()?;
    Some((renamed.into(), made))
}

fn read_tokens(usage: &[u8]) -> Result<Option<u64>, JsonError> {
    let mut tokens = None;
    Cursor::new(usage)?.object(|cursor, member| {
        let value = cursor.value()?;
        if camel(&member.key.decode()) == "totalTokenCount" {
            tokens = value.as_count();
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use conversation::request::Stored;

    use super::*;

    fn read(body: &str) -> Result<Request, Box<Fault>> {
        decode(&Bytes::from(body.to_owned()), None)
    }

    fn change(body: &str) -> Result<CacheLife, Box<Fault>> {
        let stored = Stored::new("x".to_owned(), StoredAct::Extend, String::new());
        let addressed = Addressed { stored: Some(stored), ..Addressed::default() };
        let request = decode(&Bytes::from(body.to_owned()), Some(&addressed))?;
        Ok(request.cache_life().unwrap())
    }

    #[test]
    fn a_new_cache_names_its_model_and_its_life() {
        let body = r#"{"model": "models/google/flash","contents":[{"parts":[{"text":"x"}]}],"ttl":"1.5s"}"#;
        let request = read(body).unwrap();
        assert_eq!((&*request.model, request.cache_life()), ("google/flash", Some(CacheLife::For(1_500))));
        assert_eq!(request.prompt_bytes, r#"[{"parts":[{"text":"x"}]}]"#.len() as u64);
        let sent =
            conversation::request::upstream_body(&Bytes::from(body), &request, "flash-1", false).concat();
        assert_eq!(String::from_utf8(sent).unwrap(), body.replace("models/google/flash", "models/flash-1"));
        let until = r#"{"model":"flash","expire_time":"2026-01-01T00:00:00.25Z","display_name":"d"}"#;
        let life = CacheLife::Until(1_767_225_600_250);
        assert_eq!(read(until).unwrap().cache_life(), Some(life));
        assert_eq!(read(r#"{"model":"m","ttl":null}"#).unwrap().cache_life(), Some(USUAL_LIFE));
        assert_eq!(
            String::from_utf8(write_change(life)).unwrap(),
            r#"{"expireTime":"2026-01-01T00:00:00.25Z"}"#
        );
        assert_eq!(write_change(CacheLife::For(61_005)), br#"{"ttl":"61.005s"}"#);
    }

    #[test]
    fn what_is_wrong_with_a_new_cache_is_named() {
        for (body, code, param) in [
            ("", "empty_body", None),
            ("[]", "invalid_type", None),
            ("{}", "missing_required_parameter", Some("model")),
            (r#"{"model":null}"#, "missing_required_parameter", Some("model")),
            (r#"{"model":7}"#, "invalid_type", Some("model")),
            (r#"{"model":"m","model":"m"}"#, "duplicate_field", Some("model")),
            (r#"{"model":"m","ttl":"5m"}"#, "invalid_value", Some("ttl")),
            (r#"{"model":"m","ttl":"-5s"}"#, "invalid_value", Some("ttl")),
            (r#"{"model":"m","ttl":".s"}"#, "invalid_value", Some("ttl")),
            (r#"{"model":"m","expireTime":"tomorrow"}"#, "invalid_value", Some("expireTime")),
            (
                r#"{"model":"m","ttl":"5s","expireTime":"2026-01-01T00:00:00Z"}"#,
                "invalid_value",
                Some("expireTime"),
            ),
        ] {
            let fault = read(body).unwrap_err();
            assert_eq!(fault.code, code, "{body}");
            assert!(param.is_none() || fault.param.as_deref() == param, "{body}: {:?}", fault.param);
        }
    }

    #[test]
    fn only_the_end_of_a_life_is_changed() {
        assert_eq!(change(r#"{"ttl":"600s","name":"cachedContents/x"}"#).unwrap(), CacheLife::For(600_000));
        for (body, code) in [
            ("{}", "missing_required_parameter"),
            (r#"{"displayName":"d","ttl":"600s"}"#, "invalid_value"),
            (r#"{"model":"m"}"#, "invalid_value"),
        ] {
            assert_eq!(change(body).unwrap_err().code, code, "{body}");
        }
    }

    #[test]
    fn an_answer_has_our_name_and_reports_what_is_stored() {
        let body = r#"{"name":"projects/p/cachedContents/abc","model":"models/m","createTime":"1970-01-01T00:00:01Z",
            "expireTime":"1970-01-01T00:01:01.5Z","usageMetadata":{"totalTokenCount":5004}}"#;
        let (renamed, made) =
            rename(&Bytes::from(body), &mut |_, id| format!("cachedContents/our_{id}")).unwrap();
        let expected = body.replace("projects/p/cachedContents/abc", "cachedContents/our_abc");
        assert_eq!((&*renamed, &*made.list_entry), (expected.as_bytes(), &*expected));
        assert_eq!((&*made.id, made.tokens), ("abc", Some(5_004)));
        assert_eq!((made.created_unix_ms, made.expires_unix_ms), (Some(1_000), Some(61_500)));
        assert!(rename(&Bytes::from("{}"), &mut |_, id| id.to_owned()).is_none());
    }
}
