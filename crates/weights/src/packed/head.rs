//! The GGUF header: metadata and the list of tensors. A length that the header states is checked against the
//! file's length before memory is allocated for it.
#![expect(clippy::cast_possible_truncation, reason = "numbers are checked before they are taken as counts")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;

use candle_core::quantized::GgmlDType;

use crate::limits::{GGUF_DEPTH_MAX, GGUF_ENTRIES_MAX};

/// A metadata value, with all number types as `f64`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Boolean(bool),
    Text(String),
    List(Vec<Value>),
}

#[derive(Debug)]
pub(super) struct Info {
    /// The index of the file that holds it.
    pub shard: usize,
    pub kind: GgmlDType,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub start: u64,
}

#[derive(Debug)]
pub(super) struct Head {
    pub values: HashMap<String, Value>,
    pub tensors: HashMap<String, Info>,
}

/// Bytes per read.
const WINDOW: usize = 1 << 16;
const ALIGNMENT: u64 = 32;

/// Reads a file sequentially.
struct Reader<'a> {
    file: &'a File,
    bytes: u64,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader<'_> {
    fn take(&mut self, count: u64) -> Result<Vec<u8>, String> {
        if self.at.checked_add(count).is_none_or(|end| end > self.bytes) {
            return Err(format!("it ends at byte {}, within its header", self.bytes));
        }
        let count = usize::try_from(count).map_err(|error| error.to_string())?;
        let at = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
        if let Some(bytes) = at.checked_add(count).and_then(|end| self.window.get(at..end)) {
            self.at += count as u64;
            return Ok(bytes.to_vec());
        }
        let rest = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
        let mut window = vec![0; count.max(WINDOW).min(rest)];
        self.file.read_exact_at(&mut window, self.at).map_err(|error| error.to_string())?;
        let bytes = window.get(..count).unwrap_or_default().to_vec();
        (self.window, self.window_at) = (window, self.at);
        self.at += count as u64;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N as u64)?;
        bytes.first_chunk().copied().ok_or_else(|| "it ends within its header".to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        Ok(String::from_utf8_lossy(&self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Number(f64::from(u8::from_le_bytes(self.fixed()?))),
            1 => Value::Number(f64::from(i8::from_le_bytes(self.fixed()?))),
            2 => Value::Number(f64::from(u16::from_le_bytes(self.fixed()?))),
            3 => Value::Number(f64::from(i16::from_le_bytes(self.fixed()?))),
            4 => Value::Number(f64::from(self.u32()?)),
            5 => Value::Number(f64::from(i32::from_le_bytes(self.fixed()?))),
            6 => Value::Number(f64::from(f32::from_le_bytes(self.fixed()?))),
            7 => Value::Boolean(self.fixed::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 if depth < GGUF_DEPTH_MAX => {
                let (kind, count) = (self.u32()?, self.u64()?);
                // Each value takes at least a byte.
                if count > self.bytes {
                    return Err(format!("a list in its header claims to have {count} values"));
                }
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(kind, depth + 1)?);
                }
                Value::List(list)
            }
            10 => Value::Number(self.u64()? as f64),
            11 => Value::Number(i64::from_le_bytes(self.fixed()?) as f64),
            12 => Value::Number(f64::from_le_bytes(self.fixed()?)),
            other => return Err(format!("its header has a value of the unknown kind {other}")),
        })
    }
}

fn kind_of(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// Reads the header of a file, the only one of a model or the shard of this index.
pub(super) fn read(file: &File, bytes: u64, shard: usize) -> Result<Head, String> {
    let mut reader = Reader { file, bytes, at: 0, window: Vec::new(), window_at: 0 };
    if &reader.fixed::<4>()? != b"GGUF" {
        return Err("it isn't a GGUF file".to_owned());
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("it has version {version} of GGUF, and only 2 and 3 are supported"));
    }
    let (tensors, values) = (reader.u64()?, reader.u64()?);
    if tensors > GGUF_ENTRIES_MAX || values > GGUF_ENTRIES_MAX {
        return Err(format!("its header claims to list {tensors} tensors and {values} values"));
    }
    let mut head = Head { values: HashMap::new(), tensors: HashMap::new() };
    for _ in 0..values {
        let name = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0).map_err(|error| format!("{error} (\"{name}\")"))?;
        head.values.insert(name, value);
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(info(&mut reader, shard)?);
    }
    let alignment = match head.values.get("general.alignment") {
        None => ALIGNMENT,
        Some(Value::Number(number)) if *number >= 1.0 && *number <= 65_536.0 => *number as u64,
        Some(_) => return Err("its alignment isn't a number of bytes".to_owned()),
    };
    let data = reader.at.next_multiple_of(alignment);
    for (name, mut info, size) in infos {
        info.start = data.saturating_add(info.start);
        if info.start.checked_add(size).is_none_or(|end| end > bytes) {
            return Err(format!("it ends before the tensor \"{name}\" does"));
        }
        match head.tensors.entry(name) {
            Entry::Vacant(entry) => entry.insert(info),
            Entry::Occupied(entry) => return Err(format!("it lists the tensor \"{}\" twice", entry.key())),
        };
    }
    Ok(head)
}

/// Reads a tensor's entry: its name, its place relative to the tensor data, and its size.
fn info(reader: &mut Reader<'_>, shard: usize) -> Result<(String, Info, u64), String> {
    let name = reader.text()?;
    let dimensions = reader.u32()?;
    if !(1..=4).contains(&dimensions) {
        return Err(format!("the tensor \"{name}\" has {dimensions} dimensions"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(reader.u64()?);
    }
    let (kind, start) = (reader.u32()?, reader.u64()?);
    let kind = kind_of(kind)
        .ok_or_else(|| format!("the tensor \"{name}\" has the GGUF kind {kind}, which isn't supported"))?;
    let count = shape.iter().try_fold(1u64, |count, size| count.checked_mul(*size));
    let blocks = count.map(|count| count / kind.block_size() as u64);
    let size = blocks.and_then(|blocks| blocks.checked_mul(kind.type_size() as u64));
    let size = size.ok_or_else(|| format!("the tensor \"{name}\" is too large"))?;
    // GGUF lists the innermost dimension first.
    let shape = shape.into_iter().rev().map(|size| usize::try_from(size).unwrap_or(usize::MAX)).collect();
    Ok((name, Info { shard, kind, shape, start }, size))
}
