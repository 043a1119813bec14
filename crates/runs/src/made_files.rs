//! The files that an output holds or names, wherever they stand in it.

use domain::{FileId, StoredObjectId, file_of_object};
use serde_json::{Value, json};

use crate::document::moment;

/// The files that an output names.
pub fn files_in(output: &Value) -> Vec<FileId> {
    let pointers = pointers_of(output, &|object| file_of(object).is_some());
    pointers.iter().filter_map(|pointer| file_of(output.pointer(pointer)?)).collect()
}

/// Says in an output of the files that it names which were deleted; whether it names any of them.
pub fn mark_deleted(output: &mut Value, deleted: &[FileId], now_unix_ms: u64) -> bool {
    let pointers = pointers_of(output, &|object| {
        file_of(object).is_some_and(|file| deleted.contains(&file)) && object.get("deleted_at").is_none()
    });
    for pointer in &pointers {
        if let Some(fields) = output.pointer_mut(pointer).and_then(Value::as_object_mut) {
            fields.insert("deleted_at".to_owned(), json!(moment(now_unix_ms)));
        }
    }
    !pointers.is_empty()
}

/// The pointers of the objects in a value that are wanted, in order.
pub fn pointers_of(value: &Value, is_wanted: &impl Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    find(value, &mut String::new(), &mut found, is_wanted);
    found
}

/// The place in the output, with the end of the type: `images-1.png`.
pub fn name_of_made(pointer: &str, content_type: &str) -> String {
    let parts = pointer.split('/').filter(|part| !part.is_empty());
    let place =
        parts.map(|part| part.parse::<usize>().map_or_else(|_| part.to_owned(), |at| (at + 1).to_string()));
    let kind = content_type.rsplit_once('/').map_or("bin", |(_, kind)| kind);
    let end = match kind {
        "mpeg" => "mp3",
        "x-wav" | "wave" => "wav",
        "jpeg" => "jpg",
        "plain" => "txt",
        "octet-stream" | "" => "bin",
        kind => kind,
    };
    let name = place.collect::<Vec<_>>().join("-");
    let name = if name.is_empty() { "output" } else { &name };
    let plain = |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    format!("{name}.{end}").chars().filter(plain).take(100).collect()
}

/// The file that a text names: its id, in either form, or an address of its content. Whose it is, is looked up: an address of
/// another server that looks like one of ours is of no use to anyone.
pub fn named_file(uri: &str) -> Option<FileId> {
    if let Ok(id) = uri.parse() {
        return Some(id);
    }
    if let Ok(id) = uri.parse::<StoredObjectId>() {
        return file_of_object(id);
    }
    let (scheme, rest) = uri.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (_, path) = rest.split_once('/')?;
    let path = path.strip_suffix("/content").unwrap_or(path);
    let id = path.strip_prefix("files/").or_else(|| path.strip_prefix("v1/files/"))?;
    id.parse().ok()
}

fn file_of(object: &Value) -> Option<FileId> {
    named_file(object.get("uri")?.as_str()?)
}

fn find(value: &Value, at: &mut String, found: &mut Vec<String>, is_wanted: &impl Fn(&Value) -> bool) {
    let length = at.len();
    match value {
        Value::Object(fields) => {
            if is_wanted(value) {
                found.push(at.clone());
                return;
            }
            for (name, field) in fields {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                find(field, at, found, is_wanted);
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                at.push_str(&format!("/{place}"));
                find(item, at, found, is_wanted);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_an_output_are_found_wherever_they_stand() {
        let uri = "data:image/png;base64,iVBORw==";
        let output = json!({
            "images": [{"uri": uri, "width": 1}, {"uri": "https://h/a"}], "a/b": {"c": {"uri": uri}},
            "text": uri,
        });
        let is_data = |object: &Value| {
            object.get("uri").and_then(Value::as_str).is_some_and(|uri| uri.starts_with("data:"))
        };
        let mut found = pointers_of(&output, &is_data);
        found.sort_unstable();
        assert_eq!(found, ["/a~1b/c", "/images/0"]);
        assert!(found.iter().all(|pointer| output.pointer(pointer).is_some()));
        for (pointer, content_type, name) in [
            ("/images/0", "image/png", "images-1.png"),
            ("/audio", "audio/mpeg", "audio.mp3"),
            ("", "application/octet-stream", "output.bin"),
            ("/a~1b/..", "text/plain", "a1b-...txt"),
            ("/x", "weird", "x.bin"),
        ] {
            assert_eq!(name_of_made(pointer, content_type), name);
        }
    }

    #[test]
    fn an_output_says_which_of_its_files_were_deleted() {
        let (file, other) = (FileId::new(1, [7; 10]), FileId::new(2, [8; 10]));
        let mut output = json!({"images": [{"uri": format!("http://h/files/{file}/content")}, {"uri": format!("http://h/files/{other}/content")}]});
        assert_eq!(files_in(&output), [file, other]);
        assert!(mark_deleted(&mut output, &[file], 0));
        assert_eq!(output["images"][0]["deleted_at"], "1970-01-01T00:00:00.000Z");
        assert!(output["images"][1].get("deleted_at").is_none());
        assert!(!mark_deleted(&mut output, &[file], 5), "it is said already");
    }

    #[test]
    fn a_file_is_named_by_its_id_or_its_address() {
        let id = FileId::new(1, [7; 10]);
        let object = StoredObjectId { kind: domain::StoredObjectKind::FILE, digest: *id.as_bytes() };
        for uri in [
            id.to_string(),
            object.to_string(),
            format!("https://gateway.example/files/{id}"),
            format!("http://127.0.0.1:1/files/{id}/content"),
            format!("https://gateway.example/v1/files/{id}/content"),
        ] {
            assert_eq!(named_file(&uri), Some(id), "{uri}");
        }
        for uri in [
            "https://gateway.example/report.txt".to_owned(),
            format!("ftp://gateway.example/files/{id}"),
            format!("https://gateway.example/files/{id}/upload/x"),
            format!("data:,{id}"),
            String::new(),
        ] {
            assert_eq!(named_file(&uri), None, "{uri}");
        }
    }
}
