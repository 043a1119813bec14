//! How alike two texts are by their embeddings, and what no embedding is trusted with: numbers, negations, and what is
//! quoted or code. Two texts that differ in these are not alike, whatever their vectors say.

/// Sums that are made at once, so that a comparison costs a core a fraction of a microsecond per thousand numbers.
const LANES: usize = 8;
/// What rounding may take from the cosine of a vector with itself.
const ROUNDING: f32 = 1e-5;

/// A vector of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitVector(Box<[f32]>);

impl UnitVector {
    /// `None` for a vector without a direction.
    pub fn of(mut numbers: Box<[f32]>) -> Option<Self> {
        let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
        if !length.is_normal() {
            return None;
        }
        numbers.iter_mut().for_each(|number| *number /= length);
        Some(Self(numbers))
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// The cosine of the angle between both in basis points, rounded down; zero for opposite ones, and for those of two
    /// lengths.
    pub fn similarity_bps(&self, other: &Self) -> u16 {
        if self.0.len() != other.0.len() {
            return 0;
        }
        let mut sums = [0.0_f32; LANES];
        for (left, right) in self.0.chunks(LANES).zip(other.0.chunks(LANES)) {
            for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
                *sum += left * right;
            }
        }
        let cosine = (sums.iter().sum::<f32>() + ROUNDING).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 10,000"
        )]
        let bps = (cosine * 10_000.0) as u16;
        bps
    }
}

/// What two texts must have in common, each in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Literals {
    /// In digits or in words: `1,000`, `1000`.
    numbers: Vec<String>,
    negations: usize,
    /// What stands in quotation marks or backticks.
    quoted: Vec<String>,
    /// Words that no prose has: `C++`, `max_tokens`, `fooBar`, `--force`, `a.txt`, `50%`.
    code: Vec<String>,
}

impl Literals {
    pub fn of(text: &str) -> Self {
        let mut literals = Self::default();
        let prose = literals.take_quoted(text);
        for word in prose.split_whitespace() {
            literals.take(word);
        }
        literals
    }

    /// Takes what is quoted, and returns the rest of the text.
    fn take_quoted(&mut self, text: &str) -> String {
        let mut prose = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let after = rest.get(first.len_utf8()..).unwrap_or_default();
            let inside = closing(first, before).and_then(|close| quotation(after, close));
            if let Some(inside) = inside {
                self.quoted.push(inside.trim_matches('`').to_owned());
                prose.push(' ');
                rest = after.get(inside.len()..).unwrap_or_default();
                let mark = rest.chars().next().map_or(0, char::len_utf8);
                rest = rest.get(mark..).unwrap_or_default();
                before = ' ';
                continue;
            }
            prose.push(first);
            before = first;
            rest = after;
        }
        prose
    }

    fn take(&mut self, word: &str) {
        let bare = word.trim_matches(|letter: char| {
            matches!(letter, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '"' | '\'' | '…' | '¿' | '¡')
        });
        let lower = bare.to_lowercase().replace('’', "'");
        self.negations += usize::from(is_negation(&lower));
        self.numbers.extend(numbers(&lower));
        let is_call = word.contains("()");
        if is_call || is_code(bare) {
            self.code.push(if is_call { word } else { bare }.to_owned());
        }
    }
}

/// The mark that closes a quotation. An apostrophe opens one only where no word stands before it.
const fn closing(open: char, before: char) -> Option<char> {
    match open {
        '"' => Some('"'),
        '`' => Some('`'),
        '“' => Some('”'),
        '„' => Some('“'),
        '«' => Some('»'),
        '‘' => Some('’'),
        '\'' if before.is_whitespace() || before == '(' => Some('\''),
        _ => None,
    }
}

/// What stands before the closing mark, where there is one.
fn quotation(after: &str, close: char) -> Option<&str> {
    let is_end = |(at, _): &(usize, &str)| {
        // An apostrophe inside a word closes nothing.
        let next = after.get(at + close.len_utf8()..).and_then(|rest| rest.chars().next());
        close != '\'' || next.is_none_or(|next| !next.is_alphanumeric())
    };
    let (end, _) = after.match_indices(close).find(is_end)?;
    after.get(..end).filter(|inside| !inside.is_empty())
}

fn is_negation(word: &str) -> bool {
    const WORDS: [&str; 35] = [
        "not",
        "no",
        "never",
        "none",
        "nor",
        "neither",
        "nothing",
        "nobody",
        "nowhere",
        "without",
        "cannot",
        "except",
        "exclude",
        "excluding",
        "unless",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "keinem",
        "keiner",
        "keines",
        "nie",
        "niemals",
        "niemand",
        "nichts",
        "ohne",
        "pas",
        "jamais",
        "rien",
        "sans",
        "aucun",
        "aucune",
        "nunca",
        "sin",
    ];
    WORDS.contains(&word) || word.ends_with("n't")
}

/// The numbers in a word, without the commas between their thousands.
fn numbers(word: &str) -> Vec<String> {
    const WORDS: [(&str, &str); 31] = [
        ("zero", "0"),
        ("two", "2"),
        ("three", "3"),
        ("four", "4"),
        ("five", "5"),
        ("six", "6"),
        ("seven", "7"),
        ("eight", "8"),
        ("nine", "9"),
        ("ten", "10"),
        ("eleven", "11"),
        ("twelve", "12"),
        ("twenty", "20"),
        ("thirty", "30"),
        ("forty", "40"),
        ("fifty", "50"),
        ("sixty", "60"),
        ("seventy", "70"),
        ("eighty", "80"),
        ("ninety", "90"),
        ("hundred", "100"),
        ("thousand", "1000"),
        ("million", "1000000"),
        ("billion", "1000000000"),
        ("dozen", "12"),
        ("half", "0.5"),
        ("first", "1."),
        ("second", "2."),
        ("third", "3."),
        ("twice", "2x"),
        ("double", "2x"),
    ];
    if let Some((_, number)) = WORDS.iter().find(|(name, _)| *name == word) {
        return vec![(*number).to_owned()];
    }
    let is_part = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | ',' | ':' | '-' | '/');
    let runs = word.split(|letter: char| !is_part(letter));
    let trimmed = runs.map(|run| {
        let run = run.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        run.trim_start_matches(|letter: char| !letter.is_ascii_digit() && letter != '-').replace(',', "")
    });
    trimmed.filter(|run| run.contains(|letter: char| letter.is_ascii_digit())).collect()
}

fn is_code(word: &str) -> bool {
    let is_mark = |letter: char| "_/\\=<>{}[]@#$%^&*|~+€£°".contains(letter);
    let has_hump = || {
        let pairs = word.chars().zip(word.chars().skip(1));
        pairs.into_iter().any(|(left, right)| left.is_lowercase() && right.is_uppercase())
    };
    let has_dot = || {
        let mut parts = word.split('.');
        let first = parts.next().unwrap_or_default();
        let is_name = |part: &str| part.chars().any(char::is_alphabetic);
        // `e.g.` is no name of a file.
        first.chars().count() > 1 && parts.any(is_name)
    };
    let has_letter = word.chars().any(char::is_alphanumeric);
    word.starts_with('-') && has_letter
        || word.contains(is_mark)
        || word.contains("::")
        || has_hump()
        || has_dot()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_the_cosine() {
        for (one, other, expected) in [
            (&[1.0, 0.0][..], &[1.0, 0.0][..], 10_000),
            (&[0.3, 0.4, 0.1], &[0.6, 0.8, 0.2], 10_000),
            (&[0.1; 1_537], &[7.0; 1_537], 10_000),
            (&[1.0, 0.0], &[0.0, 1.0], 0),
            (&[1.0, 0.0], &[-1.0, 0.0], 0),
            (&[1.0, 1.0], &[1.0, 0.0], 7_071),
            (&[1.0], &[1.0, 0.0], 0),
        ] {
            let [one, other] = [one, other].map(|numbers| UnitVector::of(numbers.into()).unwrap());
            assert_eq!(one.similarity_bps(&other), expected, "{one:?} {other:?}");
        }
        for none in [&[0.0, 0.0][..], &[], &[f32::NAN, 1.0], &[f32::INFINITY]] {
            assert_eq!(UnitVector::of(none.into()), None, "{none:?}");
        }
    }

    #[test]
    fn texts_that_differ_in_a_literal_are_not_alike() {
        for (one, other) in [
            ("What is 15% of 80?", "What is 18% of 80?"),
            ("Convert 3 miles to km", "Convert 3.5 miles to km"),
            ("Is Python 3.10 supported?", "Is Python 3.1 supported?"),
            ("from 3 to 5", "from 5 to 3"),
            ("Give me two ideas", "Give me three ideas"),
            ("the first chapter", "the second chapter"),
            ("What was said in 1998?", "What was said in 1989?"),
            ("Is it -5 outside?", "Is it 5 outside?"),
            ("I can eat nuts", "I can't eat nuts"),
            ("I can eat nuts", "I can’t eat nuts"),
            ("with sugar", "without sugar"),
            ("Darf ich das essen?", "Darf ich das nicht essen?"),
            ("translate \"good night\"", "translate \"good day\""),
            ("translate 'good night' to French", "translate 'good day' to French"),
            ("übersetze „gut“", "übersetze „schlecht“"),
            ("what does `sort()` do", "what does `sorted()` do"),
            ("Sort it in C++", "Sort it in C#"),
            ("what is max_tokens", "what is min_tokens"),
            ("what is fooBar", "what is fooBaz"),
            ("run it with --force", "run it with --quiet"),
            ("read a/b.txt", "read a/c.txt"),
            ("open report.pdf", "open report.doc"),
            ("std::fs errors", "std::io errors"),
            ("map() in short", "filter() in short"),
        ] {
            assert_ne!(Literals::of(one), Literals::of(other), "{one} | {other}");
        }
    }

    #[test]
    fn words_that_say_the_same_are_no_literals() {
        for (one, other) in [
            ("How do I reset my password?", "how can I reset the password"),
            ("What's 1,000 in words?", "What is 1000 in words?"),
            ("Tell me a joke, e.g. a short one", "tell me a joke (a short one)"),
            ("Don't stop", "Do not stop."),
            ("I've 2 dogs; which food?", "Which food for two dogs?"),
            ("What's the dog's name?", "What is the name of the dog?"),
        ] {
            assert_eq!(Literals::of(one), Literals::of(other), "{one} | {other}");
        }
    }
}
