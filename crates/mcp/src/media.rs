//! Content in JSON: data URIs are taken out, since clients get pictures and sound as separate parts.

use serde_json::{Value, json};

use crate::limits::INLINE_URI_BYTES_MAX;

/// Content that stood in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Media {
    pub media_type: String,
    /// In base64.
    pub content: String,
}

impl Media {
    fn read(uri: &str) -> Option<Self> {
        let (head, content) = uri.strip_prefix("data:")?.split_once(',')?;
        let media_type = head.strip_suffix(";base64")?;
        Some(Self { media_type: media_type.to_owned(), content: content.to_owned() })
    }

    /// As a part of a result; `None` where results have no such part.
    pub(crate) fn block(&self) -> Option<Value> {
        let kind = match self.media_type.split('/').next() {
            Some("image") => "image",
            Some("audio") => "audio",
            _ => return None,
        };
        Some(json!({"type": kind, "data": self.content, "mimeType": self.media_type}))
    }
}

/// Takes long data URIs out of a document; a note is left in place of each.
pub(crate) fn take_out(document: &mut Value) -> Vec<Media> {
    let mut found = Vec::new();
    take(document, &mut found);
    found
}

fn take(value: &mut Value, found: &mut Vec<Media>) {
    match value {
        Value::String(text) if text.len() > INLINE_URI_BYTES_MAX && text.starts_with("data:") => {
            if let Some(media) = Media::read(text) {
                let bytes = media.content.len() / 4 * 3;
                *text = format!("[{} of about {bytes} bytes]", media.media_type);
                found.push(media);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| take(item, found)),
        Value::Object(fields) => fields.values_mut().for_each(|field| take(field, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_data_uris_become_parts_of_their_own() {
        let content = "A".repeat(4_000);
        let mut document = json!({
            "images": [{"uri": format!("data:image/png;base64,{content}"), "width": 1}],
            "small": "data:image/png;base64,AAAA", "text": "x".repeat(5_000),
        });
        let found = take_out(&mut document);
        assert_eq!(found, [Media { media_type: "image/png".to_owned(), content: content.clone() }]);
        assert_eq!(document["images"][0]["uri"], "[image/png of about 3000 bytes]");
        assert_eq!(document["small"], "data:image/png;base64,AAAA");
        assert_eq!(found[0].block().unwrap()["type"], "image");
        let other = Media { media_type: "application/pdf".to_owned(), content };
        assert_eq!(other.block(), None);
    }
}
