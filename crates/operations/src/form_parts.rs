//! The parts of a multipart form, with their content.

use conversation::form::Form;
use framing::multipart::{Found, Part, Scanner};

/// Each part with its content; `None` if the form is incomplete.
#[must_use]
pub fn parts<'b>(form: &Form, body: &'b [u8]) -> Option<Vec<(Part, &'b [u8])>> {
    let (mut found, mut parts, mut open) = (Vec::new(), Vec::new(), None);
    let mut scanner = Scanner::new(&form.boundary).ok()?;
    if scanner.push(body, &mut found).is_err() || !scanner.is_over() {
        return None;
    }
    for found in found {
        match found {
            Found::Begin { part, from } => open = Some((part, from)),
            Found::End { until } => {
                let Some((part, from)) = open.take() else { continue };
                let range = usize::try_from(from).ok().zip(usize::try_from(until).ok());
                parts.push((part, range.and_then(|(from, until)| body.get(from..until)).unwrap_or_default()));
            }
            Found::Over => {}
        }
    }
    Some(parts)
}
