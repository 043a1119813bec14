//! The emulator's behaviour for a request, encoded in its `user` field, which a gateway passes on untouched.

use crate::http1::number;

/// `emu-l50-c100-i20`: 50 ms before the answer, 100 chunks, 20 ms between chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    pub latency_ms: u64,
    pub chunk_count: u64,
    pub interval_ms: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { latency_ms: 0, chunk_count: 50, interval_ms: 0 }
    }
}

impl Behaviour {
    /// Missing parts keep their defaults, and so does a word in any other format.
    pub fn parse(word: &[u8]) -> Self {
        let mut behaviour = Self::default();
        let mut parts = word.split(|byte| *byte == b'-');
        if parts.next() != Some(b"emu") {
            return behaviour;
        }
        for part in parts {
            match part.split_first() {
                Some((b'l', digits)) => behaviour.latency_ms = number(digits),
                Some((b'c', digits)) => behaviour.chunk_count = number(digits),
                Some((b'i', digits)) => behaviour.interval_ms = number(digits),
                _ => {}
            }
        }
        behaviour
    }

    pub fn word(self) -> String {
        format!("emu-l{}-c{}-i{}", self.latency_ms, self.chunk_count, self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Behaviour;

    #[test]
    fn words_are_read_back() {
        let behaviour = Behaviour { latency_ms: 50, chunk_count: 100, interval_ms: 20 };
        assert_eq!(Behaviour::parse(behaviour.word().as_bytes()), behaviour);
        assert_eq!(Behaviour::parse(b"emu-l5"), Behaviour { latency_ms: 5, ..Behaviour::default() });
        assert_eq!(Behaviour::parse(b"alice-l5"), Behaviour::default());
    }
}
