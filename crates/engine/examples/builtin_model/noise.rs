//! Data augmentation: questions as users type them, in lower case, without punctuation, with words left out,
//! paraphrased or misspelt.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub struct Noise(ChaCha8Rng);

/// Synonyms: each phrase of a line may be replaced by any other of the line.
const SAME: [&[&str]; 44] = [
    &["how do i", "how can i", "how would i", "how could i", "how to", "how does one", "what do i do to"],
    &["how do we", "how can we", "how would we", "how do i"],
    &["what is", "what's", "whats", "explain", "define", "what does it mean:"],
    &["what are", "name", "list", "which are"],
    &["can i", "could i", "may i", "am i able to", "is it possible to", "is there a way to"],
    &["can we", "could we", "may we", "is it possible to"],
    &["which", "what"],
    &["where do i", "where can i", "where would i"],
    &["tell me", "say", "let me know", "explain"],
    &["show", "display", "list", "print", "see"],
    &["see", "look at", "view", "check", "find"],
    &["find", "look up", "get", "see"],
    &["create", "make", "issue", "generate", "add", "mint"],
    &["add", "register", "connect", "hook up", "set up"],
    &["remove", "delete", "drop", "get rid of"],
    &["revoke", "disable", "switch off", "invalidate"],
    &["change", "modify", "alter", "adjust", "set"],
    &["use", "call", "work with", "run"],
    &["start", "run", "launch", "boot", "begin with"],
    &["stop", "end", "shut down", "halt"],
    &["send", "post", "make", "pass"],
    &["request", "call", "query"],
    &["requests", "calls", "queries"],
    &["machine", "computer", "server", "host"],
    &["machines", "computers", "servers", "hardware"],
    &["node", "worker", "gpu node", "node machine"],
    &["gateway", "tidegate", "server", "proxy"],
    &["tidegate", "it", "this", "the gateway", "your product"],
    &["key", "api key", "token", "access key"],
    &["credential", "provider key", "provider secret", "secret"],
    &["credentials", "provider keys", "provider secrets", "secrets"],
    &["provider", "vendor", "provider company"],
    &["providers", "vendors"],
    &["spend", "pay", "use up"],
    &["cost", "price", "charge"],
    &["costs", "spending", "charges", "prices"],
    &["bill", "invoice", "charge"],
    &["company", "organisation", "firm", "business", "team"],
    &["data", "everything", "records"],
    &["fail", "break", "error out", "go wrong"],
    &["fails", "breaks", "errors", "goes wrong", "is down"],
    &["our", "my"],
    &["we", "i"],
    &["team", "group", "department", "project"],
];
const BEFORE: [&str; 16] = [
    "please tell me,",
    "hi,",
    "hey,",
    "hello,",
    "so",
    "ok,",
    "question:",
    "quick question:",
    "I wonder,",
    "well,",
    "and",
    "tell me:",
    "I want to know",
    "please,",
    "um,",
    "one thing:",
];
const AFTER: [&str; 12] = [
    "please",
    "thanks",
    "now",
    "here",
    "exactly",
    "for us",
    "then",
    "today",
    "in tidegate",
    "with tidegate",
    "at all",
    "really",
];

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.0.next_u64() % (count.max(1) as u64)).unwrap_or_default()
    }

    /// True with a probability of `percent`.
    pub fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }

    /// A question with random noise, as a user might type it.
    pub fn question(&mut self, question: &str) -> String {
        if self.happens(15) {
            return question.to_owned();
        }
        let mut text = question.to_owned();
        if self.happens(60) {
            text = self.in_other_words(&text);
        }
        if self.happens(45) {
            text = self.with_gaps(&text);
        }
        if self.happens(15) {
            text = format!("{} {text}", self.pick(&BEFORE));
        }
        if self.happens(12) {
            text = format!("{} {}", text.trim_end_matches(['?', '.', '!']), self.pick(&AFTER));
        }
        if self.happens(30) {
            text = self.misspelt(&text);
        }
        if self.happens(45) {
            text = text.to_lowercase();
        }
        if self.happens(35) {
            text = text.trim_end_matches(['?', '.', '!']).to_owned();
        }
        text
    }

    /// A random mix of the words of two questions with the same meaning.
    pub fn mixed(&mut self, one: &str, other: &str) -> String {
        let mut words: Vec<&str> = one.split_whitespace().filter(|_| self.happens(65)).collect();
        words.extend(other.split_whitespace().filter(|_| self.happens(50)));
        if words.is_empty() { one.to_owned() } else { words.join(" ") }
    }

    /// Replaces one or two phrases by synonyms.
    fn in_other_words(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        let first = self.below(SAME.len());
        let (mut left, lines) = (1 + self.below(2), SAME.iter().cycle().skip(first).take(SAME.len()));
        for line in lines {
            if left == 0 {
                break;
            }
            let begins = self.below(line.len());
            let words = line.iter().cycle().skip(begins).take(line.len());
            let Some(found) = words.copied().find_map(|word| Some((word, find_words(&text, word)?))) else {
                continue;
            };
            let (word, at) = found;
            let other = self.pick(line);
            let is_first = at == 0;
            text.replace_range(at..at + word.len(), other);
            if is_first {
                text = capital(&text);
            }
            left -= 1;
        }
        text
    }

    /// Drops some words, and sometimes swaps two.
    fn with_gaps(&mut self, text: &str) -> String {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let percent = 5 + self.below(30);
        if words.len() > 3 {
            words.retain(|_| !self.happens(percent));
        }
        if words.len() > 3 && self.happens(25) {
            let at = self.below(words.len() - 1);
            words.swap(at, at + 1);
        }
        if words.is_empty() { text.to_owned() } else { words.join(" ") }
    }

    /// Drops, doubles or swaps one or two letters.
    fn misspelt(&mut self, text: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        for _ in 0..1 + self.below(2) {
            let at = self.below(letters.len());
            if !letters.get(at).is_some_and(|letter| letter.is_ascii_alphabetic()) || at + 1 >= letters.len()
            {
                continue;
            }
            match self.below(3) {
                0 => drop(letters.remove(at)),
                1 => letters.swap(at, at + 1),
                _ => letters.insert(at, letters.get(at).copied().unwrap_or(' ')),
            }
        }
        letters.into_iter().collect()
    }
}

/// Finds a phrase at word boundaries, ignoring case.
fn find_words(text: &str, words: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let is_word =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '-');
    lower.match_indices(words).map(|(at, _)| at).find(|at| {
        let (before, after) = (lower.get(..*at), lower.get(at + words.len()..));
        !is_word(before.and_then(|text| text.chars().next_back()))
            && !is_word(after.and_then(|text| text.chars().next()))
    })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
