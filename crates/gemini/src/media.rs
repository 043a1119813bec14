//! Media in Gemini requests: the kind of part that their type implies, and the source of their bytes.

use domain::prompt::{Content, Source};

/// The host of Google's Files API.
const FILES: &str = "generativelanguage.googleapis.com/";

/// A part of the kind that its media type implies.
pub(super) fn content_of(source: Source, name: Option<String>) -> Content {
    let kind =
        media_type(&source).and_then(|word| word.split('/').next()).unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "image" => Content::Image { source, detail: None },
        "audio" => Content::Audio { source },
        "video" => Content::Video { source },
        _ => Content::Document { source, name, context: None, cite: false },
    }
}

fn media_type(source: &Source) -> Option<&str> {
    match source {
        Source::Inline { media_type, .. } => Some(media_type),
        Source::Url { url, media_type } => media_type.as_deref().or_else(|| type_of_url(url)),
        Source::File { media_type, .. } => media_type.as_deref(),
        Source::Text(_) => None,
    }
}

/// The source that a URI refers to: the web, or a file stored at Google.
pub(super) fn source_of_uri(uri: String, media_type: Option<String>) -> Source {
    let is_web = uri.starts_with("https://") || uri.starts_with("http://");
    if is_web && !uri.contains(FILES) {
        Source::Url { url: uri, media_type }
    } else {
        Source::File { id: uri, media_type }
    }
}

/// Whether a file's id can come from a Gemini request; other vendors' file ids have no scheme.
pub(super) fn is_own_file(id: &str) -> bool {
    id.contains("://") || id.starts_with("files/")
}

/// The media type that a file extension implies. YouTube links are videos.
pub(super) fn type_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    if path.contains("youtube.com/") || path.contains("youtu.be/") {
        return Some("video/mp4");
    }
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "txt" => "text/plain",
        _ => return None,
    })
}

/// Converts to standard, padded Base64, which all dialects read; Google's SDKs send the URL-safe alphabet.
pub(super) fn standard_base64(text: String) -> String {
    if !text.contains(['-', '_']) && text.len().is_multiple_of(4) {
        return text;
    }
    let mut out = text.replace('-', "+").replace('_', "/");
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_of_the_web_or_of_the_vendor() {
        let is_file = |uri: &str| matches!(source_of_uri(uri.to_owned(), None), Source::File { .. });
        assert!(is_file("https://generativelanguage.googleapis.com/v1beta/files/abc"));
        assert!(is_file("gs://bucket/a.png"));
        assert!(is_file("files/abc"));
        assert!(!is_file("https://example.com/a.png"));
        assert!(!is_own_file("file-abc"));
    }

    #[test]
    fn base64_of_addresses_is_made_standard() {
        assert_eq!(standard_base64("-_8".to_owned()), "+/8=");
        assert_eq!(standard_base64("+/8=".to_owned()), "+/8=");
    }
}
