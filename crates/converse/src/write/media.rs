//! Media in Converse requests: the format to declare and the source of the bytes.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conversation::features::Feature;
use domain::prompt::Source;

use super::wire::MediaSource;
use crate::limits::DOCUMENT_NAME_CHARS_MAX;

/// Converse's names of formats, each with the media subtypes and file extensions that mean it.
type Formats = &'static [(&'static str, &'static [&'static str])];

pub(super) const IMAGES: Formats =
    &[("png", &["png"]), ("jpeg", &["jpeg", "jpg"]), ("gif", &["gif"]), ("webp", &["webp"])];

pub(super) const AUDIO: Formats = &[
    ("mp3", &["mp3", "mpeg"]),
    ("wav", &["wav", "x-wav", "wave", "vnd.wave"]),
    ("opus", &["opus"]),
    ("aac", &["aac"]),
    ("flac", &["flac", "x-flac"]),
    ("mp4", &["mp4"]),
    ("m4a", &["m4a", "x-m4a"]),
    ("ogg", &["ogg"]),
    ("webm", &["webm"]),
    ("pcm", &["pcm", "l16"]),
];

pub(super) const VIDEOS: Formats = &[
    ("mp4", &["mp4"]),
    ("mov", &["mov", "quicktime"]),
    ("mkv", &["mkv", "x-matroska"]),
    ("webm", &["webm"]),
    ("flv", &["flv", "x-flv"]),
    ("mpeg", &["mpeg"]),
    ("mpg", &["mpg"]),
    ("wmv", &["wmv", "x-ms-wmv"]),
    ("three_gp", &["3gp", "3gpp"]),
];

pub(super) const DOCUMENTS: Formats = &[
    ("pdf", &["pdf"]),
    ("csv", &["csv"]),
    ("doc", &["doc", "msword"]),
    ("docx", &["docx", "vnd.openxmlformats-officedocument.wordprocessingml.document"]),
    ("xls", &["xls", "vnd.ms-excel"]),
    ("xlsx", &["xlsx", "vnd.openxmlformats-officedocument.spreadsheetml.sheet"]),
    ("html", &["html", "htm"]),
    ("txt", &["txt", "plain"]),
    ("md", &["md", "markdown", "x-markdown"]),
];

/// Amazon S3, which Bedrock reads by itself.
const STORE: &str = "s3://";

/// The format and source of a medium.
///
/// # Errors
/// The feature that is lost; `unknown` if the format is not one of these.
pub(super) fn source_of<'a>(
    source: &'a Source,
    formats: Formats,
    unknown: Feature,
) -> Result<(&'static str, MediaSource<'a>), Feature> {
    let of = |word: Option<&str>| format_of(formats, word).ok_or(unknown);
    match source {
        Source::Inline { media_type, base64 } => {
            Ok((of(second_half(media_type))?, MediaSource::Bytes(Cow::Borrowed(base64))))
        }
        Source::Text(text) => Ok((of(Some("plain"))?, MediaSource::Bytes(Cow::Owned(STANDARD.encode(text))))),
        Source::Url { url, media_type } if url.starts_with(STORE) => {
            let word = media_type.as_deref().and_then(second_half).or_else(|| ending(url));
            Ok((of(word)?, MediaSource::S3Location { uri: url }))
        }
        Source::Url { .. } => Err(Feature::MediaUrl),
        Source::File { .. } => Err(Feature::ProviderFile),
    }
}

fn format_of(formats: Formats, word: Option<&str>) -> Option<&'static str> {
    let word = word?.to_ascii_lowercase();
    formats.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(format, _)| *format)
}

fn second_half(media_type: &str) -> Option<&str> {
    let (_, half) = media_type.split(';').next()?.split_once('/')?;
    Some(half.trim())
}

fn ending(url: &str) -> Option<&str> {
    url.rsplit('/').next()?.rsplit_once('.').map(|(_, ending)| ending)
}

/// Document names: restricted in their characters, and unique within a request.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn name(&mut self, requested: Option<&str>) -> String {
        let plain = plain(requested.unwrap_or_default());
        let stem = if plain.is_empty() { "document".to_owned() } else { plain };
        let mut name = stem.clone();
        let mut count = 1;
        while !self.0.insert(name.clone()) {
            count += 1;
            name = format!("{stem} {count}");
        }
        name
    }
}

/// Replaces characters that a name may not have with a space, and collapses repeated ones.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    // Leaves space for a numeric suffix.
    for character in name.chars().take(DOCUMENT_NAME_CHARS_MAX - 10) {
        let may_stand = character.is_ascii_alphanumeric() || matches!(character, '-' | '(' | ')' | '[' | ']');
        if may_stand {
            plain.push(character);
        } else if !plain.ends_with(' ') {
            plain.push(' ');
        }
    }
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_types_and_by_endings() {
        let inline = |media_type: &str| Source::Inline {
            media_type: media_type.to_owned(),
            base64: "AA==".to_owned(),
        };
        let found = |media_type: &str, formats| {
            source_of(&inline(media_type), formats, Feature::Document).map(|(format, _)| format)
        };
        assert_eq!(found("image/JPG", IMAGES), Ok("jpeg"));
        assert_eq!(found("audio/L16;rate=24000", AUDIO), Ok("pcm"));
        assert_eq!(found("video/3gpp", VIDEOS), Ok("three_gp"));
        assert_eq!(found("text/markdown; charset=utf-8", DOCUMENTS), Ok("md"));
        assert_eq!(found("image/tiff", IMAGES), Err(Feature::Document));
        let url = |url: &str| Source::Url { url: url.to_owned(), media_type: None };
        let kept = url("s3://bucket/a/b.PNG");
        assert!(matches!(
            source_of(&kept, IMAGES, Feature::Document),
            Ok(("png", MediaSource::S3Location { uri: "s3://bucket/a/b.PNG" }))
        ));
        let error_of = |source: &Source| source_of(source, IMAGES, Feature::Document).err();
        assert_eq!(error_of(&url("s3://bucket/a.b/c")), Some(Feature::Document));
        assert_eq!(error_of(&url("https://x/a.png")), Some(Feature::MediaUrl));
        assert_eq!(
            error_of(&Source::File { id: "f".to_owned(), media_type: None }),
            Some(Feature::ProviderFile)
        );
    }

    #[test]
    fn no_two_documents_have_one_name() {
        let mut names = Names::default();
        assert_eq!(names.name(Some("a_b..c.pdf")), "a b c pdf");
        assert_eq!(names.name(Some("a b c pdf")), "a b c pdf 2");
        assert_eq!(names.name(Some("é")), "document");
        assert_eq!(names.name(None), "document 2");
        assert_eq!(names.name(Some("Plan (2) [x]-y")), "Plan (2) [x]-y");
        assert!(names.name(Some(&"x".repeat(500))).len() <= 200);
    }
}
