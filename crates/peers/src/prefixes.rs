//! Which prompts a node has answered lately, as a sketch: a Bloom filter over the hashes of the prompts' beginnings. Peers read from
//! it where a prompt's prefix is cached, and not what the prompt was.

use std::sync::{Mutex, PoisonError};

use proof::{Digest, from_hex, to_hex};
use serde_json::Value;

use crate::limits::{PREFIX_BLOCK_BYTES, PREFIX_BLOCKS_MAX, SKETCH_BITS, SKETCH_BLOCKS_MAX};

const PROBES: u64 = 4;
const SKETCH_BYTES: usize = (SKETCH_BITS / 8) as usize;
/// The fields of a request that a prompt is made of, in the order in which templates render them.
const PROMPT_FIELDS: [&str; 7] = ["tools", "system", "instructions", "messages", "input", "prompt", "query"];

/// The hashes of a prompt's blocks. Each covers all blocks before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptBlocks(Vec<u64>);

/// The prompts that were answered lately, in two generations: when the younger one is full, the older one is forgotten.
#[derive(Debug, Default)]
pub struct PrefixSketch {
    generations: Mutex<(Sketch, Sketch)>,
}

/// A Bloom filter of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    bits: Vec<u8>,
    blocks: usize,
}

impl PromptBlocks {
    /// The blocks of a request for this model, or `model:adapter`. Requests with another name or cache scope have no block in common.
    pub fn of(name: &str, request: &Value) -> Self {
        let scope = request.get("cache_salt").and_then(Value::as_str).unwrap_or_default();
        let mut hash = Digest::of(&[name.as_bytes(), b"\0", scope.as_bytes()]);
        let mut text = String::new();
        for field in PROMPT_FIELDS {
            if let Some(value) = request.get(field) {
                text.push_str(&value.to_string());
            }
        }
        let mut blocks = Vec::new();
        for block in text.as_bytes().chunks_exact(PREFIX_BLOCK_BYTES).take(PREFIX_BLOCKS_MAX) {
            hash = Digest::of(&[&hash.0, block]);
            blocks.push(u64::from_le_bytes(hash.0.first_chunk().copied().unwrap_or_default()));
        }
        Self(blocks)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { bits: vec![0; SKETCH_BYTES], blocks: 0 }
    }
}

impl Sketch {
    /// Reads the hexadecimal form. `None` if it has another length.
    pub(crate) fn read(text: &str) -> Option<Self> {
        from_hex::<SKETCH_BYTES>(text).map(|bits| Self { bits: bits.to_vec(), blocks: 0 })
    }

    /// How many blocks of a prompt, from its beginning, are in it.
    pub(crate) fn covers(&self, prompt: &PromptBlocks) -> usize {
        prompt.0.iter().take_while(|hash| self.contains(**hash)).count()
    }

    fn contains(&self, hash: u64) -> bool {
        places(hash).all(|(byte, bit)| self.bits.get(byte).is_some_and(|bits| bits & bit != 0))
    }

    fn insert(&mut self, hash: u64) {
        if self.contains(hash) {
            return;
        }
        for (byte, bit) in places(hash) {
            if let Some(bits) = self.bits.get_mut(byte) {
                *bits |= bit;
            }
        }
        self.blocks += 1;
    }
}

/// The byte and the bit of each probe.
fn places(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    let (one, other) = (hash & 0xffff_ffff, hash >> 32 | 1);
    (0..PROBES).map(move |probe| {
        let place = one.wrapping_add(probe.wrapping_mul(other)) % SKETCH_BITS;
        (usize::try_from(place / 8).unwrap_or(0), 1 << (place % 8))
    })
}

impl PrefixSketch {
    /// Records an answered prompt.
    pub fn insert(&self, prompt: &PromptBlocks) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.1.blocks + prompt.len() > SKETCH_BLOCKS_MAX {
            generations.0 = std::mem::take(&mut generations.1);
        }
        for hash in &prompt.0 {
            generations.1.insert(*hash);
        }
    }

    /// Both generations in one filter.
    fn merged(&self) -> Sketch {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, young) = &*generations;
        let bits = old.bits.iter().zip(&young.bits).map(|(old, young)| old | young).collect();
        Sketch { bits, blocks: old.blocks + young.blocks }
    }

    /// The hexadecimal form, which is sent.
    pub fn to_text(&self) -> String {
        to_hex(&self.merged().bits)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(turns: usize) -> Value {
        let turn = |at: usize| json!({"role": "user", "content": format!("{at} {}", "word ".repeat(200))});
        json!({"model": "m", "messages": (0..turns).map(turn).collect::<Vec<_>>()})
    }

    #[test]
    fn a_longer_conversation_begins_with_the_blocks_of_the_shorter() {
        let sketch = PrefixSketch::default();
        let (short, long) = (PromptBlocks::of("m", &chat(4)), PromptBlocks::of("m", &chat(8)));
        sketch.insert(&short);
        let sent = Sketch::read(&sketch.to_text()).unwrap();
        assert_eq!(sent.covers(&short), short.len());
        assert!((short.len() - 1..long.len()).contains(&sent.covers(&long)), "{}", sent.covers(&long));
        for other in [PromptBlocks::of("n", &chat(4)), PromptBlocks::of("m:law", &chat(4))] {
            assert_eq!(sent.covers(&other), 0);
        }
        let mut salted = chat(4);
        salted["cache_salt"] = json!("another");
        assert_eq!(sent.covers(&PromptBlocks::of("m", &salted)), 0);
        assert_eq!(Sketch::read("00"), None);
    }

    #[test]
    fn what_is_old_is_forgotten_and_false_hits_are_rare() {
        let sketch = PrefixSketch::default();
        let of = |seed: u64| {
            PromptBlocks(
                (0..10)
                    .map(|at| Digest::of(&[&seed.to_le_bytes(), &[at]]).0)
                    .map(|hash| u64::from_le_bytes(*hash.first_chunk().unwrap()))
                    .collect(),
            )
        };
        for seed in 0..1_000 {
            sketch.insert(&of(seed));
        }
        let merged = sketch.merged();
        assert_eq!(merged.covers(&of(999)), 10);
        let old = (0..500).filter(|seed| merged.covers(&of(*seed)) == 10).count();
        assert_eq!(old, 0, "the old ones are forgotten");
        let hits = (2_000..3_000).filter(|seed| merged.covers(&of(*seed)) > 0).count();
        assert!(hits < 120, "{hits} of 1,000 unknown prompts hit");
    }
}
