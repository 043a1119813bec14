//! What the beginning of a picture tells of it: its type and its size.

/// A picture's type.
pub(super) fn type_of(bytes: &[u8]) -> &'static str {
    crate::document::type_by_bytes(bytes)
        .filter(|kind| kind.starts_with("image/"))
        .unwrap_or("application/octet-stream")
}

/// Its width and height, where its beginning tells them.
pub(super) fn size_of(bytes: &[u8]) -> Option<(u32, u32)> {
    match type_of(bytes) {
        "image/png" => Some((big(bytes.get(16..20)?)?, big(bytes.get(20..24)?)?)),
        "image/gif" => Some((little(bytes.get(6..8)?)?, little(bytes.get(8..10)?)?)),
        "image/jpeg" => jpeg(bytes),
        _ => None,
    }
}

/// Segment by segment up to the frame's head, which has the size.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.get(2..)?;
    loop {
        let (marker, length) = (*rest.get(1)?, big(rest.get(2..4)?)?);
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame {
            return Some((big(rest.get(7..9)?)?, big(rest.get(5..7)?)?));
        }
        // At least its marker is passed, so that this ends.
        rest = rest.get(usize::try_from(length).ok()?.saturating_add(2)..)?;
    }
}

fn big(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |number, byte| number.checked_mul(256)?.checked_add(u32::from(*byte)))
}

fn little(bytes: &[u8]) -> Option<u32> {
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    big(&reversed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_where_it_stands() {
        let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &[0, 0, 4, 0, 0, 0, 3, 0]].concat();
        let gif = [b"GIF89a".as_slice(), &[0x40, 1, 0xF0, 0]].concat();
        let jpeg = [b"\xff\xd8\xff\xe0\0\x04ab".as_slice(), b"\xff\xc0\0\x11\x08\x02\x00\x03\x00"].concat();
        for (bytes, kind, size) in [
            (png.as_slice(), "image/png", Some((1024, 768))),
            (&gif, "image/gif", Some((320, 240))),
            (&jpeg, "image/jpeg", Some((768, 512))),
            (b"\x89PNG", "image/png", None),
            (b"\xff\xd8\xff\xe0\xff\xff", "image/jpeg", None),
            (b"\xff\xd8\xff\xe0\0\0", "image/jpeg", None),
            (b"text", "application/octet-stream", None),
        ] {
            assert_eq!((type_of(bytes), size_of(bytes)), (kind, size));
        }
    }
}
