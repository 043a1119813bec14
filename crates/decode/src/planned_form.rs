//! A form written from a JSON object, for a request that is planned and not served.

use bytes::Bytes;
use domain::upload::Pieces;
use domain::{Fault, FaultClass, Operation, TraceId};
use operations::{Body, FormFields};
use serde_json::Value;
use std::task::{Context, Poll};

use crate::form::{FormArrival, FormIn, open_form};

/// A form that is complete already.
struct Whole(Option<Bytes>);

impl Pieces for Whole {
    fn poll_piece(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// Reads a JSON object as a form with its members as fields. Files are empty and have the names that their members
/// hold: what is planned does not depend on their content.
///
/// # Errors
/// It is no object, or the form would be refused.
pub async fn form_of_json(operation: Operation, body: &[u8], trace: TraceId) -> Result<FormIn, Box<Fault>> {
    let fields = match operations::of(operation).facts().body {
        Body::Form(fields) | Body::JsonOrForm(fields) => fields,
        Body::Json => return Err(Box::new(Fault::internal())),
    };
    let boundary = format!("tidegate-{trace}");
    let form = written(fields, body, &boundary)?;
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let coming = FormArrival { operation, content_type: &content_type, announced: None, is_held: true };
    open_form(Box::new(Whole(Some(form))), coming).await
}

fn written(fields: &FormFields, body: &[u8], boundary: &str) -> Result<Bytes, Box<Fault>> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        let message = "This path takes a form, and the request isn't a JSON object with its fields.";
        let fault = Fault::new(FaultClass::BadRequest, "invalid_type", message).param("request");
        return Err(Box::new(fault.fix("Send the fields as members, and a file's name for a file.")));
    };
    let is_file = |name: &str| {
        name == fields.file || fields.several_files == Some(name) || fields.other_files.contains(&name)
    };
    let mut form = String::new();
    for (name, value) in &members {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let name = quoted(name);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let (file, text) = if is_file(&name) {
                (format!("; filename=\"{}\"", quoted(&text)), String::new())
            } else {
                (String::new(), text.replace(boundary, ""))
            };
            form.push_str(&format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n"
            ));
        }
    }
    form.push_str(&format!("--{boundary}--\r\n"));
    Ok(form.into())
}

/// A name without what would end it in a header.
fn quoted(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control() && *letter != '"' && *letter != '\\').collect()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn read(body: &str) -> Result<FormIn, Box<Fault>> {
        let form = pin!(form_of_json(Operation::Transcribe, body.as_bytes(), TraceId::new(1, [7; 10])));
        match form.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(form) => form,
            Poll::Pending => panic!("there is nothing to wait for"),
        }
    }

    #[test]
    fn members_become_fields_and_files_are_empty() {
        let form = read(
            r#"{"model":"publisher/ears","file":"a\"b.mp3","language":"en","timestamp_granularities[]":["word"]}"#,
        );
        let form = form.unwrap();
        assert_eq!(form.request.model, "publisher/ears");
        let held = String::from_utf8(form.held.to_vec()).unwrap();
        assert!(held.contains("name=\"file\"; filename=\"ab.mp3\"\r\n\r\n\r\n"), "{held}");
        assert!(held.contains("name=\"timestamp_granularities[]\"\r\n\r\nword\r\n"), "{held}");
    }

    #[test]
    fn what_is_no_form_is_refused_as_such() {
        assert_eq!(read("[]").unwrap_err().code, "invalid_type");
        assert_eq!(read(r#"{"model":"publisher/ears"}"#).unwrap_err().code, "missing_required_parameter");
    }
}
