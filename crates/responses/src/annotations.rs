//! Citations as Responses annotations.

use domain::Json;
use json::members::Members;
use serde_json::value::RawValue;

use super::write_items::owned;

/// The types of annotation that the format has.
const KINDS: &[&str] = &["url_citation", "file_citation", "container_file_citation", "file_path"];

/// A citation as an annotation; `None` where it is another dialect's and can't be expressed. Chat Completions
/// annotations differ from these only in nesting their fields one level deeper.
pub(super) fn own_annotation(json: &Json) -> Option<Box<RawValue>> {
    let members = Members::of_answer(json.as_str().as_bytes())?;
    let kind = members.find_text("type")?;
    let kind = KINDS.iter().find(|known| **known == kind)?;
    let Some(inner) = members.find_object(kind) else { return owned(json) };
    let inner = std::str::from_utf8(inner).ok()?.strip_prefix('{')?.trim_start();
    let comma = if inner.starts_with('}') { "" } else { "," };
    owned(&Json(format!("{{\"type\":\"{kind}\"{comma}{inner}")))
}
