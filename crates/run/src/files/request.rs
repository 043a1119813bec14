//! What clients send of the files that they make and list.

use domain::limits::{
    CONTENT_TYPE_BYTES_MAX, FILE_NAME_BYTES_MAX, FILE_PATH_BYTES_MAX, FILES_MADE_AT_ONCE_MAX,
};
use domain::{Fault, FaultClass, FileId};
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{PageOptions, too_many_at_once};
use crate::limits::{LIST_PAGE_ITEMS, LIST_PAGE_ITEMS_MAX};

/// The files that a request makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewFiles {
    pub files: Vec<Described>,
    /// Some of them are to be public.
    pub is_public: bool,
}

/// A file, as its client describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub name: String,
    pub content_type: String,
    pub path: Option<String>,
    pub size: Option<u64>,
}

pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<NewFiles, Box<Fault>> {
    decode::check_content_type(headers)?;
    let body = object(body)?;
    let Some(Value::Array(files)) = body.get("files") else {
        return Err(wrong("files", "must be a list of files", "missing_required_parameter"));
    };
    if files.is_empty() || files.len() > FILES_MADE_AT_ONCE_MAX {
        return Err(too_many_at_once());
    }
    let mut read = NewFiles { files: Vec::with_capacity(files.len()), is_public: false };
    for (at, file) in files.iter().enumerate() {
        let Value::Object(file) = file else {
            return Err(wrong(&format!("files.{at}"), "must be an object", "invalid_type"));
        };
        read.is_public |= file.get("public").and_then(Value::as_bool).unwrap_or_default();
        read.files.push(describe(at, file)?);
    }
    Ok(read)
}

fn describe(at: usize, file: &Map<String, Value>) -> Result<Described, Box<Fault>> {
    let text = |name: &str, bytes_max: usize| match file.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= bytes_max && !text.contains(char::is_control) => {
            Ok(Some(text.clone()).filter(|text| !text.is_empty()))
        }
        Some(_) => {
            let field = format!("files.{at}.{name}");
            Err(wrong(&field, &format!("must be a string of at most {bytes_max} bytes"), "invalid_value"))
        }
    };
    if text("uri", FILE_PATH_BYTES_MAX)?.is_some() {
        let why =
            "must be empty: the gateway gives each file its own, and its content is sent to its upload_url";
        return Err(wrong(&format!("files.{at}.uri"), why, "invalid_value"));
    }
    let size = match file.get("size") {
        None | Some(Value::Null) => None,
        Some(size) => {
            let wrong = || wrong(&format!("files.{at}.size"), "must be a number of bytes", "invalid_value");
            Some(size.as_u64().ok_or_else(wrong)?)
        }
    };
    let content_type = text("content_type", CONTENT_TYPE_BYTES_MAX)?.unwrap_or_default();
    if !content_type.is_empty() && !content_type.contains('/') {
        return Err(wrong(
            &format!("files.{at}.content_type"),
            "must be a media type such as image/png",
            "invalid_value",
        ));
    }
    Ok(Described {
        name: text("filename", FILE_NAME_BYTES_MAX)?.unwrap_or_else(|| "file".to_owned()),
        content_type: if content_type.is_empty() {
            "application/octet-stream".to_owned()
        } else {
            content_type
        },
        path: text("path", FILE_PATH_BYTES_MAX)?,
        size,
    })
}

/// Everything but the cursor and the number of items is left out: files have one order, and no filter.
pub(super) fn read_page(headers: &HeaderMap, body: &[u8]) -> Result<PageOptions, Box<Fault>> {
    let items_max = u32::try_from(LIST_PAGE_ITEMS_MAX).unwrap_or(u32::MAX);
    let usual = PageOptions { limit: u32::try_from(LIST_PAGE_ITEMS).unwrap_or(items_max), after: None };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(usual);
    }
    decode::check_content_type(headers)?;
    let body = object(body)?;
    let limit = match body.get("limit") {
        None | Some(Value::Null) => usual.limit,
        Some(limit) => {
            let why = format!("must be a number from 1 to {items_max}");
            let limit = limit.as_u64().and_then(|limit| u32::try_from(limit).ok());
            // Zero is what libraries send that were given none.
            let limit = limit.map(|limit| if limit == 0 { usual.limit } else { limit.min(items_max) });
            limit.ok_or_else(|| wrong("limit", &why, "invalid_value"))?
        }
    };
    let after = match body.get("cursor") {
        None | Some(Value::Null) => None,
        Some(Value::String(cursor)) if cursor.is_empty() => None,
        Some(cursor) => {
            let after = cursor.as_str().and_then(|cursor| cursor.parse::<FileId>().ok());
            let why = "must be the next_cursor of another page";
            Some(after.ok_or_else(|| wrong("cursor", why, "invalid_cursor"))?)
        }
    };
    Ok(PageOptions { limit, after })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Box<Fault>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(wrong("body", "must be a JSON object", "invalid_type")),
        Err(error) => {
            let message = format!("The body isn't valid JSON: it breaks at line {}.", error.line());
            let fault = Fault::new(FaultClass::BadRequest, "invalid_json", message);
            Err(Box::new(fault.fix("Send a JSON object with \"files\".")))
        }
    }
}

fn wrong(field: &str, why: &str, code: &'static str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, code, format!("\"{field}\" {why}."));
    Box::new(fault.fix("Correct this field and send the request again.").param(field.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: &Value) -> Result<NewFiles, String> {
        let read = read(&HeaderMap::new(), body.to_string().as_bytes());
        read.map_err(|fault| fault.param.as_deref().unwrap_or_default().to_owned())
    }

    #[test]
    fn what_clients_send_is_read() {
        let body = json!({"files": [
            {"uri": "", "filename": "a.png", "content_type": "image/png", "path": null, "size": 3, "public": false},
            {"uri": "", "public": true},
        ]});
        let read = check(&body).unwrap();
        let plain = |name: &str, kind: &str, size| Described {
            name: name.to_owned(),
            content_type: kind.to_owned(),
            path: None,
            size,
        };
        let files =
            vec![plain("a.png", "image/png", Some(3)), plain("file", "application/octet-stream", None)];
        assert_eq!(read, NewFiles { files, is_public: true });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            (json!({}), "files"),
            (json!({"files": []}), "files"),
            (json!({"files": [1]}), "files.0"),
            (json!({"files": [{"uri": "https://elsewhere"}]}), "files.0.uri"),
            (json!({"files": [{}, {"size": -1}]}), "files.1.size"),
            (json!({"files": [{"filename": "a\nb"}]}), "files.0.filename"),
            (json!({"files": [{"content_type": "png"}]}), "files.0.content_type"),
            (json!([]), "body"),
        ] {
            assert_eq!(check(&body).unwrap_err(), field, "{body}");
        }
        let page = |body: &str| read_page(&HeaderMap::new(), body.as_bytes());
        let after = FileId::new(1, [7; 10]);
        assert_eq!(page("").unwrap(), PageOptions { limit: 20, after: None });
        let text = format!("{{\"cursor\": \"{after}\", \"limit\": 1000}}");
        assert_eq!(page(&text).unwrap(), PageOptions { limit: 100, after: Some(after) });
        assert_eq!(page("{\"cursor\": \"x\"}").unwrap_err().code, "invalid_cursor");
        assert_eq!(page("{").unwrap_err().code, "invalid_json");
    }
}
