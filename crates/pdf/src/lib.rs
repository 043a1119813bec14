//! The text of a PDF, for models that read none: extracted page by page, bounded in time, memory and length. The reader is a separate process,
//! because a document may take any amount of time and memory, and only a process can be killed.

mod limits;
mod reader;

use std::cell::Cell;
use std::time::Instant;

use bytes::Bytes;
use lopdf::{Document, LoadOptions, Object, ObjectId};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{
    FONTS_OF_PAGE_MAX, OBJECTS_MAX, PAGES_MAX, READ_AT_ONCE_MAX, STREAM_BYTES_MAX, TEXT_BYTES_MAX, TIME_MAX,
};
pub use crate::reader::entered;

/// What a PDF says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PdfText {
    pub text: String,
    pub pages: usize,
    /// Not all of it was read: it is longer than what is taken, or a page could not be read.
    pub is_partial: bool,
}

/// Why nothing of a PDF was read, as the rest of a sentence about it.
pub type Unread = &'static str;

const ENCRYPTED: Unread = "is a PDF that is encrypted; send it without its password";
const BROKEN: Unread = "is a PDF that can't be read: it is damaged, or larger than what is unpacked of one";
const SLOW: Unread =
    "is a PDF whose text takes too long to extract; send the part of it that matters, or its text";
const NO_TEXT: Unread =
    "is a PDF without text, such as a scan, and this model takes none; name one that takes PDFs";

/// All cores share them: each may take a processor and some memory.
static READS: Semaphore = Semaphore::const_new(READ_AT_ONCE_MAX);

thread_local! {
    /// Values that the document being loaded on this thread may still have.
    static VALUES_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Extracts the text of a PDF, once `turn` says that it is its owner's turn; its permit is held until the PDF is read.
///
/// # Errors
/// It is encrypted, damaged, too large or too slow to read, or has no text.
pub async fn text_of(pdf: Bytes, turn: impl Future) -> Result<PdfText, Unread> {
    let reading = async {
        let _turn = turn.await;
        let _permit = READS.acquire().await.map_err(|_| SLOW)?;
        reader::read_apart(&pdf).await
    };
    // The reader ends with the future that waits for it.
    timeout(TIME_MAX, reading).await.unwrap_or(Err(SLOW))
}

/// Extracts it here: in the process that is there for it, and under random input.
///
/// # Errors
/// As `text_of`.
pub fn read(pdf: &[u8]) -> Result<PdfText, Unread> {
    let until = Instant::now() + TIME_MAX;
    // Its trailer is never packed.
    if has(pdf, b"/Encrypt") {
        return Err(ENCRYPTED);
    }
    VALUES_LEFT.set(OBJECTS_MAX);
    let options = LoadOptions {
        filter: Some(bounded),
        max_decompressed_size: Some(STREAM_BYTES_MAX),
        ..LoadOptions::default()
    };
    let document = Document::load_mem_with_options(pdf, options).map_err(|_| BROKEN)?;
    let pages: Vec<(u32, ObjectId)> = document.get_pages().into_iter().collect();
    let mut text = String::new();
    let mut is_partial = pages.len() > PAGES_MAX || VALUES_LEFT.get() == 0;
    for (number, page) in pages.iter().take(PAGES_MAX) {
        if Instant::now() > until {
            return Err(SLOW);
        }
        let fonts = document.get_page_fonts(*page).map_or(0, |fonts| fonts.len());
        let extracted = (fonts <= FONTS_OF_PAGE_MAX)
            .then(|| document.extract_text_with_limit(&[*number], STREAM_BYTES_MAX).ok())
            .flatten();
        match extracted {
            Some(extracted) => text.push_str(&extracted),
            None => is_partial = true,
        }
        if text.len() > TEXT_BYTES_MAX {
            let end = text.floor_char_boundary(TEXT_BYTES_MAX);
            text.truncate(end);
            is_partial = true;
            break;
        }
    }
    let text: String =
        text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect();
    match text.trim() {
        "" if pages.is_empty() => Err(BROKEN),
        "" => Err(NO_TEXT),
        _ => Ok(PdfText { text, pages: pages.len(), is_partial }),
    }
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Keeps an object as long as all of them together have few enough values: a small file can unpack to very many. The reader
/// takes what is returned of some, and what is left in place of others.
fn bounded(id: ObjectId, object: &mut Object) -> Option<(ObjectId, Object)> {
    let left = VALUES_LEFT.get().saturating_sub(values(object));
    VALUES_LEFT.set(left);
    (left > 0).then(|| (id, object.clone()))
}

/// The number of values in an object. The reader nests none deeper than it reads.
fn values(object: &Object) -> usize {
    match object {
        Object::Array(items) => items.iter().map(values).sum::<usize>() + 1,
        Object::Dictionary(fields) => fields.iter().map(|(_, value)| values(value)).sum::<usize>() + 1,
        Object::Stream(stream) => stream.dict.iter().map(|(_, value)| values(value)).sum::<usize>() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use lopdf::content::{Content, Operation};
    use lopdf::{Stream, dictionary};

    use super::*;

    /// A PDF with these pages.
    pub fn pdf(pages: &[&str]) -> Vec<u8> {
        let mut document = Document::with_version("1.5");
        let tree = document.new_object_id();
        let font = document.add_object(dictionary! {
            "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
        });
        let resources = document.add_object(dictionary! {"Font" => dictionary! {"F1" => font}});
        let mut kids: Vec<Object> = Vec::new();
        for page in pages {
            let content = Content {
                operations: vec![
                    Operation::new("BT", vec![]),
                    Operation::new("Tf", vec!["F1".into(), 12.into()]),
                    Operation::new("Tj", vec![Object::string_literal(*page)]),
                    Operation::new("ET", vec![]),
                ],
            };
            let content = document.add_object(Stream::new(dictionary! {}, content.encode().unwrap()));
            let page = dictionary! {"Type" => "Page", "Parent" => tree, "Contents" => content, "Resources" => resources};
            kids.push(document.add_object(page).into());
        }
        let count = i64::try_from(kids.len()).unwrap();
        document
            .objects
            .insert(tree, dictionary! {"Type" => "Pages", "Kids" => kids, "Count" => count}.into());
        let catalog = document.add_object(dictionary! {"Type" => "Catalog", "Pages" => tree});
        document.trailer.set("Root", catalog);
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn pages_are_read_in_their_order() {
        let read = read(&pdf(&["Revenue rose.", "Costs fell."])).unwrap();
        let (first, second) = (read.text.find("Revenue rose."), read.text.find("Costs fell."));
        assert!(first.is_some() && first < second, "{read:?}");
        assert_eq!((read.pages, read.is_partial), (2, false));
    }

    #[test]
    fn hostile_documents_end_in_a_clear_error() {
        let deep = [b"%PDF-1.4\n1 0 obj\n".as_slice(), &b"[".repeat(500_000), b"\nendobj\n"].concat();
        let ring = "%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>\nendobj\ntrailer\n<</Root 1 0 R>>\n";
        let encrypted = "%PDF-1.4\ntrailer\n<</Encrypt 5 0 R>>\n";
        let cut = pdf(&["a"]).into_iter().take(60).collect::<Vec<_>>();
        for (bytes, why) in [
            (deep.as_slice(), BROKEN),
            (ring.as_bytes(), BROKEN),
            (encrypted.as_bytes(), ENCRYPTED),
            (&cut, BROKEN),
            (b"%PDF-1.4", BROKEN),
            (&pdf(&["", " "]), NO_TEXT),
        ] {
            assert_eq!(
                read(bytes),
                Err(why),
                "{}",
                String::from_utf8_lossy(bytes.get(..80).unwrap_or(bytes))
            );
        }
    }

    /// A page whose packed content is a thousand times as long is not unpacked.
    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut document = Document::load_mem(&pdf(&["a", "b"])).unwrap();
        let pages = document.get_pages();
        let bomb = document.get_page_contents(pages[&1])[0];
        let stream = document.get_object_mut(bomb).unwrap().as_stream_mut().unwrap();
        stream.set_plain_content(b" ".repeat(STREAM_BYTES_MAX + 1));
        stream.compress().unwrap();
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        assert!(bytes.len() < STREAM_BYTES_MAX / 100, "{}", bytes.len());
        let read = read(&bytes).unwrap();
        assert!(read.is_partial && read.text.contains('b'), "{read:?}");
        let many: Object = vec![Object::Null; 10].into();
        VALUES_LEFT.set(12);
        assert!(bounded((1, 0), &mut many.clone()).is_some());
        assert_eq!((bounded((1, 0), &mut many.clone()), values(&many)), (None, 11));
    }
}
