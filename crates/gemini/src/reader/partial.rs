//! Assembles streamed function-call arguments: pieces that each come with a JSON path become one JSON text.
//!
//! The pieces arrive in the order in which the model writes them, so only the containers that are still open
//! are stored.

use std::collections::HashSet;

use conversation::answer::StreamFault;
use domain::limits::JSON_DEPTH_MAX;

/// The value of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    /// The next piece of a string.
    Text(String),
    /// A number, a boolean or `null`, as written.
    Bare(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// An open object or array, and the step from it to the current value.
#[derive(Debug)]
struct Open {
    step: Step,
    /// Names already used in this object. A value of that name is closed, so a repeated name cannot continue
    /// it.
    names: HashSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct PartialArguments {
    open: Vec<Open>,
    /// The last value is a string without its closing quote.
    in_string: bool,
    has_root: bool,
}

impl PartialArguments {
    /// Appends what a piece adds to the JSON text.
    pub(super) fn add(&mut self, path: &str, scalar: &Scalar, out: &mut String) -> Result<(), StreamFault> {
        let steps = parse(path).ok_or(StreamFault::Broken("bad_argument_path"))?;
        let shared = self.open.iter().zip(&steps).take_while(|(open, step)| open.step == **step).count();
        if shared == steps.len() && shared == self.open.len() {
            return match scalar {
                Scalar::Text(text) if self.in_string => {
                    push_escaped(text, out);
                    Ok(())
                }
                _ => Err(OUT_OF_ORDER),
            };
        }
        if shared == steps.len() || (shared == self.open.len() && self.has_root) {
            // The path refers to a container, or leads through a scalar.
            return Err(OUT_OF_ORDER);
        }
        self.close_to(shared + 1, out);
        self.step_on(shared, &steps, out)?;
        match scalar {
            Scalar::Text(text) => {
                out.push('"');
                push_escaped(text, out);
                self.in_string = true;
            }
            Scalar::Bare(text) => out.push_str(text),
        }
        Ok(())
    }

    /// Appends whatever closes the JSON text.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.close_to(0, out);
        if !self.has_root {
            out.push_str("{}");
        }
    }

    /// Closes values until `depth` containers are open.
    fn close_to(&mut self, depth: usize, out: &mut String) {
        if std::mem::take(&mut self.in_string) {
            out.push('"');
        }
        while self.open.len() > depth
            && let Some(open) = self.open.pop()
        {
            out.push(if matches!(open.step, Step::Name(_)) { '}' } else { ']' });
        }
    }

    /// Descends from the container at `depth`, which may be open, to the value's position.
    fn step_on(&mut self, depth: usize, steps: &[Step], out: &mut String) -> Result<(), StreamFault> {
        let mut rest = steps.iter().skip(depth);
        if let (Some(open), Some(step)) = (self.open.get_mut(depth), rest.clone().next()) {
            let follows = match (&open.step, step) {
                (Step::Name(_), Step::Name(name)) => open.names.insert(name.clone()),
                (Step::Index(last), Step::Index(index)) => *index == last + 1,
                _ => false,
            };
            if !follows {
                return Err(OUT_OF_ORDER);
            }
            open.step = step.clone();
            out.push(',');
            push_name(step, out);
            rest.next();
        }
        for step in rest {
            out.push(if matches!(step, Step::Name(_)) { '{' } else { '[' });
            if matches!(step, Step::Index(index) if *index > 0) {
                return Err(OUT_OF_ORDER);
            }
            push_name(step, out);
            let names = match step {
                Step::Name(name) => HashSet::from([name.clone()]),
                Step::Index(_) => HashSet::new(),
            };
            self.open.push(Open { step: step.clone(), names });
            self.has_root = true;
        }
        Ok(())
    }
}

const OUT_OF_ORDER: StreamFault = StreamFault::Broken("arguments_out_of_order");

fn push_name(step: &Step, out: &mut String) {
    if let Step::Name(name) = step {
        out.push('"');
        push_escaped(name, out);
        out.push_str("\":");
    }
}

fn push_escaped(text: &str, out: &mut String) {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    out.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

/// Parses a path such as `$.name[0]['other name']`. The first step must be a name, because arguments are an
/// object.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, behind) = named.split_at_checked(end)?;
            (Step::Name(name.to_owned()), behind)
        } else {
            parse_bracket(rest.strip_prefix('[')?)?
        };
        if steps.len() >= JSON_DEPTH_MAX || step == Step::Name(String::new()) && !rest.starts_with('[') {
            return None;
        }
        steps.push(step);
        rest = behind;
    }
    matches!(steps.first(), Some(Step::Name(_))).then_some(steps)
}

fn parse_bracket(inside: &str) -> Option<(Step, &str)> {
    let Some(quote) = inside.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let (digits, behind) = inside.split_once(']')?;
        return Some((Step::Index(digits.parse().ok()?), behind));
    };
    let mut name = String::new();
    let mut is_escaped = false;
    for (at, character) in inside.char_indices().skip(1) {
        match character {
            _ if is_escaped => {
                name.push(character);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            _ if character == quote => {
                let behind = inside.get(at + 1..)?.strip_prefix(']')?;
                return Some((Step::Name(name), behind));
            }
            _ => name.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(pieces: &[(&str, Scalar)]) -> Result<String, StreamFault> {
        let mut arguments = PartialArguments::default();
        let mut out = String::new();
        for (path, scalar) in pieces {
            arguments.add(path, scalar, &mut out)?;
        }
        arguments.finish(&mut out);
        assert_eq!(json::validate(out.as_bytes()), Ok(()), "{out}");
        Ok(out)
    }

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    fn bare(text: &str) -> Scalar {
        Scalar::Bare(text.to_owned())
    }

    #[test]
    fn pieces_become_the_json_that_they_tell() {
        let check = |pieces: &[(&str, Scalar)], expected: &str| assert_eq!(join(pieces).unwrap(), expected);
        check(&[], "{}");
        check(&[("$.a", text("x"))], r#"{"a":"x"}"#);
        check(&[("$.a", text("x")), ("$.a", text("\"y\n")), ("$.a", text(""))], r#"{"a":"x\"y\n"}"#);
        check(
            &[("$.a", bare("9007199254740993")), ("$.b", bare("null"))],
            r#"{"a":9007199254740993,"b":null}"#,
        );
        check(
            &[
                ("$.a.b[0].c", text("1")),
                ("$.a.b[0].d", bare("true")),
                ("$.a.b[1].c", text("2")),
                ("$.e", text("z")),
            ],
            r#"{"a":{"b":[{"c":"1","d":true},{"c":"2"}]},"e":"z"}"#,
        );
        check(
            &[("$['a b'][\"c'\\\"\"]", text("x")), ("$.m[0][0]", bare("1")), ("$.m[0][1]", bare("2"))],
            r#"{"a b":{"c'\"":"x"},"m":[[1,2]]}"#,
        );
    }

    #[test]
    fn what_can_no_longer_be_written_is_told() {
        for pieces in [
            vec![("$.a", bare("1")), ("$.a", bare("2"))],
            vec![("$.a", text("1")), ("$.b", text("2")), ("$.a", text("3"))],
            vec![("$.a[1]", text("1"))],
            vec![("$.a[0]", text("1")), ("$.a[2]", text("1"))],
            vec![("$.a[0]", text("1")), ("$.a.b", text("1"))],
            vec![("$.a.b", text("1")), ("$.a", text("1"))],
            vec![("$.a", text("1")), ("$.a.b", text("1"))],
        ] {
            assert_eq!(join(&pieces), Err(OUT_OF_ORDER), "{pieces:?}");
        }
        for path in ["", "a", "$", "$[0]", "$.a[", "$.a[x]", "$..a", "$['a"] {
            assert_eq!(join(&[(path, text("1"))]), Err(StreamFault::Broken("bad_argument_path")), "{path}");
        }
    }
}
