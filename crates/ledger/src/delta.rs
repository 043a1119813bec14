//! Delta encoding against a template: records of one kind repeat most of each other.
//!
//! A difference is a sequence of steps: the number of new bytes, those bytes, the number of bytes to copy
//! from the template, and the offset to copy from, relative to where the last copy and the new bytes lead. A
//! step's two counts share its first byte, four bits each, with fifteen for "more follows".

use crate::limits::DECODED_BYTES_MAX;

/// A count of four bits that says that the rest of it follows.
const MORE_FOLLOWS: usize = 15;
/// Copies shorter than this cost as much as they save.
const COPIED_MIN: usize = 4;
const HASHED_BYTES: usize = 4;
const HASH_SLOTS: usize = 256;

/// The bytes that records are encoded against, with an index of its four-byte sequences.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// One past the last offset of a sequence with this hash; zero if there is none.
    offsets: Box<[u16; HASH_SLOTS]>,
}

impl Template {
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut offsets = Box::new([0; HASH_SLOTS]);
        for (offset, four) in (1..=u16::MAX).zip(bytes.windows(HASHED_BYTES)) {
            if let Some(slot) = offsets.get_mut(hash(four)) {
                *slot = offset;
            }
        }
        Self { bytes, offsets }
    }

    pub fn difference(&self, bytes: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(bytes.len() / 2);
        let (mut at, mut new_from, mut expected) = (0, 0, 0);
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let (from, count) = self.longest(rest, expected + (at - new_from));
            if count < COPIED_MIN && at + count < bytes.len() {
                at += 1;
                continue;
            }
            step(&mut encoded, bytes.get(new_from..at).unwrap_or_default(), count);
            if count > 0 {
                let jump = from.cast_signed() - (expected + (at - new_from)).cast_signed();
                write_varint(
                    &mut encoded,
                    (jump.wrapping_shl(1) ^ (jump >> (isize::BITS - 1))).cast_unsigned(),
                );
            }
            (expected, at) = (from + count, at + count);
            new_from = at;
        }
        if new_from < bytes.len() {
            step(&mut encoded, bytes.get(new_from..).unwrap_or_default(), 0);
        }
        encoded
    }

    /// Decodes a difference; `None` if it can't have been encoded against this template.
    pub fn apply(&self, mut encoded: &[u8]) -> Option<Vec<u8>> {
        let mut made = Vec::with_capacity(self.bytes.len() + encoded.len());
        let mut expected = 0_usize;
        while let Some((shared, rest)) = encoded.split_first() {
            encoded = rest;
            let new = read_count(usize::from(shared >> 4), &mut encoded)?;
            let copied = read_count(usize::from(shared & 15), &mut encoded)?;
            let (fresh, rest) = encoded.split_at_checked(new)?;
            encoded = rest;
            made.extend_from_slice(fresh);
            if copied > 0 {
                let zigzag = read_varint(&mut encoded)?;
                let jump = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
                let from = expected.checked_add(new)?.checked_add_signed(jump)?;
                let end = from.checked_add(copied)?;
                made.extend_from_slice(self.bytes.get(from..end)?);
                expected = end;
            }
            if made.len() > DECODED_BYTES_MAX {
                return None;
            }
        }
        Some(made)
    }

    /// The offset and length of a match in the template: at the expected offset, or else wherever the index
    /// finds one.
    fn longest(&self, wanted: &[u8], expected: usize) -> (usize, usize) {
        let in_place = self.common(wanted, expected);
        if in_place >= COPIED_MIN || in_place == wanted.len() {
            return (expected, in_place);
        }
        let Some(four) = wanted.get(..HASHED_BYTES) else { return (expected, in_place) };
        let offset = self.offsets.get(hash(four)).copied().unwrap_or(0);
        match usize::from(offset).checked_sub(1) {
            Some(from) => (from, self.common(wanted, from)),
            None => (expected, in_place),
        }
    }

    fn common(&self, wanted: &[u8], from: usize) -> usize {
        let there = self.bytes.get(from..).unwrap_or_default();
        there.iter().zip(wanted).take_while(|(one, other)| one == other).count()
    }
}

fn hash(four: &[u8]) -> usize {
    let mixed = four.iter().fold(0_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    usize::try_from((mixed >> 12) & 0xFF).unwrap_or(0)
}

fn step(out: &mut Vec<u8>, new: &[u8], copied: usize) {
    let (high, low) = (new.len().min(MORE_FOLLOWS), copied.min(MORE_FOLLOWS));
    out.push(u8::try_from(high << 4 | low).unwrap_or(u8::MAX));
    for (count, shared) in [(new.len(), high), (copied, low)] {
        if shared == MORE_FOLLOWS {
            write_varint(out, count - MORE_FOLLOWS);
        }
    }
    out.extend_from_slice(new);
}

fn read_count(shared: usize, bytes: &mut &[u8]) -> Option<usize> {
    if shared < MORE_FOLLOWS { Some(shared) } else { read_varint(bytes)?.checked_add(MORE_FOLLOWS) }
}

/// Appends a LEB128 number: seven bits per byte, the low ones first.
pub fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7F | 0x80).to_le_bytes()[0]);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub fn read_varint(bytes: &mut &[u8]) -> Option<usize> {
    let (mut value, mut shift) = (0_usize, 0_u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_makes_the_same_again() {
        let template: Vec<u8> = (0..=255_u8).chain(0..100).collect();
        let mut inside = template.clone();
        inside.splice(40..43, [9; 30]);
        inside.remove(200);
        let cases: [&[u8]; 9] = [
            &[],
            &[7],
            b"abc",
            &template,
            &template[3..],
            &template[..200],
            &inside,
            &[0xEE; 400],
            &[&template[100..150], b"new words", &template[10..60]].concat(),
        ];
        for template in [template.as_slice(), &[], &[1, 2, 3]].map(|bytes| Template::new(bytes.to_vec())) {
            for bytes in cases {
                let encoded = template.difference(bytes);
                assert_eq!(template.apply(&encoded).as_deref(), Some(bytes), "{encoded:?}");
            }
        }
        let template = Template::new(template);
        assert_eq!(template.difference(&template.bytes).len(), 4);
        assert!(template.difference(&inside).len() < 60);
    }

    #[test]
    fn random_bytes_come_back_and_random_steps_do_no_harm() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        };
        for _ in 0..3_000 {
            let template: Vec<u8> = (0..random() % 300).map(|_| (random() % 7).to_le_bytes()[0]).collect();
            let mut bytes = template.clone();
            for _ in 0..random() % 12 {
                let at = random() % (bytes.len() + 1);
                match random() % 3 {
                    0 => bytes.insert(at, random().to_le_bytes()[0]),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ if at < bytes.len() => bytes[at] = random().to_le_bytes()[0],
                    _ => {}
                }
            }
            let template = Template::new(template);
            assert_eq!(template.apply(&template.difference(&bytes)), Some(bytes));
            let noise: Vec<u8> = (0..random() % 40).map(|_| random().to_le_bytes()[0]).collect();
            assert!(template.apply(&noise).is_none_or(|made| made.len() <= DECODED_BYTES_MAX * 2));
        }
    }
}
