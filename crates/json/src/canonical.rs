//! A document in one form for all its spellings: members in the order of their names, and no whitespace.

use super::{Cursor, JsonError, Kind, Span};

/// The document without whitespace and with its members sorted. Numbers and strings stay as they are written: two
/// spellings of a value are two values here.
///
/// # Errors
/// The first error in the document.
pub fn canonical(document: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(document)?;
    write(&mut cursor, out)?;
    cursor.end()
}

fn write(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match cursor.kind()? {
        Kind::Object => object(cursor, out),
        Kind::Array => {
            out.push(b'[');
            cursor.array(|cursor, index| {
                if index > 0 {
                    out.push(b',');
                }
                write(cursor, out)
            })?;
            out.push(b']');
            Ok(())
        }
        _ => {
            let span = cursor.skip()?;
            out.extend_from_slice(span.of(cursor.bytes()));
            Ok(())
        }
    }
}

fn object(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    // Each member's name, and where it was written.
    let mut members: Vec<(&[u8], Span)> = Vec::new();
    let (document, start) = (cursor.bytes(), out.len());
    out.push(b'{');
    cursor.object(|cursor, member| {
        if !members.is_empty() {
            out.push(b',');
        }
        let (name, at) = (member.key.span.of(document), out.len());
        out.extend_from_slice(name);
        out.push(b':');
        write(cursor, out)?;
        members.push((name, Span::new(at, out.len())));
        Ok::<_, JsonError>(())
    })?;
    if !members.is_sorted_by_key(|(name, _)| *name) {
        // Stable, so that of two members of one name the order counts.
        members.sort_by_key(|(name, _)| *name);
        let mut sorted = Vec::with_capacity(out.len() - start);
        for (index, (_, written)) in members.iter().enumerate() {
            sorted.push(if index == 0 { b'{' } else { b',' });
            sorted.extend_from_slice(written.of(out));
        }
        out.truncate(start);
        out.extend_from_slice(&sorted);
    }
    out.push(b'}');
    Ok(())
}
