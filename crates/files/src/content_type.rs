//! What a file is, by how it begins: compared with the type that its client declares, and never unpacked.

/// The type that says nothing.
pub const ANY_TYPE: &str = "application/octet-stream";
/// How much of a file is looked at.
const HEAD_BYTES: usize = 8 * 1024;

/// How files of a type begin: bytes at an offset, and those that must follow at another one.
struct Signature {
    at: usize,
    bytes: &'static [u8],
    then: Option<(usize, &'static [u8])>,
    /// The first is what such a file is told to be; the others may be declared as well.
    types: &'static [&'static str],
}

const fn begins(bytes: &'static [u8], types: &'static [&'static str]) -> Signature {
    Signature { at: 0, bytes, then: None, types }
}

const fn inside(
    bytes: &'static [u8],
    at: usize,
    then: &'static [u8],
    types: &'static [&'static str],
) -> Signature {
    Signature { at: 0, bytes, then: Some((at, then)), types }
}

const fn brand(then: &'static [u8], types: &'static [&'static str]) -> Signature {
    Signature { at: 4, bytes: b"ftyp", then: Some((8, then)), types }
}

const JPEG: &[&str] = &["image/jpeg", "image/jpg", "image/pjpeg"];
const MP3: &[&str] = &["audio/mpeg", "audio/mp3"];
const TIFF: &[&str] = &["image/tiff"];
const HEIF: &[&str] = &["image/heic", "image/heif"];
const MP4: &[&str] =
    &["video/mp4", "audio/mp4", "audio/x-m4a", "audio/m4a", "video/quicktime", "application/mp4"];
const MATROSKA: &[&str] = &["video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"];
/// Archives, and what is kept in one: documents of offices, books, packages.
const ZIP: &[&str] = &[
    "application/zip",
    "application/x-zip-compressed",
    "application/epub+zip",
    "application/java-archive",
    "application/vnd.android.package-archive",
];
const ZIP_FAMILIES: &[&str] =
    &["application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."];
const PROGRAM: &[&str] = &["application/x-executable", "application/x-elf", "application/x-sharedlib"];
const WINDOWS_PROGRAM: &[&str] =
    &["application/vnd.microsoft.portable-executable", "application/x-msdownload", "application/x-dosexec"];

const SIGNATURES: &[Signature] = &[
    begins(b"\x89PNG\r\n\x1a\n", &["image/png"]),
    begins(b"\xff\xd8\xff", JPEG),
    begins(b"GIF87a", &["image/gif"]),
    begins(b"GIF89a", &["image/gif"]),
    inside(b"RIFF", 8, b"WEBP", &["image/webp"]),
    inside(b"RIFF", 8, b"WAVE", &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"]),
    inside(b"RIFF", 8, b"AVI ", &["video/x-msvideo", "video/avi"]),
    begins(b"II*\0", TIFF),
    begins(b"MM\0*", TIFF),
    brand(b"avif", &["image/avif"]),
    brand(b"heic", HEIF),
    brand(b"heix", HEIF),
    brand(b"mif1", HEIF),
    Signature { at: 4, bytes: b"ftyp", then: None, types: MP4 },
    begins(b"\x1a\x45\xdf\xa3", MATROSKA),
    begins(b"%PDF-", &["application/pdf"]),
    begins(b"PK\x03\x04", ZIP),
    begins(b"PK\x05\x06", ZIP),
    begins(b"\x1f\x8b", &["application/gzip", "application/x-gzip"]),
    begins(b"BZh", &["application/x-bzip2"]),
    begins(b"\xfd7zXZ\0", &["application/x-xz"]),
    begins(b"\x28\xb5\x2f\xfd", &["application/zstd"]),
    begins(b"7z\xbc\xaf\x27\x1c", &["application/x-7z-compressed"]),
    begins(b"Rar!\x1a\x07", &["application/vnd.rar", "application/x-rar-compressed"]),
    begins(b"OggS", &["audio/ogg", "video/ogg", "application/ogg", "audio/opus"]),
    begins(b"fLaC", &["audio/flac", "audio/x-flac"]),
    begins(b"ID3", MP3),
    begins(b"\xff\xfb", MP3),
    begins(b"\xff\xf3", MP3),
    begins(b"\xff\xf2", MP3),
    begins(b"\xff\xf1", &["audio/aac"]),
    begins(b"\xff\xf9", &["audio/aac"]),
    begins(b"\x7fELF", PROGRAM),
    begins(b"MZ", WINDOWS_PROGRAM),
    begins(b"\xcf\xfa\xed\xfe", &["application/x-mach-binary"]),
    begins(b"SQLite format 3\0", &["application/vnd.sqlite3", "application/x-sqlite3"]),
];

/// A file that is something else than its client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mislabelled {
    /// What it is: a type, or in words.
    pub found: &'static str,
}

/// The type of a file: the declared one, or where that says nothing, the one that its beginning shows.
pub(crate) fn settle(declared: &str, head: &[u8]) -> Result<String, Mislabelled> {
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let head = head.get(..HEAD_BYTES).unwrap_or(head);
    let found = SIGNATURES.iter().find(|signature| signature.is_of(head));
    if essence.is_empty() || essence == ANY_TYPE || essence == "binary/octet-stream" {
        return Ok(found.and_then(|found| found.types.first()).map_or(ANY_TYPE, |found| *found).to_owned());
    }
    match found {
        Some(found) if found.takes(&essence) => Ok(declared.to_owned()),
        // Formats have formats inside, and new names: only a type whose beginning is known contradicts another.
        Some(found) if is_known(&essence) || is_text(&essence) => {
            Err(Mislabelled { found: found.types.first().copied().unwrap_or(ANY_TYPE) })
        }
        None if is_known(&essence) && !head.is_empty() => Err(Mislabelled { found: "something else" }),
        None if is_text(&essence) && is_binary(head) => Err(Mislabelled { found: "not text" }),
        _ => Ok(declared.to_owned()),
    }
}

impl Signature {
    fn is_of(&self, head: &[u8]) -> bool {
        let has = |at: usize, bytes: &[u8]| head.get(at..at + bytes.len()) == Some(bytes);
        has(self.at, self.bytes) && self.then.is_none_or(|(at, bytes)| has(at, bytes))
    }

    fn takes(&self, essence: &str) -> bool {
        self.types.contains(&essence)
            || (self.types == ZIP && ZIP_FAMILIES.iter().any(|family| essence.starts_with(family)))
    }
}

fn is_known(essence: &str) -> bool {
    SIGNATURES.iter().any(|signature| signature.takes(essence))
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json" | "application/xml" | "application/yaml" | "application/jsonl"
        )
}

/// Text in UTF-16 has NUL bytes, and says so by its first two.
fn is_binary(head: &[u8]) -> bool {
    !head.starts_with(b"\xff\xfe") && !head.starts_with(b"\xfe\xff") && head.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_begins_like() {
        let heic = b"\0\0\0\x18ftypheic\0\0";
        let mp4 = b"\0\0\0\x18ftypisom\0\0";
        for (declared, head, expected) in [
            ("image/png", b"\x89PNG\r\n\x1a\n..".as_slice(), Ok("image/png")),
            ("image/png", b"\xff\xd8\xff\xe0", Err("image/jpeg")),
            ("image/jpg", b"\xff\xd8\xff\xe0", Ok("image/jpg")),
            ("image/png", b"hello", Err("something else")),
            ("", b"%PDF-1.7", Ok("application/pdf")),
            ("application/octet-stream", b"%PDF-1.7", Ok("application/pdf")),
            ("application/octet-stream", b"hello", Ok("application/octet-stream")),
            ("text/plain; charset=utf-8", b"hello", Ok("text/plain; charset=utf-8")),
            ("text/plain", b"\x7fELF\x02", Err("application/x-executable")),
            ("text/csv", b"a,b\0c", Err("not text")),
            ("text/csv", b"\xff\xfea\0,\0", Ok("text/csv")),
            ("application/json", b"PK\x03\x04", Err("application/zip")),
            (
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                b"PK\x03\x04",
                Ok("application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ),
            ("application/pdf", b"PK\x03\x04", Err("application/zip")),
            ("image/heif", heic, Ok("image/heif")),
            ("image/heic", mp4, Err("video/mp4")),
            ("audio/mp4", mp4, Ok("audio/mp4")),
            ("application/x-own", b"PK\x03\x04", Ok("application/x-own")),
            ("image/svg+xml", b"<svg/>", Ok("image/svg+xml")),
            ("image/png", b"", Ok("image/png")),
        ] {
            let settled = settle(declared, head);
            let settled = settled.as_deref().map_err(|wrong| wrong.found);
            assert_eq!(settled, expected, "{declared} {head:?}");
        }
    }
}
