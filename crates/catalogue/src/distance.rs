//! Suggests known names that are close to a mistyped one.

/// A name this much longer than any of ours is not a typing error; it also bounds the work.
const NAME_CHARS_MAX: usize = 128;

/// Up to `count` of `names` that a person may have meant by `wanted`, nearest first.
///
/// A name is near if few edits lead to it, counted for the whole name and for the part after its last slash.
/// Case is ignored, and a name that is a prefix of the other counts as near.
#[must_use]
pub fn nearest_of<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> Vec<String> {
    let wanted = fold(wanted);
    if wanted.is_empty() || wanted.len() > NAME_CHARS_MAX {
        return Vec::new();
    }
    let far = (wanted.len() / 3).max(2);
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let edits = closeness(&wanted, name);
            (edits <= far).then_some((edits, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(count).map(|(_, name)| name.to_owned()).collect()
}

fn closeness(wanted: &[char], name: &str) -> usize {
    let whole = fold(name);
    let bare = fold(name.rsplit('/').next().unwrap_or(name));
    let wanted_text: String = wanted.iter().collect();
    let wanted_bare = fold(wanted_text.rsplit('/').next().unwrap_or_default());
    let begins =
        !wanted_bare.is_empty() && (bare.starts_with(&wanted_bare) || wanted_bare.starts_with(&bare));
    let edits = edits(wanted, &whole).min(edits(wanted, &bare));
    if begins { edits.min(2) } else { edits }
}

fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).take(NAME_CHARS_MAX + 1).collect()
}

/// The edit distance (Levenshtein).
fn edits(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, a) in from.iter().enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        for (b, above) in to.iter().zip(row.iter_mut().skip(1)) {
            let change = diagonal + usize::from(a != b);
            diagonal = *above;
            left = change.min(left + 1).min(diagonal + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = done + 1;
        }
    }
    row.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "ab", 2), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "", 2)]
        {
            assert_eq!(edits(&chars(from), &chars(to)), count, "{from} -> {to}");
        }
    }

    #[test]
    fn typing_errors_find_their_name() {
        let names = ["openai/gpt-4o", "openai/gpt-4o-mini", "meta-llama/Llama-3.3-70B-Instruct"];
        for (wanted, first) in [
            ("openai/gpt-4", "openai/gpt-4o"),
            ("gpt4o", "openai/gpt-4o"),
            ("gpt-4o-mni", "openai/gpt-4o-mini"),
            ("llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
            ("META-LLAMA/llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ] {
            let found = nearest_of(wanted, names.into_iter(), 3);
            assert_eq!(found.first().map(String::as_str), Some(first), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn what_resembles_nothing_finds_nothing() {
        let names = ["openai/gpt-4o"];
        assert!(nearest_of("claude-sonnet", names.into_iter(), 3).is_empty());
        assert!(nearest_of("", names.into_iter(), 3).is_empty());
        assert!(nearest_of(&"a".repeat(10_000), names.into_iter(), 3).is_empty());
    }
}
