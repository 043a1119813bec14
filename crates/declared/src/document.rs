//! Documents: TOML or JSON files. Each object keeps its file and line, for error messages.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::kinds::{Form, KINDS, Kind, SecretNeed};
use cli::output::{self, Failure};

/// Where something was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    pub file: Rc<Path>,
    pub line: usize,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl SourceLocation {
    /// A usage error at this place.
    pub fn wrong(&self, message: impl fmt::Display) -> Failure {
        Failure::new(output::USAGE, format!("{self}: {message}"))
    }
}

/// Where a secret is read from; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    Environment(String),
    /// Relative paths are relative to the document.
    File(PathBuf),
    Stdin,
}

/// One declared object.
#[derive(Debug, Clone)]
pub struct Declared {
    pub kind: &'static Kind,
    pub fields: Map<String, Value>,
    pub secret: Option<SecretSource>,
    /// Whether `apply` manages it from now on; `managed = false` leaves it to whoever created it.
    pub is_managed: bool,
    pub place: SourceLocation,
}

/// The content of all files.
#[derive(Debug, Default)]
pub struct Document {
    pub objects: Vec<Declared>,
    /// Kinds that the document declares completely: `--prune` removes all other objects of these kinds.
    pub owns: Vec<&'static str>,
}

/// The field that excludes an object from management by `apply`.
pub const MANAGED: &str = "managed";
/// The field of what belongs to the whole workspace, and has nothing else to be told by.
pub const WORKSPACE: &str = "workspace";

/// One table of a file, unchecked.
struct Table {
    noun: String,
    fields: Map<String, Value>,
    line: usize,
}

/// Reads a file, or every `.toml` and `.json` file of a directory.
///
/// # Errors
/// Names the file and line of what can't be read.
pub fn read(path: &Path) -> Result<Document, Failure> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Failure::new(output::USAGE, format!("{} can't be read: {error}.", path.display()))
            .fix("Check the path, and that this account may read it.")
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, error))?;
        files = entries.flatten().map(|entry| entry.path()).filter(|file| is_document(file)).collect();
        files.sort();
        if files.is_empty() {
            let message = format!("{} holds no .toml or .json file.", path.display());
            return Err(Failure::new(output::USAGE, message));
        }
    }
    let mut document = Document::default();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
        add(&mut document, &file, &text)?;
    }
    Ok(document)
}

fn is_document(file: &Path) -> bool {
    file.is_file() && file.extension().is_some_and(|end| end == "toml" || end == "json")
}

/// Adds the declarations of one file.
///
/// # Errors
/// Names the line of what can't be read.
pub fn add(document: &mut Document, file: &Path, text: &str) -> Result<(), Failure> {
    let shared: Rc<Path> = Rc::from(file);
    let at = |line| SourceLocation { file: Rc::clone(&shared), line };
    let ends_in = |end: &str| file.extension().is_some_and(|extension| extension == end);
    if ends_in("yaml") || ends_in("yml") {
        let message = format!("{} is YAML; documents are TOML or JSON.", file.display());
        let fix = "Write it as TOML. docs/coming-from.md has the tables for a configuration of LiteLLM.";
        return Err(Failure::new(output::USAGE, message).fix(fix));
    }
    let is_json = ends_in("json");
    let (tables, owns) = if is_json { read_json(text) } else { read_toml(text) }
        .map_err(|(line, message)| at(line).wrong(message))?;
    for (line, noun) in owns {
        let kind = Kind::by_noun(&noun).ok_or_else(|| at(line).wrong(unknown_kind(&noun)))?;
        document.owns.push(kind.noun);
    }
    for table in tables {
        document.objects.push(checked(table, &at)?);
    }
    Ok(())
}

fn unknown_kind(noun: &str) -> String {
    let known: Vec<_> = KINDS.iter().map(|kind| kind.noun).collect();
    format!("there are no objects of the kind {noun}; there are {}.", known.join(", "))
}

fn checked(table: Table, at: &dyn Fn(usize) -> SourceLocation) -> Result<Declared, Failure> {
    let Table { noun, mut fields, line } = table;
    let place = at(line);
    let kind = Kind::by_noun(&noun).ok_or_else(|| place.wrong(unknown_kind(&noun)))?;
    let secret = match fields.remove("secret") {
        None => None,
        Some(_) if kind.secret == SecretNeed::None => {
            return Err(place.wrong(format!("a {noun} has no secret.")));
        }
        Some(value) => Some(secret_at(&value, &place)?),
    };
    let is_managed = match fields.remove(MANAGED).filter(|_| kind.has_metadata()) {
        None => true,
        Some(Value::Bool(is_managed)) => is_managed,
        Some(_) => return Err(place.wrong(format!("{MANAGED} is true or false."))),
    };
    if let Some(unknown) = fields.keys().find(|name| kind.field(name).is_none()) {
        let known: Vec<_> = kind.fields.iter().map(|field| field.name).collect();
        return Err(place.wrong(format!("a {noun} has no field {unknown}; it has {}.", known.join(", "))));
    }
    if noun == "route" {
        fields.entry("scope").or_insert_with(|| Value::Object(Map::new()));
    }
    let is_workspaces = fields.get(WORKSPACE) == Some(&Value::Bool(true)) && kind.field(WORKSPACE).is_some();
    // An alias without a project is the workspace's.
    let is_needed = |name: &str| {
        (noun != "alias" || name != "project")
            && kind.field(name).is_none_or(|field| field.form != Form::Conditions)
    };
    let mut identity = kind.identity.iter().filter(|name| !is_workspaces && is_needed(name));
    if let Some(missing) = identity.find(|name| !fields.contains_key(**name)) {
        return Err(place.wrong(format!("this {noun} has no {missing}, which identifies it.")));
    }
    Ok(Declared { kind, fields, secret, is_managed, place })
}

/// The error never repeats the value: it may be a secret that does not belong here.
fn secret_at(value: &Value, place: &SourceLocation) -> Result<SecretSource, Failure> {
    let members = value.as_object().filter(|members| members.len() == 1);
    let member =
        members.and_then(|members| members.iter().next()).map(|(name, value)| (name.as_str(), value));
    match member {
        Some(("env", Value::String(name))) => Ok(SecretSource::Environment(name.clone())),
        Some(("file", Value::String(file))) => {
            let beside = place.file.parent().unwrap_or_else(|| Path::new("."));
            Ok(SecretSource::File(beside.join(file)))
        }
        Some(("stdin", Value::Bool(true))) => Ok(SecretSource::Stdin),
        _ => Err(place.wrong(
            "a secret does not belong in a document: write secret = { env = \"NAME\" }, { file = \"PATH\" } or { stdin = true }.",
        )),
    }
}

type Tables = (Vec<Table>, Vec<(usize, String)>);
type LineError = (usize, String);

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn read_toml(text: &str) -> Result<Tables, LineError> {
    let document = DeTable::parse(text).map_err(|error| {
        // The parser's full message would quote the line, and any secret in it.
        (line_of(text, error.span().map_or(0, |span| span.start)), error.message().to_owned())
    })?;
    let (mut tables, mut owns) = (Vec::new(), Vec::new());
    for (name, value) in document.get_ref() {
        let line = line_of(text, name.span().start);
        let noun = name.get_ref().to_string();
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect::<Vec<_>>(),
            DeValue::Table(_) => vec![value],
            _ => return Err((line, format!("{noun} is neither a [[{noun}]] nor a list."))),
        };
        for item in items {
            let line = line_of(text, item.span().start);
            match (noun.as_str(), item.get_ref()) {
                ("owns", DeValue::String(kind)) => owns.push((line, kind.to_string())),
                (_, DeValue::Table(table)) => {
                    let fields = table
                        .iter()
                        .map(|(name, value)| (name.get_ref().to_string(), json_of(value.get_ref())));
                    tables.push(Table { noun: noun.clone(), fields: fields.collect(), line });
                }
                _ => {
                    return Err((
                        line,
                        format!("this isn't a table: write [[{noun}]] and its fields below."),
                    ));
                }
            }
        }
    }
    tables.sort_by_key(|table| table.line);
    Ok((tables, owns))
}

fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_or(Value::String(digits), Value::from)
        }
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or(Value::String(number.as_str().to_owned()), Value::from)
        }
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let members =
                table.iter().map(|(name, value)| (name.get_ref().to_string(), json_of(value.get_ref())));
            Value::Object(members.collect())
        }
    }
}

fn read_json(text: &str) -> Result<Tables, LineError> {
    let refused = |error: serde_json::Error, from: usize| {
        let line = line_of(text, from) + error.line().saturating_sub(1);
        // Without the parser's own line number, which counts from the start of its part, and without the
        // quoted text.
        let message = if error.is_data() {
            "this is a list of objects under the name of a kind."
        } else {
            "this is not JSON."
        };
        (line, message.to_owned())
    };
    let offset = |raw: &RawValue| (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let whole: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| refused(error, 0))?;
    let (mut tables, mut owns) = (Vec::new(), Vec::new());
    for (noun, raw) in whole {
        let items: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|error| refused(error, offset(raw)))?;
        for item in items {
            let line = line_of(text, offset(item));
            if noun == "owns" {
                let kind = serde_json::from_str(item.get()).map_err(|error| refused(error, offset(item)))?;
                owns.push((line, kind));
            } else {
                let fields =
                    serde_json::from_str(item.get()).map_err(|error| refused(error, offset(item)))?;
                tables.push(Table { noun: noun.clone(), fields, line });
            }
        }
    }
    tables.sort_by_key(|table| table.line);
    Ok((tables, owns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str) -> Result<Document, String> {
        let mut document = Document::default();
        add(&mut document, Path::new(name), text).map_err(|failure| failure.message)?;
        Ok(document)
    }

    #[test]
    fn yaml_is_refused_with_where_to_look() {
        for name in ["litellm.yaml", "a.yml"] {
            let mut document = Document::default();
            let failure = add(&mut document, Path::new(name), "model_list: []").unwrap_err();
            assert!(failure.message.contains("TOML or JSON"), "{failure}");
            assert!(failure.fix_text().is_some_and(|fix| fix.contains("coming-from")), "{failure}");
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let toml = "owns = [\"route\"]\n\n[[project]]\nname = \"web\"\n\n[[credential]]\nname = \"ours\"\nprovider = \"openai\"\n\
                    secret = { env = \"KEY\" }\npricing = { \"a/b\" = { input = 1_000 } }\n\n[[route]]\nprofiles = [\"byok\"]\n";
        let json = "{\"owns\": [\"route\"],\n\n\"project\": [\n{\"name\": \"web\"}],\n\n\"credential\": [{\"name\": \"ours\", \"provider\": \"openai\",\n\
                    \"secret\": {\"env\": \"KEY\"}, \"pricing\": {\"a/b\": {\"input\": 1000}}}],\n\"route\": [{\"profiles\": [\"byok\"]}]}";
        for (name, text, lines) in [("a.toml", toml, [3, 6, 12]), ("a.json", json, [4, 6, 8])] {
            let document = check(name, text).unwrap();
            assert_eq!(document.owns, ["route"]);
            let found: Vec<_> =
                document.objects.iter().map(|object| (object.kind.noun, object.place.line)).collect();
            assert_eq!(
                found,
                [("project", lines[0]), ("credential", lines[1]), ("route", lines[2])],
                "{name}"
            );
            assert_eq!(document.objects[1].secret, Some(SecretSource::Environment("KEY".into())));
            assert_eq!(document.objects[1].fields["pricing"]["a/b"]["input"], 1_000);
            assert_eq!(document.objects[2].fields["scope"], serde_json::json!({}));
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_file_and_line_and_never_repeats_a_secret() {
        for (name, text, expected) in [
            (
                "a.toml",
                "[[project]]\nname = \"web\"\nnmae = \"x\"\n",
                "a.toml:1: a project has no field nmae",
            ),
            (
                "a.toml",
                "\n[[projcet]]\nname = \"web\"\n",
                "a.toml:2: there are no objects of the kind projcet",
            ),
            ("a.toml", "[[key]]\nname = \"x\"\n", "a.toml:1: this key has no project"),
            ("a.toml", "[[project]]\nname = \n", "a.toml:2: "),
            ("a.toml", "project = 3\n", "a.toml:1: project is neither"),
            ("a.toml", "owns = [\"nothing\"]\n", "a.toml:1: there are no objects of the kind nothing"),
            (
                "a.toml",
                "[[project]]\nname = \"web\"\nsecret = { env = \"X\" }\n",
                "a.toml:1: a project has no secret",
            ),
            (
                "a.toml",
                "[[credential]]\nname = \"o\"\nsecret = \"sk-canary\"\n",
                "a.toml:1: a secret does not belong",
            ),
            ("a.toml", "[[credential]]\nname = \"o\"\nsecret = \"sk-canary\n", "a.toml:3: "),
            ("a.json", "{\"project\":\n[{\"name\": \"web\",,}]}", "a.json:2: this is not JSON"),
            ("a.json", "{\"project\":\n\n{\"name\": \"web\"}}", "a.json:3: this is a list of objects"),
            (
                "a.json",
                "{\"credential\":\n[{\"name\": \"o\",\n \"secret\": \"sk-canary\"}]}",
                "a.json:2: a secret does not belong",
            ),
        ] {
            let message = check(name, text).unwrap_err();
            assert!(message.starts_with(expected) && !message.contains("canary"), "{message}");
        }
    }
}
