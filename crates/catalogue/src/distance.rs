//! Suggests known names that are close to a mistyped one.

use strsim::levenshtein;

use crate::limits::MISTYPED_CHARS_MAX;

/// Up to `count` of `names` that a person may have meant by `wanted`, nearest first.
///
/// A name is near if few edits lead to it, counted for the whole name and for the part after its last slash.
/// Case is ignored, and a name that is a prefix of the other counts as near.
pub fn nearest_of<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> Vec<String> {
    let wanted = fold(wanted);
    let length = wanted.chars().count();
    if wanted.is_empty() || length > MISTYPED_CHARS_MAX {
        return Vec::new();
    }
    let far = (length / 3).max(2);
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

fn closeness(wanted: &str, name: &str) -> usize {
    let (whole, bare) = (fold(name), fold(last_part(name)));
    let wanted_bare = last_part(wanted);
    let begins = !wanted_bare.is_empty() && (bare.starts_with(wanted_bare) || wanted_bare.starts_with(&bare));
    let edits = levenshtein(wanted, &whole).min(levenshtein(wanted, &bare));
    if begins { edits.min(2) } else { edits }
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).take(MISTYPED_CHARS_MAX + 1).collect()
}
