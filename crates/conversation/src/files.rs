//! Files that conversations reference, found while a request is read.

use json::{Cursor, JsonError, Kind, Span, Value};

use crate::request::NamedFile;

/// Reads a file id, or skips a value that is not a string.
pub fn read_id(
    cursor: &mut Cursor<'_>,
    files: &mut Vec<NamedFile>,
    path: impl FnOnce() -> String,
) -> Result<(), JsonError> {
    cursor.kind()?;
    let start = cursor.position();
    if let Value::String(text) = cursor.value()? {
        let span = Span::new(start, cursor.position());
        files.push(NamedFile { id: text.decode().into_owned(), path: path(), is_exchanged: false, span });
    }
    Ok(())
}

/// Reads an object that may hold a file id among other members.
pub fn read_object(
    cursor: &mut Cursor<'_>,
    files: &mut Vec<NamedFile>,
    path: &dyn Fn() -> String,
) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.ignore();
    }
    cursor.object(
        |cursor, member| {
            if member.key.is("file_id") { read_id(cursor, files, path) } else { cursor.ignore() }
        },
    )?;
    Ok(())
}
