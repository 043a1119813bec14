//! The index of the documentation's search: the sections of the pages, and which of them have a word.

use std::collections::{BTreeMap, BTreeSet};

use pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};
use serde::{Serialize, Serializer};

/// How much of a section's text stands below its heading in the results.
const LINE_CHARACTERS: usize = 90;
/// Longer words are hashes and sample ids, which nobody types.
const WORD_CHARACTERS_MAX: usize = 24;

/// What `console/src/lib/find-docs.js` reads.
#[derive(Default, Serialize)]
pub struct Index {
    pages: Vec<Page>,
    sections: Vec<Section>,
    words: BTreeMap<String, Sections>,
}

/// A page's address below `/docs/`, and its title.
#[derive(Serialize)]
struct Page(String, String);

/// The number of the page, the anchor and text of the heading, and how the text begins. The first section of a page has no
/// anchor: it is found as the page.
#[derive(Serialize)]
struct Section(usize, String, String, String);

/// The numbers of sections, ascending. Each is written as its distance from the one before, which compresses well.
#[derive(Default)]
struct Sections(Vec<usize>);

impl Serialize for Sections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let before = std::iter::once(&0).chain(&self.0);
        serializer.collect_seq(self.0.iter().zip(before).map(|(section, before)| section - before))
    }
}

/// A section as it is read.
#[derive(Default)]
struct Reading {
    anchor: String,
    heading: String,
    text: String,
}

impl Index {
    /// Adds a page whose headings have their anchors.
    pub fn add(&mut self, name: &str, title: &str, events: &[Event<'_>]) {
        let page = self.pages.len();
        self.pages.push(Page(name.to_owned(), title.to_owned()));
        for Reading { anchor, heading, text } in read(events) {
            for word in words(&text) {
                self.words.entry(word).or_default().0.push(self.sections.len());
            }
            self.sections.push(Section(page, anchor, heading, beginning(&text)));
        }
    }

    /// The page and the anchor of each section.
    #[cfg(test)]
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sections.iter().map(|section| (self.pages[section.0].0.as_str(), section.1.as_str()))
    }
}

fn read(events: &[Event<'_>]) -> Vec<Reading> {
    let mut done = Vec::new();
    let mut section = Reading::default();
    let mut is_heading = false;
    for event in events {
        match event {
            Event::Start(Tag::Heading { level, id, .. }) => {
                let is_title = *level == HeadingLevel::H1 && done.is_empty();
                if !is_title {
                    let anchor = id.as_deref().unwrap_or_default().to_owned();
                    done.push(std::mem::replace(&mut section, Reading { anchor, ..Reading::default() }));
                }
                is_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => is_heading = false,
            Event::Text(text) | Event::Code(text) if is_heading => section.heading.push_str(text),
            Event::Text(text) | Event::Code(text) => section.text.push_str(text),
            Event::End(
                TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image,
            ) => {}
            Event::SoftBreak | Event::HardBreak | Event::End(_) => section.text.push(' '),
            _ => {}
        }
    }
    done.push(section);
    done
}

/// The words of a text, once each, as the search takes apart what is typed.
fn words(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && word.chars().count() <= WORD_CHARACTERS_MAX);
    words.map(str::to_owned).collect()
}

/// The first words of a text.
fn beginning(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() > LINE_CHARACTERS {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use pulldown_cmark::{Options, Parser};

    use super::{Index, LINE_CHARACTERS, beginning, words};

    fn index(pages: &[(&str, &str)]) -> serde_json::Value {
        let mut index = Index::default();
        for (name, text) in pages {
            let events: Vec<_> =
                super::super::with_anchors(Parser::new_ext(text, Options::ENABLE_TABLES).collect());
            index.add(name, &name.to_uppercase(), &events);
        }
        serde_json::to_value(index).unwrap()
    }

    #[test]
    fn sections_are_named_by_their_headings() {
        let page =
            "# One *page*\nIts `first`\nline.\n\n## A `tg` key\n\n|a|b|\n|-|-|\n|c|d|\n\n### Empty\n# Last\n";
        let found = index(&[("one", page), ("how-to/two", "x")]);
        assert_eq!(found["pages"], serde_json::json!([["one", "ONE"], ["how-to/two", "HOW-TO/TWO"]]));
        let sections = serde_json::json!([
            [0, "", "One page", "Its first line."],
            [0, "a-tg-key", "A tg key", "a b c d"],
            [0, "empty", "Empty", ""],
            [0, "last", "Last", ""],
            [1, "", "", "x"],
        ]);
        assert_eq!(found["sections"], sections);
    }

    #[test]
    fn sections_of_a_word_are_distances() {
        let found = index(&[("one", "tide\n## B\ntide tide\n## C\nno\n## D\nTide"), ("two", "tide")]);
        assert_eq!(found["words"], serde_json::json!({"no": [2], "tide": [0, 1, 2, 1]}));
    }

    #[test]
    fn words_are_letters_and_digits() {
        let found = words("Set `TIDEGATE_URL`: /v2/keys, naïve; 0123456789012345678901234");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["keys", "naïve", "set", "tidegate", "url", "v2"]);
    }

    #[test]
    fn a_line_ends_with_a_word() {
        let line = beginning(&"tide ".repeat(40));
        assert!(line.ends_with("tide…") && line.chars().count() <= LINE_CHARACTERS + 1, "{line}");
        assert_eq!(beginning(" a\n b "), "a b");
    }
}
