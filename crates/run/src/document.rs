//! The document of an input, fetched under the address guard or decoded from a `data:` URI: either as text,
//! or unchanged for models that read its type themselves.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use domain::limits::DOCUMENT_BYTES_MAX;
use domain::{Fault, FaultClass, ObjectOwner};
use egress::{Client, DocumentLimits, fetch_document};
use line::Core;
use percent_encoding::percent_decode_str;

use crate::files;
use crate::input::{DocumentInput, InputError};
use crate::limits::DOCUMENT_NAME_CHARS_MAX;
use crate::refusal::Refusal;
use runbody::sanitize;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Text types besides `text/*`.
const TEXT_TYPES: &[&str] = &[
    "application/json",
    "application/jsonl",
    "application/x-jsonlines",
    "application/x-ndjson",
    "application/ndjson",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/csv",
    "application/markdown",
];

/// Generic types, which say nothing; then the client's declared type counts, and after that the file
/// extension.
const GENERIC_TYPES: &[&str] = &["application/octet-stream", "binary/octet-stream", "application/binary"];

const EXTENSIONS: &[(&str, &str)] = &[
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("jsonl", "application/jsonl"),
    ("ndjson", "application/x-ndjson"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("pdf", PDF),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
];

/// Types that models read natively.
const PDF: &str = "application/pdf";
const PICTURES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

const SUPPORTED: &str =
    "text/* and JSON, XML, YAML, TOML, CSV or Markdown are, and PDF and PNG, JPEG, GIF or WebP pictures";

/// A document in the form that the model will read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Text(Text),
    /// Unchanged, with its type.
    Pdf {
        name: String,
        uri: String,
        bytes: Bytes,
    },
    Picture {
        uri: String,
    },
}

impl Document {
    /// Its bytes as they are sent.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.text.len(),
            Self::Pdf { uri, .. } | Self::Picture { uri } => uri.len(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub name: String,
    pub mime: String,
    pub text: String,
}

/// The bytes of a file with its name and type.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub name: Option<String>,
    pub mime: String,
    pub charset: Option<String>,
    pub bytes: Bytes,
}

impl Raw {
    pub(crate) fn data_uri(&self) -> String {
        format!("data:{};base64,{}", self.mime, BASE64.encode(&self.bytes))
    }

    pub(crate) fn is_picture(&self) -> bool {
        PICTURES.contains(&self.mime.as_str())
    }
}

/// Fetches or decodes the document.
///
/// # Errors
/// The address is not allowed, the document can't be fetched, or its type is one that models don't read.
pub(crate) async fn load(
    input: &DocumentInput,
    core: &Core,
    owner: ObjectOwner,
) -> Result<Document, Refusal> {
    let raw = load_own(input, core, owner).await?;
    read(raw).map_err(|problem| problem.at(input))
}

/// Reads an uploaded file, or fetches or decodes another one.
pub(crate) async fn load_own(input: &DocumentInput, core: &Core, owner: ObjectOwner) -> Result<Raw, Refusal> {
    let Some(id) = files::named(input.uri.trim()) else {
        return load_raw(input, &core.deps.egress).await;
    };
    let opened = files::open(core, owner, id).await;
    let (file, bytes) =
        opened.map_err(|fault| Refusal::Fault(Box::new((*fault).param(param_of(&input.pointer)))))?;
    let (mime, charset) = type_and_charset(&file.content_type);
    let raw = Raw { name: Some(file.name), mime, charset, bytes };
    named(raw, input).map_err(|problem| problem.at(input))
}

/// Fetches or decodes a file, whose type is then what its bytes show.
///
/// # Errors
/// The address is not allowed, the file can't be fetched, or it is of another type than it says.
pub(crate) async fn load_raw(input: &DocumentInput, client: &Client) -> Result<Raw, Refusal> {
    let uri = input.uri.trim();
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    let raw = match scheme.as_str() {
        "data" => decode(uri).map_err(|problem| problem.at(input))?,
        "https" | "http" => {
            let document = fetch_document(client, uri, DocumentLimits::default())
                .await
                .map_err(|fault| Refusal::Fault(Box::new(fault.param(param_of(&input.pointer)))))?;
            Raw {
                name: name_in_url(uri),
                mime: document.mime,
                charset: document.charset,
                bytes: document.bytes,
            }
        }
        _ => {
            let problem = "isn't an address of a document: an https URL, a data: URI or an uploaded file is";
            return Err(Problem::Unfit(problem.to_owned()).at(input));
        }
    };
    named(raw, input).map_err(|problem| problem.at(input))
}

fn type_and_charset(content_type: &str) -> (String, Option<String>) {
    let (mime, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters.split(';').filter_map(|one| one.trim().split_once('='));
    let charset = charset.filter(|(name, _)| name.eq_ignore_ascii_case("charset")).map(|(_, value)| value);
    let charset = charset.map(|value| value.trim_matches('"').to_ascii_lowercase()).next();
    (mime.trim().to_ascii_lowercase(), charset)
}

/// A place of an input as errors name fields: `/input/document/uri` is a part of `input.document`.
fn param_of(pointer: &str) -> String {
    pointer.trim_start_matches('/').trim_end_matches("/uri").replace('/', ".")
}

enum Problem {
    Unfit(String),
    TooLarge,
}

impl Problem {
    fn at(self, input: &DocumentInput) -> Refusal {
        match self {
            Self::Unfit(message) => {
                Refusal::Input(vec![InputError { pointer: input.pointer.clone(), message }])
            }
            Self::TooLarge => {
                let message = format!("The document is larger than {DOCUMENT_BYTES_MAX} bytes.");
                let fault = Fault::new(FaultClass::TooLarge, "document_too_large", message)
                    .fix("Send a shorter document, or the part of it that matters.")
                    .param(param_of(&input.pointer));
                Refusal::Fault(Box::new(fault))
            }
        }
    }
}

/// `data:[type][;name=value]*[;base64],bytes`
fn decode(uri: &str) -> Result<Raw, Problem> {
    let unfit = |message: &str| Problem::Unfit(message.to_owned());
    let rest = uri.get("data:".len()..).unwrap_or_default();
    let (head, payload) = rest.split_once(',').ok_or_else(|| unfit("is a data: URI without a comma"))?;
    let mut parts = head.split(';').map(str::trim);
    let mime = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut charset, mut name, mut is_base64) = (None, None, false);
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("charset") => {
                charset = Some(value.trim_matches('"').to_ascii_lowercase());
            }
            Some((key, value)) if key.eq_ignore_ascii_case("name") => name = unescape(value),
            None if part.eq_ignore_ascii_case("base64") => is_base64 = true,
            _ => {}
        }
    }
    let mut bytes: Vec<u8> = percent_decode_str(payload).collect();
    if is_base64 {
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        let decoded = BASE64.decode(&bytes).or_else(|_| BASE64_URL.decode(&bytes));
        bytes = decoded.map_err(|_| unfit("is a data: URI whose base64 is broken"))?;
    }
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    let mime = if mime.is_empty() { "text/plain".to_owned() } else { mime };
    Ok(Raw { name, mime, charset, bytes: bytes.into() })
}

/// The file under the name and type that it has by all that is said of it and by its bytes.
fn named(raw: Raw, input: &DocumentInput) -> Result<Raw, Problem> {
    let given = input.filename.clone().or_else(|| raw.name.clone());
    let name = given.map(|name| clean(&name)).filter(|name| !name.is_empty());
    let mut mime = settled_type(&raw.mime, input.content_type.as_deref(), name.as_deref());
    let found = type_by_bytes(&raw.bytes);
    if let Some(found) = found.filter(|_| GENERIC_TYPES.contains(&mime.as_str())) {
        mime = found.to_owned();
    }
    let has_known_start = mime == PDF || PICTURES.contains(&mime.as_str());
    if (has_known_start && found != Some(mime.as_str())) || (is_text(&mime) && found.is_some()) {
        let found = found.unwrap_or("something else");
        let sanitized = sanitize(&mime);
        return Err(Problem::Unfit(format!("is declared as {sanitized}, but its bytes are {found}")));
    }
    Ok(Raw { name, mime, ..raw })
}

/// The type that a file begins as.
pub(crate) fn type_by_bytes(bytes: &[u8]) -> Option<&'static str> {
    let is_riff = |kind: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(kind);
    let starts: [(&[u8], &str); 5] = [
        (b"%PDF", PDF),
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        // Also of Office documents. Nothing here unpacks one.
        (b"PK\x03\x04", "application/zip"),
    ];
    let found = starts.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, mime)| *mime);
    found.or_else(|| is_riff(b"WEBP").then_some("image/webp"))
}

fn read(raw: Raw) -> Result<Document, Problem> {
    if raw.mime == PDF {
        let uri = raw.data_uri();
        return Ok(Document::Pdf {
            name: raw.name.unwrap_or_else(|| "document.pdf".to_owned()),
            uri,
            bytes: raw.bytes,
        });
    }
    if raw.is_picture() {
        return Ok(Document::Picture { uri: raw.data_uri() });
    }
    read_text(raw).map(Document::Text)
}

fn read_text(raw: Raw) -> Result<Text, Problem> {
    let Raw { name, mime, charset, bytes } = raw;
    // Clients upload bytes without a type: bytes that read as text are taken as text.
    let reads_as_text = || std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains('\0'));
    let mime = mime.as_str();
    let mime = if GENERIC_TYPES.contains(&mime) && reads_as_text() { "text/plain" } else { mime };
    if !is_text(mime) {
        let sanitized = sanitize(mime);
        return Err(Problem::Unfit(format!(
            "is a document of type {sanitized}, which is not supported; {SUPPORTED}"
        )));
    }
    if let Some(charset) =
        charset.filter(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii"))
    {
        let sanitized = sanitize(&charset);
        return Err(Problem::Unfit(format!("is a document in {sanitized}, but only UTF-8 is supported")));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Problem::Unfit("is a document that is not UTF-8".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains('\0') {
        return Err(Problem::Unfit("is a document with NUL characters in it, so it isn't text".to_owned()));
    }
    Ok(Text { name: name.unwrap_or_else(|| "document".to_owned()), mime: clean(mime), text: text.to_owned() })
}

fn settled_type(declared: &str, hint: Option<&str>, name: Option<&str>) -> String {
    let hint = hint.and_then(|hint| hint.split(';').next()).map(|hint| hint.trim().to_ascii_lowercase());
    if !GENERIC_TYPES.contains(&declared) {
        return declared.to_owned();
    }
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        return hint;
    }
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_ascii_lowercase());
    let known = extension.and_then(|end| EXTENSIONS.iter().find(|(known, _)| *known == end));
    known.map_or_else(|| declared.to_owned(), |(_, mime)| (*mime).to_owned())
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/")
        || TEXT_TYPES.contains(&mime)
        || (mime.starts_with("application/") && (mime.ends_with("+json") || mime.ends_with("+xml")))
}

/// The last segment of the path. The query is ignored: it may hold a signature.
fn name_in_url(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1;
    unescape(path.split_once('/')?.1.rsplit('/').next()?)
}

fn unescape(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Removes what would break an attribute of the prompt's document tag.
fn clean(name: &str) -> String {
    let kept =
        name.chars().filter(|character| !character.is_control() && !matches!(character, '"' | '<' | '>'));
    kept.take(DOCUMENT_NAME_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str) -> Result<(String, String, String), String> {
        let input =
            DocumentInput { uri: uri.to_owned(), pointer: "/p".to_owned(), ..DocumentInput::default() };
        let read = decode(uri).and_then(|raw| named(raw, &input)).and_then(read);
        let summarize = |read| match read {
            Document::Text(text) => (text.name, text.mime, text.text),
            Document::Pdf { name, uri, .. } => (name, "pdf".to_owned(), uri),
            Document::Picture { uri } => (String::new(), "picture".to_owned(), uri),
        };
        read.map(summarize).map_err(|problem| match problem {
            Problem::Unfit(message) => message,
            Problem::TooLarge => "too large".to_owned(),
        })
    }

    fn text(name: &str, mime: &str, text: &str) -> Result<(String, String, String), String> {
        Ok((name.to_owned(), mime.to_owned(), text.to_owned()))
    }

    #[test]
    fn data_uris_are_decoded() {
        assert_eq!(check("data:,a%20b"), text("document", "text/plain", "a b"));
        assert_eq!(check("DATA:text/csv,a,b"), text("document", "text/csv", "a,b"));
        assert_eq!(check("data:text/plain;base64,aGVsbG8="), text("document", "text/plain", "hello"));
        assert_eq!(check("data:text/plain;base64,aGVs bG8"), text("document", "text/plain", "hello"));
        assert_eq!(check("data:text/plain;base64,aGVsbG8%3D"), text("document", "text/plain", "hello"));
        assert_eq!(
            check("data:application/json;charset=utf-8;name=a%20b.json;base64,e30"),
            text("a b.json", "application/json", "{}")
        );
        assert_eq!(check("data:text/plain;base64,8J-YgA"), text("document", "text/plain", "😀"));
        assert_eq!(check("data:;name=\"x<y>\n.md,t"), text("xy.md", "text/plain", "t"));
        assert_eq!(
            check("data:application/octet-stream;name=a.yml,k"),
            text("a.yml", "application/yaml", "k")
        );
        assert_eq!(check("data:application/octet-stream,x"), text("document", "text/plain", "x"));
        assert_eq!(check("data:text/plain,%EF%BB%BFx"), text("document", "text/plain", "x"));
    }

    #[test]
    fn what_models_look_at_themselves_goes_on_as_it_is() {
        for (uri, name, kind, sent) in [
            (
                "data:application/pdf;base64,JVBERg",
                "document.pdf",
                "pdf",
                "data:application/pdf;base64,JVBERg==",
            ),
            (
                "data:application/octet-stream;name=q1.PDF;base64,JVBERg==",
                "q1.PDF",
                "pdf",
                "data:application/pdf;base64,JVBERg==",
            ),
            ("data:image/png,%89PNG", "", "picture", "data:image/png;base64,iVBORw=="),
            ("data:application/octet-stream,%89PNG", "", "picture", "data:image/png;base64,iVBORw=="),
        ] {
            let expected = (name.to_owned(), kind.to_owned(), sent.to_owned());
            assert_eq!(check(uri), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_reason() {
        for (uri, part) in [
            ("data:text/plain", "comma"),
            ("data:text/plain;base64,a*b", "base64"),
            ("data:application/zip;base64,UEs=", "application/zip, which is not supported; text/*"),
            ("data:image/svg+xml,<svg/>", "image/svg+xml"),
            ("data:application/octet-stream,%FF", "octet-stream"),
            ("data:application/octet-stream,a%00b", "octet-stream"),
            ("data:text/plain;charset=iso-8859-1,x", "iso-8859-1"),
            ("data:text/plain,%FF", "not UTF-8"),
            ("data:text/plain,a%00b", "NUL"),
            ("data:image/png;base64,JVBERg==", "declared as image/png, but its bytes are application/pdf"),
            ("data:application/pdf,<html>", "bytes are something else"),
            ("data:text/plain,PK%03%04", "bytes are application/zip"),
            ("data:application/octet-stream,PK%03%04", "application/zip, which is not supported"),
            (
                "data:application/vnd.openxmlformats-officedocument.wordprocessingml.document,PK%03%04",
                "not supported; text/*",
            ),
        ] {
            let refused = check(uri).unwrap_err();
            assert!(refused.contains(part), "{uri}: {refused}");
        }
        let large = format!("data:,{}", "x".repeat(DOCUMENT_BYTES_MAX + 1));
        assert_eq!(check(&large), Err("too large".to_owned()));
    }

    #[test]
    fn a_name_is_the_last_segment_of_the_path() {
        for (url, name) in [
            ("https://h/a/report%201.csv?sig=secret#f", Some("report 1.csv")),
            ("https://h/a/", Some("")),
            ("https://h", None),
            ("https://h/?x=/y", Some("")),
            ("https://h/%ff", None),
        ] {
            assert_eq!(name_in_url(url).as_deref(), name, "{url}");
        }
    }

    #[test]
    fn a_generic_type_gives_way_to_the_hint_and_then_the_name() {
        let generic = "binary/octet-stream";
        assert_eq!(settled_type(generic, Some("Text/CSV; x=y"), Some("a.json")), "text/csv");
        assert_eq!(settled_type(generic, None, Some("a.JSON")), "application/json");
        assert_eq!(settled_type(generic, Some(""), Some("noend")), generic);
        assert_eq!(settled_type("application/pdf", Some("text/plain"), Some("a.txt")), "application/pdf");
    }
}
