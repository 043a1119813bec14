//! Fuzz input that gets past the first byte: valid texts, mutated at random places.

/// Mutations of a text: position, kind, and bytes.
pub type Bends = Vec<(u16, u8, [u8; 3])>;

/// Random iterations of each target in the test suite; a fuzzing engine sets its own.
pub const ITERATIONS: usize = 4000;

pub fn bent(seeds: &[&str], which: u8, bends: &Bends) -> Vec<u8> {
    let seed = seeds.get(usize::from(which) % seeds.len()).copied().unwrap_or_default();
    bent_bytes(seed.as_bytes().to_vec(), bends)
}

/// The same for binary input.
pub fn bent_bytes(mut bytes: Vec<u8>, bends: &Bends) -> Vec<u8> {
    for (offset, kind, with) in bends.iter().take(6) {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(*offset) % bytes.len();
        let end = (at + usize::from(with[0])).min(bytes.len());
        match kind % 6 {
            0 => bytes[at] = with[0],
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, *with)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => bytes[at] = b"{}[]\",:\\\r\n0"[usize::from(with[0]) % 11],
        }
    }
    bytes
}
