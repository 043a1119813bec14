//! The parts of a multipart form, with their content.

use conversation::form::Form;
use framing::multipart::{Found, Part, Scanner};

/// Parts with their content.
pub type Parts<'b> = Vec<(Part, &'b [u8])>;

/// Each part with its content; `None` if the form is incomplete.
pub fn parts<'b>(form: &Form, body: &'b [u8]) -> Option<Parts<'b>> {
    let (parts, is_whole) = parts_so_far(&form.boundary, body)?;
    is_whole.then_some(parts)
}

/// Each part with its content, of the last one as much as is there, and whether the form is complete.
pub(crate) fn parts_so_far<'b>(boundary: &str, body: &'b [u8]) -> Option<(Parts<'b>, bool)> {
    let (mut found, mut parts, mut open) = (Vec::new(), Vec::new(), None);
    let mut scanner = Scanner::new(boundary).ok()?;
    scanner.push(body, &mut found).ok()?;
    let content = |from: u64, until: u64| {
        let range = usize::try_from(from).ok().zip(usize::try_from(until).ok());
        range.and_then(|(from, until)| body.get(from..until)).unwrap_or_default()
    };
    for found in found {
        match found {
            Found::Begin { part, from } => open = Some((part, from)),
            Found::End { until } => {
                let Some((part, from)) = open.take() else { continue };
                parts.push((part, content(from, until)));
            }
            Found::Over => {}
        }
    }
    parts.extend(open.map(|(part, from)| (part, content(from, body.len() as u64))));
    Some((parts, scanner.is_over()))
}
