//! `tidegate run APP --input …`: an app's input from JSON, from fields and from files, and what comes out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::commands::follow::{self, Followed};
use crate::limits::{APP_FILE_BYTES_MAX, APP_TIME_MAX};
use crate::output::{self, Failure};
use crate::shared::Shared;

/// Types by the end of a file's name; the gateway looks at the bytes of others.
const TYPES: &[(&str, &str)] = &[
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("m4a", "audio/m4a"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
];

/// How the outcome of a run is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppOutcome<'a> {
    /// Where its files go.
    pub save: Option<&'a Path>,
    /// It is a task that is followed.
    pub is_followed: bool,
}

/// Runs an app on what the options give it, and prints what comes out.
pub(crate) fn run(shared: &Shared, app: &str, inputs: &[String], how: AppOutcome<'_>) -> Result<(), Failure> {
    let input = input_of(inputs)?;
    let api = Api::connect(shared)?;
    let started = Instant::now();
    if how.is_followed {
        let queued = api.post("/v1/run", &json!({"app": app, "input": input, "wait": false}))?;
        let task = queued.get("data").unwrap_or(&queued);
        let id = task.get("id").and_then(Value::as_str).unwrap_or_default();
        if !shared.json {
            eprintln!("running {} as {id}", output::printable(app));
        }
        return follow(shared, &api, id, how.save);
    }
    if !shared.json {
        eprintln!("running {}", output::printable(app));
    }
    let answer = api.post_within("/v1/run", &json!({"app": app, "input": input}), APP_TIME_MAX)?;
    let task = answer.get("data").unwrap_or(&answer);
    let (made, files, names) = output_of(task, how.save)?;
    if shared.json {
        println!("{answer}");
        return Ok(());
    }
    print_output(&made, &files, &names);
    for message in answer.get("messages").and_then(Value::as_array).into_iter().flatten() {
        eprintln!(
            "  {}",
            output::printable(message.get("message").and_then(Value::as_str).unwrap_or_default())
        );
    }
    eprintln!("{}", receipt(task, started.elapsed().as_secs_f64()));
    Ok(())
}

/// Follows a task to its end, and prints what it made besides its words.
pub(crate) fn follow(shared: &Shared, api: &Api, id: &str, save: Option<&Path>) -> Result<(), Failure> {
    let started = Instant::now();
    let Followed { task, is_printed } = follow::follow(shared, api, id)?;
    let (made, files, names) = output_of(&task, save)?;
    if shared.json {
        return Ok(());
    }
    if !is_printed {
        print_output(&made, &files, &names);
    }
    eprintln!("{}", receipt(&task, started.elapsed().as_secs_f64()));
    Ok(())
}

/// The output of a task without its files, and these with the names that they were saved under.
fn output_of(task: &Value, save: Option<&Path>) -> Result<(Value, Vec<MadeFile>, Vec<PathBuf>), Failure> {
    let mut made = task.get("output").cloned().unwrap_or_default();
    let files = taken_out(&mut made);
    let names = match save {
        Some(folder) => files.iter().map(|file| file.save(folder)).collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    Ok((made, files, names))
}

/// The text alone where that is all; else JSON, and a line for each file.
fn print_output(made: &Value, files: &[MadeFile], names: &[PathBuf]) {
    let text = made.get("response").or_else(|| made.get("text")).and_then(Value::as_str);
    match text {
        Some(text) => println!("{}", output::printable(text)),
        None if files.is_empty() => println!("{}", output::printable(&format!("{made:#}"))),
        None => {}
    }
    for (at, file) in files.iter().enumerate() {
        let place =
            names.get(at).map_or_else(|| "kept by --save DIR".to_owned(), |name| name.display().to_string());
        println!("{}  {}  {} bytes  {place}", file.name, file.content_type, file.bytes.len());
    }
}

fn receipt(task: &Value, seconds: f64) -> String {
    let used = task.pointer("/usage_events/0");
    let word = |name: &str| used.map(|used| output::cell(used, name)).unwrap_or_default();
    format!(
        "  {} · {} {} · {seconds:.1} s · {}",
        word("model"),
        word("quantity"),
        word("unit"),
        output::cell(task, "id")
    )
}

/// A file that an app made.
#[derive(Debug, PartialEq, Eq)]
struct MadeFile {
    name: String,
    content_type: String,
    bytes: Vec<u8>,
}

impl MadeFile {
    fn save(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let subtype = self.content_type.rsplit_once('/').map_or("bin", |(_, subtype)| subtype);
        let known = TYPES.iter().rev().find(|(_, kind)| *kind == self.content_type).map(|(end, _)| *end);
        let letters: String = subtype.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let path = folder.join(format!("{}.{}", self.name, known.unwrap_or(&letters)));
        std::fs::create_dir_all(folder)?;
        std::fs::write(&path, &self.bytes)?;
        Ok(path)
    }
}

/// Takes the files out of an output, which are data URIs in `uri`, and names each by its place.
fn taken_out(output: &mut Value) -> Vec<MadeFile> {
    let mut files = Vec::new();
    let Some(fields) = output.as_object_mut() else { return files };
    for (field, value) in fields {
        let several = value.is_array();
        let ones = match value {
            Value::Array(items) => items.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        for (at, one) in ones.iter_mut().enumerate() {
            let Some((content_type, bytes)) = one.get("uri").and_then(Value::as_str).and_then(decoded) else {
                continue;
            };
            let name = if several { format!("{field}-{}", at + 1) } else { field.clone() };
            if let Some(uri) = one.get_mut("uri") {
                *uri = json!(format!("{} bytes", bytes.len()));
            }
            files.push(MadeFile { name, content_type, bytes });
        }
    }
    files
}

fn decoded(uri: &str) -> Option<(String, Vec<u8>)> {
    let (head, encoded) = uri.strip_prefix("data:")?.split_once(";base64,")?;
    Some((head.to_owned(), STANDARD.decode(encoded).ok()?))
}

/// The input that options give: whole as JSON, or field by field, the last word first.
///
/// # Errors
/// One is neither, or its file can't be read.
fn input_of(inputs: &[String]) -> Result<Value, Failure> {
    let mut input = Map::new();
    for text in inputs {
        if text.trim_start().starts_with('{') {
            let whole: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
                Failure::new(output::USAGE, format!("--input isn't a JSON object: {error}."))
            })?;
            input.extend(whole);
            continue;
        }
        let Some((field, value)) = text.split_once('=') else {
            let message =
                format!("--input \"{}\" is neither a JSON object nor FIELD=VALUE.", output::printable(text));
            return Err(Failure::new(output::USAGE, message).fix("Write it as --input prompt=Hello."));
        };
        let value = value_of(value)?;
        match input.get_mut(field) {
            // A field that comes again is a list.
            Some(Value::Array(items)) => items.push(value),
            Some(first) => {
                let both = vec![first.take(), value];
                *first = Value::Array(both);
            }
            None => _ = input.insert(field.to_owned(), value),
        }
    }
    Ok(Value::Object(input))
}

/// A file's content as a data URI, a value in JSON, or a text.
fn value_of(text: &str) -> Result<Value, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        return file(Path::new(path)).map(Value::String);
    }
    let is_word = |value: &Value| value.is_string() || value.is_null();
    let read = serde_json::from_str::<Value>(text).ok().filter(|value| !is_word(value));
    Ok(read.unwrap_or_else(|| json!(text)))
}

fn file(path: &Path) -> Result<String, Failure> {
    let failed =
        |why: String| Failure::new(output::USAGE, format!("{} can't be sent: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| output::unreadable(path.display(), &error))?;
    if bytes.len() > APP_FILE_BYTES_MAX {
        return Err(failed(format!("it is longer than {APP_FILE_BYTES_MAX} bytes; send its URL.")));
    }
    let end = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let kind =
        TYPES.iter().find(|(known, _)| *known == end).map_or("application/octet-stream", |(_, kind)| kind);
    Ok(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_read_from_json_fields_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.PNG");
        std::fs::write(&path, b"\x89PNG").unwrap();
        let inputs = [
            r#"{"prompt": "a", "n": 1}"#.to_owned(),
            "n=2".to_owned(),
            "size=1024x1024".to_owned(),
            "seed=\"7\"".to_owned(),
            "flag=true".to_owned(),
            format!("image=@{}", path.display()),
        ];
        let expected = json!({
            "prompt": "a", "n": [1, 2], "size": "1024x1024", "seed": "\"7\"", "flag": true,
            "image": "data:image/png;base64,iVBORw==",
        });
        assert_eq!(input_of(&inputs).unwrap(), expected);
        for wrong in ["prompt", "{", "image=@/nowhere/at/all"] {
            assert_eq!(input_of(&[wrong.to_owned()]).unwrap_err().code, output::USAGE, "{wrong}");
        }
    }

    #[test]
    fn files_are_taken_out_and_saved_by_their_place() {
        let uri = "data:image/png;base64,iVBORw==";
        let mut output = json!({"images": [{"uri": uri}, {"uri": "https://h/a"}], "audio": {"uri": "data:audio/mpeg;base64,AA=="}});
        let files = taken_out(&mut output);
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["images-1", "audio"]);
        assert_eq!(output["images"], json!([{"uri": "4 bytes"}, {"uri": "https://h/a"}]));
        let folder = tempfile::tempdir().unwrap();
        let saved = files[1].save(folder.path()).unwrap();
        assert_eq!(saved.file_name().unwrap(), "audio.mp3");
        assert_eq!(std::fs::read(saved).unwrap(), [0]);
    }
}
