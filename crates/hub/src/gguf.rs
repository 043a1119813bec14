//! Reads a model's shape from the metadata of a GGUF file; the engine reads everything else.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::limits::{GGUF_HEAD_BYTES_MAX, GGUF_PAIRS_MAX, GGUF_TEXT_BYTES_MAX};
use crate::memory::Shape;

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// The model's shape; `None` if the file is not a GGUF file or does not state it.
pub(crate) fn shape(path: &Path) -> Option<Shape> {
    read(&mut BufReader::new(File::open(path).ok()?.take(GGUF_HEAD_BYTES_MAX)))
}

fn read(head: &mut impl Read) -> Option<Shape> {
    let magic: [u8; 4] = bytes(head)?;
    let version = u32::from_le_bytes(bytes(head)?);
    if &magic != b"GGUF" || !(2..=3).contains(&version) {
        return None;
    }
    let _tensors = number(head)?;
    let pairs = number(head)?.min(GGUF_PAIRS_MAX);
    let mut shape = Shape::default();
    for _ in 0..pairs {
        let name = text(head)?;
        let kind = u32::from_le_bytes(bytes(head)?);
        let value = value(head, kind)?;
        // Keys start with the model's architecture, as in `qwen3.block_count`.
        let field = match name.split_once('.').map_or("", |(_, field)| field) {
            "block_count" => &mut shape.layers,
            "attention.head_count" => &mut shape.heads,
            "attention.head_count_kv" => &mut shape.key_value_heads,
            "attention.key_length" => &mut shape.head_size,
            "embedding_length" => &mut shape.width,
            "context_length" => &mut shape.context,
            _ => continue,
        };
        *field = value;
    }
    shape.layers.is_some().then_some(shape)
}

/// Reads a value. The outer `None` is a corrupt file, the inner one a value that is not an integer.
fn value(head: &mut impl Read, kind: u32) -> Option<Option<u64>> {
    match kind {
        0 => bytes(head).map(|b| Some(u64::from(u8::from_le_bytes(b)))),
        2 => bytes(head).map(|b| Some(u64::from(u16::from_le_bytes(b)))),
        4 => bytes(head).map(|b| Some(u64::from(u32::from_le_bytes(b)))),
        5 => bytes(head).map(|b| u64::try_from(i32::from_le_bytes(b)).ok()),
        10 => bytes(head).map(|b| Some(u64::from_le_bytes(b))),
        11 => bytes(head).map(|b| u64::try_from(i64::from_le_bytes(b)).ok()),
        TEXT => {
            let length = number(head)?;
            skip(head, length).map(|()| None)
        }
        LIST => list(head).map(|()| None),
        other => skip(head, width(other)?).map(|()| None),
    }
}

fn list(head: &mut impl Read) -> Option<()> {
    let kind = u32::from_le_bytes(bytes(head)?);
    let count = number(head)?;
    if kind == TEXT {
        for _ in 0..count {
            let length = number(head)?;
            skip(head, length)?;
        }
        return Some(());
    }
    // Lists of lists do not occur.
    skip(head, width(kind)?.checked_mul(count)?)
}

const fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip(head: &mut impl Read, count: u64) -> Option<()> {
    let read = std::io::copy(&mut head.by_ref().take(count), &mut std::io::sink()).ok()?;
    (read == count).then_some(())
}

fn bytes<const N: usize>(head: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    head.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn number(head: &mut impl Read) -> Option<u64> {
    bytes(head).map(u64::from_le_bytes)
}

fn text(head: &mut impl Read) -> Option<String> {
    let length = number(head)?;
    if length > GGUF_TEXT_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    head.by_ref().take(length).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn head(pairs: &[(&str, u32, Vec<u8>)]) -> Vec<u8> {
        let mut head = b"GGUF\x03\0\0\0".to_vec();
        head.extend(0_u64.to_le_bytes());
        head.extend((pairs.len() as u64).to_le_bytes());
        for (name, kind, value) in pairs {
            head.extend(text_of(name));
            head.extend(kind.to_le_bytes());
            head.extend(value);
        }
        head
    }

    #[test]
    fn a_shape_is_read_over_what_lies_between() {
        let words = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text_of("a"), &text_of("bc")].concat();
        let scores = [&6_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[0; 8]].concat();
        let head = head(&[
            ("general.architecture", TEXT, text_of("qwen3")),
            ("tokenizer.ggml.tokens", LIST, words),
            ("tokenizer.ggml.scores", LIST, scores),
            ("qwen3.block_count", 4, 28_u32.to_le_bytes().to_vec()),
            ("qwen3.attention.head_count_kv", 10, 8_u64.to_le_bytes().to_vec()),
            ("qwen3.attention.key_length", 5, 128_i32.to_le_bytes().to_vec()),
            ("qwen3.rope.freq_base", 6, vec![0; 4]),
        ]);
        let found = read(&mut head.as_slice()).unwrap();
        assert_eq!((found.layers, found.key_value_heads, found.head_size), (Some(28), Some(8), Some(128)));
        for cut in 0..head.len() {
            assert_eq!(read(&mut &head[..cut]), None, "cut at {cut}");
        }
        assert_eq!(read(&mut &b"PK\x03\x04 and so on and on and on and on"[..]), None);
    }
}
