//! A tar archive (POSIX ustar), made file by file and handed on in parts.

const BLOCK_BYTES: usize = 512;
/// Name, mode, owners, size, time, checksum, kind: where each begins in a header, and how long it is.
const MODE: &[u8] = b"0000600\0";
const OWNER: &[u8] = b"0000000\0";
const MAGIC: &[u8] = b"ustar\x0000";
const CHECKSUM_AT: usize = 148;
const CHECKSUM_BYTES: usize = 8;
const NAME_BYTES: usize = 100;

/// An archive whose end is not there yet.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a file; its name has at most 100 bytes.
    pub(crate) fn add(&mut self, name: &str, content: &[u8], unix_s: u64) {
        self.bytes.extend_from_slice(&header(name, content.len(), unix_s));
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK_BYTES, 0);
    }

    /// The next part of this size; `None` if there is less.
    pub(crate) fn take(&mut self, part_bytes: usize) -> Option<Vec<u8>> {
        let rest = (self.bytes.len() >= part_bytes).then(|| self.bytes.split_off(part_bytes))?;
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// Whatever is left.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(BLOCK_BYTES);
        self.bytes.resize(length, 0);
    }
}

fn header(name: &str, content_bytes: usize, unix_s: u64) -> Vec<u8> {
    let mut header = name.as_bytes().to_vec();
    header.resize(NAME_BYTES, 0);
    header.extend_from_slice(MODE);
    header.extend_from_slice(OWNER);
    header.extend_from_slice(OWNER);
    header.extend_from_slice(format!("{content_bytes:011o}\0").as_bytes());
    header.extend_from_slice(format!("{unix_s:011o}\0").as_bytes());
    // The checksum counts its own field as spaces.
    header.extend_from_slice(&[b' '; CHECKSUM_BYTES]);
    header.push(b'0');
    header.resize(header.len() + NAME_BYTES, 0);
    header.extend_from_slice(MAGIC);
    header.resize(BLOCK_BYTES, 0);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    drop(header.splice(CHECKSUM_AT..CHECKSUM_AT + CHECKSUM_BYTES, checksum.into_bytes()));
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_where_its_header_says_and_parts_are_the_whole() {
        let mut archive = Archive::default();
        archive.add("a.jsonl", b"{}\n", 1_700_000_000);
        archive.add("b/c.jsonl", &[b'x'; 600], 1);
        archive.end();
        let mut whole = Vec::new();
        while let Some(part) = archive.take(1_000) {
            assert_eq!(part.len(), 1_000);
            whole.extend(part);
        }
        whole.extend(archive.take_rest());
        assert_eq!(whole.len(), (2 + 3 + 2) * BLOCK_BYTES);
        assert_eq!((&whole[..7], &whole[124..136]), (&b"a.jsonl"[..], &b"00000000003\0"[..]));
        assert_eq!((&whole[257..265], whole[156]), (&b"ustar\x0000"[..], b'0'));
        assert_eq!(&whole[BLOCK_BYTES..BLOCK_BYTES + 4], b"{}\n\0");
        let second = &whole[2 * BLOCK_BYTES..];
        let counted: u32 = second[..BLOCK_BYTES].iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = second[148..156].iter().map(|byte| u32::from(*byte)).sum();
        let stated = u32::from_str_radix(std::str::from_utf8(&second[148..154]).unwrap(), 8).unwrap();
        assert_eq!(counted - own + 8 * 32, stated);
        assert!(whole.ends_with(&[0; 2 * BLOCK_BYTES]));
    }
}
