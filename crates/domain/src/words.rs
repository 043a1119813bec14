//! The macro with which an enum is declared once with its words.

/// Declares an enum each of whose variants has a word, as configuration, records, answers and messages have it: the lists
/// `ALL` and `WORDS` in the order of declaration, `as_str`, and, where a name stands behind `by`, the function of that name
/// that finds the variant of a word. A number in parentheses is the variant's discriminant.
#[macro_export]
macro_rules! words {
    ($(#[$attribute:meta])* $see:vis enum $name:ident $(by $find:ident)? {
        $($(#[$note:meta])* $kind:ident $(($number:literal))? = $word:literal),* $(,)?
    }) => {
        $(#[$attribute])*
        $see enum $name {
            $($(#[$note])* $kind $(= $number)?,)*
        }

        impl $name {
            #[allow(dead_code, reason = "not everybody lists the variants")]
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$kind),*];
            #[allow(dead_code, reason = "the words alone are for schemas and messages")]
            pub const WORDS: [&'static str; [$($word),*].len()] = [$($word),*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            $(
                pub fn $find(word: &str) -> Option<Self> {
                    Self::ALL.into_iter().find(|one| one.as_str() == word)
                }
            )?
        }
    };
}
