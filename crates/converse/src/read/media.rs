//! Reads images, audio, video and documents: their media type and the source of their bytes.

use conversation::object::{Field, Object};
use domain::Fault;
use domain::prompt::{Content, Extra, Source};
use json::refusal::missing;

use super::blocks::{joined_text, read_cite};
use super::union::take_one_of;

/// The media types of formats that are not the subtype of theirs.
const TYPES: &[(&str, &str)] = &[
    ("mp3", "audio/mpeg"),
    ("mpga", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("mka", "audio/x-matroska"),
    ("x-aac", "audio/aac"),
    ("mov", "video/quicktime"),
    ("mkv", "video/x-matroska"),
    ("flv", "video/x-flv"),
    ("mpg", "video/mpeg"),
    ("wmv", "video/x-ms-wmv"),
    ("three_gp", "video/3gpp"),
    ("pdf", "application/pdf"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];

pub(super) fn read_image(image: Field<'_>, extras: &mut Vec<Extra>) -> Result<Option<Content>, Box<Fault>> {
    let source = read_medium(image, "image", extras)?;
    Ok(source.map(|source| Content::Image { source, detail: None }))
}

pub(super) fn read_audio(audio: Field<'_>, extras: &mut Vec<Extra>) -> Result<Option<Content>, Box<Fault>> {
    Ok(read_medium(audio, "audio", extras)?.map(|source| Content::Audio { source }))
}

pub(super) fn read_video(video: Field<'_>, extras: &mut Vec<Extra>) -> Result<Option<Content>, Box<Fault>> {
    Ok(read_medium(video, "video", extras)?.map(|source| Content::Video { source }))
}

fn read_medium(medium: Field<'_>, kind: &str, extras: &mut Vec<Extra>) -> Result<Option<Source>, Box<Fault>> {
    let mut medium = medium.object()?;
    let format = medium.needed_text("format", "Send the format of the bytes, such as png.")?;
    let source = read_source(&mut medium, &media_type(kind, &format), extras)?;
    medium.leave(&[], extras);
    Ok(source)
}

pub(super) fn read_document(
    document: Field<'_>,
    extras: &mut Vec<Extra>,
) -> Result<Option<Content>, Box<Fault>> {
    let mut document = document.object()?;
    let format = document.text("format")?.unwrap_or_else(|| "txt".to_owned());
    let name = Some(document.needed_text("name", "Give the document a name.")?);
    let context = document.text("context")?;
    let cite = read_cite(&mut document, extras)?;
    let source = read_source(&mut document, &media_type("text", &format), extras)?;
    document.leave(&[], extras);
    Ok(source.map(|source| Content::Document { source, name, context, cite }))
}

/// An unlisted format is taken as the media type's subtype.
fn media_type(kind: &str, format: &str) -> String {
    let mut known = TYPES.iter().filter(|(name, _)| *name == format);
    known.next().map_or_else(|| format!("{kind}/{format}"), |(_, media_type)| (*media_type).to_owned())
}

/// Reads the source of the bytes. Returns `None` for an S3 location, which no other provider can read.
fn read_source(
    object: &mut Object<'_>,
    media_type: &str,
    extras: &mut Vec<Extra>,
) -> Result<Option<Source>, Box<Fault>> {
    let mut source = object.need("source", "Send the source, such as bytes.")?.object()?;
    let path = source.path_of("bytes");
    let found = match take_one_of(&mut source, &["bytes", "text", "s3Location"])? {
        Some(("bytes", bytes)) => {
            Some(Source::Inline { media_type: media_type.to_owned(), base64: bytes.text()? })
        }
        Some(("text", text)) => Some(Source::Text(text.text()?)),
        Some((_, location)) => {
            extras.push(Extra { name: location.path, affects_answer: true });
            None
        }
        None => match joined_text(&mut source, "content", extras)? {
            text if text.is_empty() => return Err(missing(path, "Send the bytes in Base64.")),
            text => Some(Source::Text(text)),
        },
    };
    source.leave(&[], extras);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_media_types() {
        for (kind, format, expected) in [
            ("image", "png", "image/png"),
            ("audio", "mp3", "audio/mpeg"),
            ("audio", "wav", "audio/wav"),
            ("video", "three_gp", "video/3gpp"),
            ("text", "csv", "text/csv"),
            ("text", "pdf", "application/pdf"),
        ] {
            assert_eq!(media_type(kind, format), expected);
        }
    }
}
