//! Counts tokens with public tokenizers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::Vocabulary;
use domain::limits::COUNTED_BYTES_MAX;
use tasks::Thread;
use tiktoken::CoreBpe;

/// Counts the tokens of consecutive strings. Each is counted by itself: a token ends where its string ends.
pub struct Tally {
    table: &'static CoreBpe,
    tokens: u64,
    counted_bytes: u64,
    rest_bytes: u64,
}

impl Tally {
    /// `None` until the vocabulary's table is loaded: callers do not wait for that, but estimate from bytes.
    pub fn new(vocabulary: Vocabulary) -> Option<Self> {
        let table = READY.get(vocabulary as usize).and_then(OnceLock::get);
        if table.is_none() {
            warm(vocabulary);
        }
        table.map(|table| Self { table, tokens: 0, counted_bytes: 0, rest_bytes: 0 })
    }

    pub fn add(&mut self, text: &str) {
        let room = (COUNTED_BYTES_MAX as u64).saturating_sub(self.counted_bytes);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(text.len());
        let (counted, rest) = text.split_at(text.floor_char_boundary(room));
        self.tokens += self.table.count(counted) as u64;
        self.counted_bytes += counted.len() as u64;
        self.rest_bytes += rest.len() as u64;
    }

    /// Adds bytes of text that is not available: it is assumed to be like what was counted.
    pub const fn add_unread(&mut self, bytes: u64) {
        self.rest_bytes += bytes;
    }

    /// Adds tokens that are not text, for example those between the turns of a conversation.
    pub const fn add_tokens(&mut self, tokens: u64) {
        self.tokens += tokens;
    }

    /// `None` if nothing was counted that the rest could be extrapolated from.
    pub fn tokens(&self) -> Option<u64> {
        if self.rest_bytes == 0 {
            return Some(self.tokens);
        }
        let whole = u128::from(self.counted_bytes) + u128::from(self.rest_bytes);
        let scaled = (u128::from(self.tokens) * whole).checked_div(u128::from(self.counted_bytes))?;
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

domain::brief_debug!(Tally, tokens);

/// The loaded tables, by vocabulary.
static READY: [OnceLock<&'static CoreBpe>; Vocabulary::ALL.len()] = [const { OnceLock::new() }; 2];

/// Loads a vocabulary's table in the background, once in a process: it takes 40 to 150 ms, and 10 to 22 MiB.
pub fn warm(vocabulary: Vocabulary) {
    static STARTED: [AtomicBool; Vocabulary::ALL.len()] = [const { AtomicBool::new(false) }; 2];
    let Some(started) = STARTED.get(vocabulary as usize) else { return };
    // Loads before the swap: every stream comes here, and a mere read does not take
    // the cache line from other cores.
    if started.load(Ordering::Relaxed) || started.swap(true, Ordering::Relaxed) {
        return;
    }
    let name = format!("table-{}", vocabulary.as_str());
    // If no thread can be started, nothing is counted, and everything is estimated from bytes.
    drop(Thread::spawn(name, move || load(vocabulary)));
}

/// Loads a vocabulary's table, and waits for it.
pub fn load(vocabulary: Vocabulary) {
    let table = tiktoken::get_encoding(match vocabulary {
        Vocabulary::Cl100k => "cl100k_base",
        Vocabulary::O200k => "o200k_base",
    });
    if let (Some(ready), Some(table)) = (READY.get(vocabulary as usize), table) {
        ready.get_or_init(|| table);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn tally(vocabulary: Vocabulary) -> Tally {
        load(vocabulary);
        Tally::new(vocabulary).unwrap()
    }

    fn count(vocabulary: Vocabulary, text: &str) -> u64 {
        let mut tally = tally(vocabulary);
        tally.add(text);
        tally.tokens().unwrap()
    }

    /// As the tokenizers' publishers and users document them.
    #[test]
    fn known_texts_have_their_known_counts() {
        for (text, cl100k, o200k) in [
            ("", 0, 0),
            ("hello world", 2, 2),
            ("tiktoken is great!", 6, 6),
            ("antidisestablishmentarianism", 6, 6),
            ("2 + 2 = 4", 7, 7),
            ("お誕生日おめでとう", 9, 8),
            // A special token of other tokenizers is text here.
            ("<|endoftext|>", 7, 7),
        ] {
            assert_eq!(
                (count(Vocabulary::Cl100k, text), count(Vocabulary::O200k, text)),
                (cl100k, o200k),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_are_counted_apart_and_together() {
        let mut tally = tally(Vocabulary::O200k);
        tally.add("hello");
        tally.add(" world");
        tally.add_tokens(4);
        assert_eq!(tally.tokens(), Some(6));
    }

    #[test]
    fn what_is_longer_than_the_bound_goes_on_as_it_began() {
        let text = "The tide comes in twice a day. ".repeat(20_000);
        assert!(text.len() > 2 * COUNTED_BYTES_MAX);
        let mut whole = tally(Vocabulary::O200k);
        whole.add(&text);
        assert_eq!(whole.counted_bytes, COUNTED_BYTES_MAX as u64);
        let counted = whole.table.count(&text) as u64;
        assert!(
            whole.tokens().unwrap().abs_diff(counted) <= counted / 100,
            "{:?} of {counted}",
            whole.tokens()
        );
        let mut unread = tally(Vocabulary::O200k);
        unread.add_unread(9);
        assert_eq!(unread.tokens(), None);
        unread.add("hello world");
        assert_eq!(unread.tokens(), Some(3));
    }

    #[test]
    fn nobody_waits_for_a_table() {
        // The first call starts the load, and continues without it.
        let deadline = Instant::now() + Duration::from_secs(60);
        while Tally::new(Vocabulary::Cl100k).is_none() {
            assert!(Instant::now() < deadline, "the table was not loaded");
            std::thread::yield_now();
        }
        assert_eq!(count(Vocabulary::Cl100k, "hello world"), 2);
    }
}
