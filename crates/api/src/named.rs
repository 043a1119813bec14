//! Names in place of ids, in paths, queries and bodies: each is replaced by its object's id before the handler sees the request.

use domain::{Fault, FaultClass};
pub use naming::Kind;
use naming::{NamedBy, REFERENCES, Within};
use reconcilers::of_store;
use serde_json::Value;

use crate::failure::not_an_id;
use crate::request::ApiRequest;
use crate::state::Control;

/// What people write of a name in messages; a longer text is no name here.
const NAME_CHARS_PRINTED: usize = 200;

/// The paths whose `key_id` is another kind of key.
const OTHER_KEYS: &str = "/v2/vault/";

/// The request with ids in place of names.
///
/// # Errors
/// 404 for a name that nothing has, 409 for one that several have.
pub async fn resolve(
    control: &Control,
    pattern: &str,
    mut request: ApiRequest,
) -> Result<ApiRequest, Box<Fault>> {
    let resolver = Resolver::of(control, &request);
    if let Some(kind) = naming::kind_at(pattern) {
        let id = resolver.id(kind, request.named(0), None).await?;
        if let Some(named) = request.parameters.first_mut() {
            *named = id;
        }
    }
    if pattern.starts_with(OTHER_KEYS) {
        return Ok(request);
    }
    for (field, kind) in REFERENCES {
        if let Some(value) = request.query.get_mut(field).filter(|value| !value.is_empty()) {
            *value = resolver.id(kind, value.clone(), Some(field)).await?;
        }
    }
    if !request.body.is_empty()
        && let Ok(mut document) = serde_json::from_slice::<Value>(&request.body)
    {
        let mut named = Vec::new();
        for (field, kind) in REFERENCES {
            let segments: Vec<_> = field.split('.').collect();
            collect(&document, &segments, String::new(), kind, &mut named);
        }
        if !named.is_empty() {
            for reference in named {
                let param = readable_path(&reference.pointer);
                let id = resolver.id(reference.kind, reference.text, Some(&param)).await?;
                if let Some(value) = document.pointer_mut(&reference.pointer) {
                    *value = Value::String(id);
                }
            }
            request.body = document.to_string().into();
        }
    }
    Ok(request)
}

/// The id of what a field names, where only its handler knows of which kind that is.
///
/// # Errors
/// 404 for a name that nothing has, 409 for one that several have, 400 for an id of another kind.
pub async fn id(
    control: &Control,
    request: &ApiRequest,
    kind: Kind,
    text: String,
    field: &'static str,
) -> Result<String, Box<Fault>> {
    let id = Resolver::of(control, request).id(kind, text, Some(field)).await?;
    if kind.is_id(&id) { Ok(id) } else { Err(not_an_id(field, kind.what(), &id)) }
}

/// A place of a body that refers to an object by its name.
struct Reference {
    pointer: String,
    kind: Kind,
    text: String,
}

/// What stands at a path where it isn't an id.
fn collect(value: &Value, segments: &[&str], pointer: String, kind: Kind, found: &mut Vec<Reference>) {
    match (segments.split_first(), value) {
        (None, Value::String(text)) if !text.is_empty() && !kind.is_id(text) => {
            found.push(Reference { pointer, kind, text: text.clone() });
        }
        (Some((&"[]", rest)), Value::Array(entries)) => {
            for (index, entry) in entries.iter().enumerate() {
                collect(entry, rest, format!("{pointer}/{index}"), kind, found);
            }
        }
        (Some((name, rest)), Value::Object(members)) => {
            if let Some(member) = members.get(*name) {
                collect(member, rest, format!("{pointer}/{name}"), kind, found);
            }
        }
        _ => {}
    }
}

/// A pointer as faults name fields: `credential_ids[1]`.
fn readable_path(pointer: &str) -> String {
    pointer.trim_start_matches('/').split('/').fold(String::new(), |path, segment| {
        match (segment.parse::<usize>(), path.is_empty()) {
            (Ok(index), _) => format!("{path}[{index}]"),
            (Err(_), true) => segment.to_owned(),
            (Err(_), false) => format!("{path}.{segment}"),
        }
    })
}

struct Resolver<'a> {
    control: &'a Control,
    within: Within,
}

impl<'a> Resolver<'a> {
    fn of(control: &'a Control, request: &ApiRequest) -> Self {
        let within = Within {
            workspace: request.workspace(),
            project: request.confined_to(),
            is_operator: request.is_operator(),
        };
        Self { control, within }
    }

    async fn id(&self, kind: Kind, text: String, field: Option<&str>) -> Result<String, Box<Fault>> {
        // An id of another kind is no name either: none may have that form.
        if naming::has_the_form_of_an_id(&text) || text.chars().count() > NAME_CHARS_PRINTED {
            return Ok(text);
        }
        let database = self.control.deps.store.database();
        let mut ids = naming::ids_called(database, kind, self.within, &text).await.map_err(of_store)?;
        match (ids.pop(), ids.is_empty()) {
            (Some(id), true) => Ok(id),
            (Some(last), false) => {
                ids.push(last);
                Err(of_field(ambiguous(kind, &text, &ids), field))
            }
            (None, _) => Err(of_field(nothing_called(kind, &text), field)),
        }
    }
}

fn of_field(fault: Fault, field: Option<&str>) -> Box<Fault> {
    Box::new(match field {
        Some(field) => fault.param(field.to_owned()),
        None => fault,
    })
}

fn ambiguous(kind: Kind, text: &str, ids: &[String]) -> Fault {
    let (what, listed) = (kind.what(), ids.join(", "));
    let count = match ids.len() {
        2 => "2",
        _ => "Several",
    };
    Fault::new(
        FaultClass::Conflict,
        "ambiguous_name",
        format!("{count} {} are called \"{text}\": {listed}.", plural(what)),
    )
    .fix("Give the id of the one that you mean.")
}

fn plural(what: &str) -> String {
    match what.strip_suffix('y') {
        Some(stem) if what != "key" => format!("{stem}ies"),
        _ if what.ends_with('s') => what.to_owned(),
        _ => format!("{what}s"),
    }
}

fn nothing_called(kind: Kind, text: &str) -> Fault {
    let what = kind.what();
    let message = match kind.by() {
        NamedBy::Name => format!("There is no {what} called \"{text}\" in this workspace."),
        NamedBy::Email => format!("There is no {what} with the email \"{text}\" in this workspace."),
        NamedBy::Description => format!("There is no {what} described as \"{text}\" in this workspace."),
        NamedBy::Project => format!("There is no {what} of a project called \"{text}\" in this workspace."),
    };
    Fault::new(FaultClass::NotFound, "not_found", message).fix(kind.how_to_list())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_where_fields_refer_to_objects() {
        let id = "pcr_0123456789abcdef0123456789abcdef";
        let body = json!({
            "scope": {"project_id": "default", "key_id": null},
            "credential_ids": [id, "work"],
            "metadata": {"project_id": "theirs"},
        });
        let mut found = Vec::new();
        for (field, kind) in REFERENCES {
            collect(&body, &field.split('.').collect::<Vec<_>>(), String::new(), kind, &mut found);
        }
        let found: Vec<_> =
            found.iter().map(|found| (readable_path(&found.pointer), found.text.as_str())).collect();
        let expected = [("scope.project_id".to_owned(), "default"), ("credential_ids[1]".to_owned(), "work")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_of_several_lists_their_ids() {
        let fault = ambiguous(Kind::Key, "ci", &["key_1".to_owned(), "key_2".to_owned()]);
        assert_eq!(fault.message, "2 keys are called \"ci\": key_1, key_2.");
        assert_eq!(plural("policy"), "policies");
        let fault = nothing_called(Kind::Key, "ci");
        assert_eq!(fault.message, "There is no key called \"ci\" in this workspace.");
        assert!(fault.fix.is_some_and(|fix| fix.contains("tidegate key list")));
    }
}
