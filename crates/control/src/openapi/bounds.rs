//! Bounds of names, emails and environments, defined once for the checks and for the OpenAPI document. Where
//! the two can't express the same rule the document is the stricter one: the checks trim spaces around a name
//! first.

pub const NAME_CHARS_MAX: usize = 200;
/// At least one visible character, and no control characters.
pub const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

pub const EMAIL_BYTES_MAX: usize = 254;
pub const EMAIL: &str = r"^\s*[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\s*$";

pub const ENVIRONMENT_BYTES_MAX: usize = 63;
pub const ENVIRONMENT: &str = r"^[a-z0-9_-]+$";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routes::{checked_email, checked_environment, checked_name};

    /// The schema and the check must agree on whether they accept a text.
    fn agree(schema: &Value, text: &str, is_taken: bool) {
        assert_eq!(jsonschema::is_valid(schema, &json!(text)), is_taken, "{text:?} {schema}");
    }

    #[test]
    fn the_document_says_what_the_checks_check() {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": NAME});
        let (longest, longer) = ("\u{fc}".repeat(NAME_CHARS_MAX), "a".repeat(NAME_CHARS_MAX + 1));
        for text in ["a", "a b", " a", "", " ", "\u{2003}", "a\nb", "a\u{85}b", "\u{6f22}", &longest, &longer]
        {
            agree(&schema, text, checked_name(Some(text.to_owned()), "name").is_ok());
        }
        let schema = json!({"type": "string", "maxLength": EMAIL_BYTES_MAX, "pattern": EMAIL});
        let longer = format!("{}@b", "a".repeat(EMAIL_BYTES_MAX));
        for text in ["a@b", " A.b+c@d.example ", "", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\u{7f}", &longer]
        {
            agree(&schema, text, checked_email(text).is_ok());
        }
        let schema = json!({"type": "string", "maxLength": ENVIRONMENT_BYTES_MAX, "pattern": ENVIRONMENT});
        let (longest, longer) = ("a".repeat(ENVIRONMENT_BYTES_MAX), "a".repeat(ENVIRONMENT_BYTES_MAX + 1));
        for text in ["production", "eu-1_b", "", "Production", "a b", "\u{fc}", "a\n", &longest, &longer] {
            agree(&schema, text, checked_environment(text, "environment").is_ok());
        }
    }
}
