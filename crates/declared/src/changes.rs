//! Compares a document with the live workspace, and orders the steps so that each finds the objects that it
//! refers to.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use http::Method;
use serde_json::{Map, Value, json};

use super::document::{Declared, Document, SecretSource, SourceLocation};
use super::kinds::{Change, Field, Form, KINDS, Kind, SecretNeed};
use super::live::{self, APPLY, Live, MANAGED_BY, Names, Workspace};
use cli::api::{Api, field as text_of};
use cli::output::{self, Failure};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub field: &'static str,
    pub before: Value,
    pub after: Value,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Action {
        Create = "create",
        Update = "update",
        Delete = "delete",
        Keep = "keep",
    }
}

/// One object, and what is done with it.
#[derive(Debug)]
pub struct Step {
    pub kind: &'static Kind,
    pub label: String,
    pub action: Action,
    pub changes: Vec<Changed>,
    declared: Option<Declared>,
    id: Option<String>,
    /// The version against which the changes were computed.
    etag: Option<String>,
    /// It exists, and `apply` did not manage it before.
    is_taken_over: bool,
    sends_secret: bool,
}

/// Options of `apply`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApplyOptions {
    pub prune: bool,
    /// Also sends the secrets of objects that exist already.
    pub with_secrets: bool,
}

/// All steps.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What `prune` would remove, if it is off.
    pub left: Vec<String>,
}

/// Computes the steps. Nothing is written.
///
/// # Errors
/// A declaration is wrong, or the gateway refuses.
pub fn plan(
    api: &Api,
    document: Document,
    workspace: &Workspace,
    wishes: ApplyOptions,
) -> Result<Plan, Failure> {
    let Document { objects, owns } = document;
    let mut declared: HashMap<(&str, String), SourceLocation> = HashMap::new();
    for object in &objects {
        if workspace.unseen.contains(&object.kind.noun) {
            let message = format!("this key may not manage {}s: they are the operator's.", object.kind.noun);
            return Err(Failure { code: output::FORBIDDEN, ..object.place.wrong(message) });
        }
        let label = workspace.names.label_of(object.kind, &object.fields);
        if let Some(first) = declared.insert((object.kind.noun, label.clone()), object.place.clone()) {
            return Err(object
                .place
                .wrong(format!("the {} {label} is declared at {first} already.", object.kind.noun)));
        }
    }
    for object in &objects {
        check_references(object, &declared, &workspace.names)?;
    }
    let mut by_kind: HashMap<&str, Vec<Declared>> = HashMap::new();
    for object in objects {
        by_kind.entry(object.kind.noun).or_default().push(object);
    }
    let mut steps = Vec::new();
    for kind in KINDS {
        for object in by_kind.remove(kind.noun).unwrap_or_default() {
            steps.push(step(api, object, workspace, wishes)?);
        }
    }
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    let own_key = api.get("/v2/me")?.pointer("/key/id").and_then(Value::as_str).map(str::to_owned);
    for live in &workspace.objects {
        let is_ours = live.is_applied || owns.contains(&live.kind.noun);
        let is_declared = declared.contains_key(&(live.kind.noun, live.label.clone()));
        // The key that runs this command is never pruned.
        if !is_ours || is_declared || own_key.as_ref() == Some(&live.id) {
            continue;
        }
        if wishes.prune {
            gone.push(removal(api, live)?);
        } else {
            left.push(format!("{} {}", live.kind.noun, live.label));
        }
    }
    // Objects that refer to others are removed before them.
    steps.extend(gone.into_iter().rev());
    Ok(Plan { steps, left })
}

fn check_references(
    object: &Declared,
    declared: &HashMap<(&str, String), SourceLocation>,
    names: &Names,
) -> Result<(), Failure> {
    for (noun, label) in references(object) {
        let known = names.ids(noun, &label);
        if known.len() > 1 {
            let message = format!(
                "{} objects are the {noun} {label}: give them names of their own first.",
                known.len()
            );
            return Err(object.place.wrong(message));
        }
        if known.is_empty() && !declared.contains_key(&(noun, label.clone())) {
            return Err(object
                .place
                .wrong(format!("there is no {noun} {label}, neither here nor in the workspace.")));
        }
    }
    Ok(())
}

/// The objects that an object refers to, by kind and name.
fn references(object: &Declared) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |noun, value: Option<&Value>| {
        found.extend(value.and_then(Value::as_str).map(|label| (noun, label.to_owned())))
    };
    for (name, value) in &object.fields {
        match object.kind.field(name).map(|field| field.form) {
            Some(Form::Name(noun)) => add(noun, Some(value)),
            Some(Form::Names(noun)) => {
                value
                    .as_array()
                    .map_or(&[][..], Vec::as_slice)
                    .iter()
                    .for_each(|label| add(noun, Some(label)));
            }
            Some(Form::Prefixed(prefix, noun)) => {
                let label = value.as_str().and_then(|word| word.strip_prefix(prefix));
                add(noun, label.map(Value::from).as_ref());
            }
            Some(Form::Scope) => {
                add("project", value.get("project"));
                add("key", value.get("key"));
            }
            _ => {}
        }
    }
    found
}

fn step(api: &Api, object: Declared, workspace: &Workspace, wishes: ApplyOptions) -> Result<Step, Failure> {
    let (kind, names) = (object.kind, &workspace.names);
    let label = names.label_of(kind, &object.fields);
    let blank = Step {
        kind,
        label: label.clone(),
        action: Action::Create,
        changes: Vec::new(),
        declared: None,
        id: None,
        etag: None,
        is_taken_over: false,
        sends_secret: object.secret.is_some(),
    };
    let found: Vec<&Live> =
        workspace.objects.iter().filter(|live| live.kind.noun == kind.noun && live.label == label).collect();
    let Some(first) = found.first() else {
        // A managed identity has no secret.
        let is_machine = object.fields.get("auth").is_some_and(|auth| auth == "managed_identity");
        if kind.secret == SecretNeed::Needed && object.secret.is_none() && !is_machine {
            let message = format!(
                "a new {} needs its secret: secret = {{ env = \"NAME\" }}, {{ file = \"PATH\" }} or {{ stdin = true }}.",
                kind.noun
            );
            return Err(object.place.wrong(message));
        }
        return Ok(Step {
            changes: differences(kind, &object, &Map::new(), names),
            declared: Some(object),
            ..blank
        });
    };
    if found.len() > 1 {
        let message = format!(
            "{} objects are the {} {label}: give them names of their own first.",
            found.len(),
            kind.noun
        );
        return Err(object.place.wrong(message));
    }
    let is_taken_over = kind.has_metadata() && object.is_managed && !first.is_applied;
    let listed = differences(kind, &object, &first.fields, names);
    let sends_secret = object.secret.is_some()
        && (wishes.with_secrets || listed.iter().any(|changed| changed.field == "base_url"));
    let changes_nothing = listed.is_empty() && !is_taken_over && !sends_secret;
    let known = Step { id: Some(first.id.clone()), is_taken_over, sends_secret, ..blank };
    if changes_nothing {
        return Ok(Step { action: Action::Keep, declared: Some(object), ..known });
    }
    // Read again with its version: either exactly these changes are applied, or another client was faster and
    // none is.
    let (row, etag) = api.get_versioned(&format!("{}/{}", kind.path, first.id))?;
    let now = live::live(kind, &row, names);
    let changes = differences(kind, &object, &now.fields, names);
    let fixed = changes
        .iter()
        .find(|changed| kind.field(changed.field).is_some_and(|field| field.change == Change::Fixed));
    if let Some(fixed) = fixed {
        let message = format!(
            "{} of the {} {label} is {} and can't be changed: make another one.",
            fixed.field, kind.noun, fixed.before
        );
        return Err(object.place.wrong(message));
    }
    Ok(Step { action: Action::Update, changes, declared: Some(object), etag, ..known })
}

/// The declared fields that differ. Fields that are not declared are left alone.
fn differences(
    kind: &'static Kind,
    object: &Declared,
    now: &Map<String, Value>,
    names: &Names,
) -> Vec<Changed> {
    let is_new = now.is_empty();
    let wanted = kind.fields.iter().filter_map(|field| Some((field, object.fields.get(field.name)?)));
    let differs = |(field, after): (&'static Field, &Value)| {
        let before = now.get(field.name).cloned().unwrap_or_else(|| field.usual_value());
        let is_same = names.settled(field.form, &before) == names.settled(field.form, after);
        let is_its_own = field.change == Change::AtFirst && !is_new;
        let is_name = kind.identity.contains(&field.name);
        (!is_same && !is_its_own && !is_name).then(|| Changed {
            field: field.name,
            before,
            after: after.clone(),
        })
    };
    wanted.filter_map(differs).collect()
}

fn removal(api: &Api, live: &Live) -> Result<Step, Failure> {
    let (_, etag) = api.get_versioned(&format!("{}/{}", live.kind.path, live.id))?;
    Ok(Step {
        kind: live.kind,
        label: live.label.clone(),
        action: Action::Delete,
        changes: Vec::new(),
        declared: None,
        id: Some(live.id.clone()),
        etag,
        is_taken_over: false,
        sends_secret: false,
    })
}

impl Step {
    /// Where the object was declared.
    pub fn place(&self) -> Option<&SourceLocation> {
        self.declared.as_ref().map(|declared| &declared.place)
    }

    /// What the step does besides changing fields.
    pub fn notes(&self) -> Vec<&'static str> {
        let secret = (self.sends_secret && self.action != Action::Keep).then_some("secret sent");
        let taken =
            (self.is_taken_over && self.action == Action::Update).then_some("managed by apply from now on");
        [secret, taken].into_iter().flatten().collect()
    }
}

/// Reads the secrets to send before anything is written, so that a missing one does not stop `apply` halfway.
///
/// # Errors
/// Names the declaration whose secret is missing.
pub fn read_secrets(steps: &[Step]) -> Result<HashMap<usize, String>, Failure> {
    let mut found = HashMap::new();
    let mut stdin: Option<String> = None;
    for (number, step) in steps.iter().enumerate() {
        let Some(declared) =
            step.declared.as_ref().filter(|_| step.sends_secret && step.action != Action::Keep)
        else {
            continue;
        };
        let missing = |why: String| declared.place.wrong(why);
        let text = match &declared.secret {
            None => continue,
            Some(SecretSource::Environment(name)) => {
                std::env::var(name).map_err(|_| missing(format!("{name} is not set in this shell.")))?
            }
            Some(SecretSource::File(file)) => std::fs::read_to_string(file)
                .map_err(|error| missing(format!("{} can't be read: {error}.", file.display())))?,
            Some(SecretSource::Stdin) if stdin.is_some() => {
                return Err(missing("two secrets can't both come on standard input.".to_owned()));
            }
            Some(SecretSource::Stdin) => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                stdin = Some(text.clone());
                text
            }
        };
        if text.trim().is_empty() {
            return Err(missing("the secret is empty.".to_owned()));
        }
        found.insert(number, text.trim().to_owned());
    }
    Ok(found)
}

/// Executes one step; returns the server's response.
///
/// # Errors
/// The gateway refuses; the message includes the place of the declaration.
pub fn carry_out(api: &Api, step: &Step, secret: Option<&str>, names: &mut Names) -> Result<Value, Failure> {
    let done = match (step.action, &step.declared, &step.id) {
        (Action::Create, Some(declared), _) => create(api, step.kind, declared, secret, names),
        (Action::Update, Some(declared), Some(id)) => {
            let mut body = patch_of(&step.changes, step.kind, names, &declared.place)?;
            mark(declared, &mut body);
            add_secret(step.kind, &mut body, secret);
            let path = format!("{}/{id}", step.kind.path);
            api.call_if(Method::PATCH, &path, Some(&Value::Object(body)), step.etag.as_deref())
        }
        (Action::Delete, _, Some(id)) => {
            let path = format!("{}/{id}", step.kind.path);
            api.call_if(Method::DELETE, &path, None, step.etag.as_deref())
        }
        _ => Ok(Value::Null),
    };
    done.map_err(|refused| at_its_place(step, refused))
}

fn at_its_place(step: &Step, refused: Failure) -> Failure {
    let prefix = step.place().map(|place| format!("{place}: ")).unwrap_or_default();
    Failure { message: format!("{prefix}{} {}: {}", step.kind.noun, step.label, refused.message), ..refused }
}

/// Has the gateway check steps without carrying them out, up to the first that sends a secret: it is not read for this, and
/// later steps may need what it makes. What refers to objects that aren't there yet can't be checked either. Conflicts are
/// passed over, since an earlier step may end them, and so is a lack of permission: a key that may only read shows what would
/// change.
///
/// # Errors
/// The gateway would refuse a step as invalid.
pub fn check(api: &Api, steps: &[Step], names: &Names) -> Result<(), Failure> {
    steps.iter().take_while(|step| !step.sends_secret).try_for_each(|step| check_one(api, step, names))
}

fn check_one(api: &Api, step: &Step, names: &Names) -> Result<(), Failure> {
    let (method, path, body) = match (step.action, &step.declared, &step.id) {
        (Action::Create, Some(declared), _) => {
            (Method::POST, step.kind.path.to_owned(), body_of(step.kind, declared, names))
        }
        (Action::Update, Some(declared), Some(id)) => {
            let patch = patch_of(&step.changes, step.kind, names, &declared.place);
            (Method::PATCH, format!("{}/{id}", step.kind.path), patch)
        }
        _ => return Ok(()),
    };
    let Ok(body) = body else { return Ok(()) };
    match api.call(method, &path, Some(&Value::Object(body))) {
        Err(refused) if refused.code == output::USAGE => Err(at_its_place(step, refused)),
        _ => Ok(()),
    }
}

fn create(
    api: &Api,
    kind: &'static Kind,
    declared: &Declared,
    secret: Option<&str>,
    names: &mut Names,
) -> Result<Value, Failure> {
    let mut body = body_of(kind, declared, names)?;
    add_secret(kind, &mut body, secret);
    let made = api.post(kind.path, &Value::Object(body))?;
    let now = live::live(kind, &made, names);
    names.learn(kind, &now.label, &now.id);
    // Some fields, for example the status, can only be set on existing objects.
    let rest = differences(kind, declared, &now.fields, names);
    let changeable =
        |changed: &Changed| kind.field(changed.field).is_some_and(|field| field.change == Change::Free);
    let rest: Vec<Changed> = rest.into_iter().filter(changeable).collect();
    if !rest.is_empty() {
        let body = patch_of(&rest, kind, names, &declared.place)?;
        api.patch(&format!("{}/{}", kind.path, text_of(&made, "id")), &Value::Object(body))?;
    }
    Ok(made)
}

fn body_of(kind: &Kind, declared: &Declared, names: &Names) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for (name, value) in &declared.fields {
        let Some(field) = kind.field(name) else { continue };
        let value = with_ids(field.form, value, names, &declared.place)?;
        put(&mut body, field.path, value);
    }
    mark(declared, &mut body);
    Ok(body)
}

fn mark(declared: &Declared, body: &mut Map<String, Value>) {
    if !declared.kind.has_metadata() || !declared.is_managed {
        return;
    }
    let metadata = body.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    if let Some(members) = metadata.as_object_mut() {
        members.insert(MANAGED_BY.to_owned(), Value::from(APPLY));
    }
}

fn add_secret(kind: &Kind, body: &mut Map<String, Value>, secret: Option<&str>) {
    if let Some((field, secret)) = secret.map(|secret| kind.secret_field(secret)) {
        body.insert(field.to_owned(), secret);
    }
}

/// A merge patch that gives each field its declared value, and removes members that are not declared.
fn patch_of(
    changes: &[Changed],
    kind: &Kind,
    names: &Names,
    place: &SourceLocation,
) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for changed in changes {
        let Some(field) = kind.field(changed.field) else { continue };
        let after = with_ids(field.form, &changed.after, names, place)?;
        put(&mut body, field.path, patch_to(&changed.before, &after));
    }
    Ok(body)
}

fn patch_to(before: &Value, after: &Value) -> Value {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return after.clone() };
    let dropped = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let kept = new
        .iter()
        .map(|(name, value)| (name.clone(), patch_to(old.get(name).unwrap_or(&Value::Null), value)));
    Value::Object(dropped.chain(kept).collect())
}

fn put(body: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => drop(body.insert((*name).to_owned(), value)),
        [name, rest @ ..] => {
            let inner = body.entry(*name).or_insert_with(|| json!({}));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Converts a document's value to that of `/v2`, with names replaced by ids.
fn with_ids(form: Form, value: &Value, names: &Names, place: &SourceLocation) -> Result<Value, Failure> {
    let id = |noun, label: &Value| match label.as_str() {
        None => Ok(label.clone()),
        Some(label) => {
            let found = names.ids(noun, label).first();
            found
                .map(|id| Value::from(id.as_str()))
                .ok_or_else(|| place.wrong(format!("there is no {noun} {label}.")))
        }
    };
    match (form, value) {
        (Form::Name(noun), label) => id(noun, label),
        (Form::Prefixed(prefix, noun), Value::String(word)) => match word.strip_prefix(prefix) {
            Some(label) => {
                let id = id(noun, &Value::from(label))?;
                Ok(Value::from(format!("{prefix}{}", id.as_str().unwrap_or_default())))
            }
            None => Ok(value.clone()),
        },
        (Form::Names(noun), Value::Array(labels)) => labels.iter().map(|label| id(noun, label)).collect(),
        (Form::Scope, Value::Object(members)) => members
            .iter()
            .map(|(name, value)| match name.as_str() {
                "project" => Ok(("project_id".to_owned(), id("project", value)?)),
                "key" => Ok(("key_id".to_owned(), id("key", value)?)),
                _ => Ok((name.clone(), value.clone())),
            })
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        _ => Ok(value.clone()),
    }
}

/// The number of steps with each action.
pub fn counts(steps: &[Step]) -> [(Action, usize); 4] {
    [Action::Create, Action::Update, Action::Delete, Action::Keep]
        .map(|action| (action, steps.iter().filter(|step| step.action == action).count()))
}

/// The kinds of created objects that have a value which is shown only once.
pub fn kinds_with_one_time_values(steps: &[Step]) -> HashSet<&'static str> {
    let made = steps.iter().filter(|step| step.action == Action::Create);
    made.filter_map(|step| step.kind.one_time_field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_takes_away_what_is_no_longer_said() {
        let (before, after) = (json!({"a": 1, "b": {"c": 1, "d": 2}}), json!({"b": {"c": 3}}));
        assert_eq!(patch_to(&before, &after), json!({"a": null, "b": {"d": null, "c": 3}}));
        assert_eq!(patch_to(&json!([1]), &json!([2])), json!([2]));
    }

    #[test]
    fn a_place_may_lie_deep() {
        let mut body = Map::new();
        put(&mut body, &["scope", "project_id"], json!("prj_1"));
        put(&mut body, &["scope", "environment"], json!("staging"));
        assert_eq!(Value::Object(body), json!({"scope": {"project_id": "prj_1", "environment": "staging"}}));
    }
}
