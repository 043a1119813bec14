//! JSON Schemas that strangers write, compared with values within a bound. A schema of a few kilobytes can name the same part so
//! often that comparing a value takes longer than anybody lives, so the work is counted before it is done.

mod depth;
mod limits;
mod references;
mod work;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

pub use depth::{is_too_deep, value_or_text};
pub use limits::STORED_DEPTH_MAX;

use crate::limits::{BACKTRACKS_MAX, PATTERN_BYTES_MAX};
use crate::references::References;
use crate::work::Work;

/// A schema that values can be compared with.
#[derive(Debug)]
pub struct Schema {
    written: Value,
    validator: Validator,
}

/// The value, or the schema, is too large for its comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the schema has so many alternatives, or the value so many parts, that they can't be compared in time"
)]
pub struct TooMuchWork;

impl Schema {
    /// # Errors
    /// It is no JSON Schema, or it refers to something outside of itself.
    pub fn compile(written: &Value) -> Result<Self, String> {
        References::check(written)?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACKS_MAX)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let made = jsonschema::options().with_pattern_options(patterns).build(written);
        let validator = made.map_err(|error| error.masked().to_string())?;
        Ok(Self { written: written.clone(), validator })
    }

    /// What of a value does not fit, at most so many places; empty where it fits.
    ///
    /// # Errors
    /// The comparison would take too long, and is not begun.
    pub fn errors<'a>(
        &'a self,
        value: &'a Value,
        most: usize,
    ) -> Result<Vec<ValidationError<'a>>, TooMuchWork> {
        Work::of(&self.written, value)?;
        Ok(self.validator.iter_errors(value).take(most).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A schema whose comparison takes two to the power of `levels` steps.
    fn doubling(levels: usize) -> Value {
        let mut parts = serde_json::Map::new();
        for level in 0..levels {
            let below = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            parts.insert(format!("d{level}"), json!({"allOf": [below, below]}));
        }
        parts.insert(format!("d{levels}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/d0", "$defs": parts})
    }

    fn errors(schema: &Value, value: &Value) -> Result<usize, TooMuchWork> {
        Schema::compile(schema).unwrap().errors(value, 9).map(|errors| errors.len())
    }

    #[test]
    fn values_are_compared() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
        assert_eq!(errors(&schema, &json!({"a": 1})), Ok(0));
        assert_eq!(errors(&schema, &json!({"a": "x"})), Ok(1));
        assert_eq!(errors(&schema, &json!({})), Ok(1));
    }

    #[test]
    fn a_tree_that_refers_to_itself_is_compared() {
        let schema =
            json!({"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#"}}}});
        let mut tree = json!({"below": []});
        for _ in 0..30 {
            tree = json!({"below": [tree]});
        }
        assert_eq!(errors(&schema, &tree), Ok(0));
        assert_eq!(errors(&schema, &json!({"below": [{"below": 1}]})), Ok(1));
    }

    #[test]
    fn a_long_list_is_compared() {
        let schema = json!({"type": "array", "items": {"type": "number", "minimum": 0}});
        assert_eq!(errors(&schema, &json!(vec![1; 200_000])), Ok(0));
    }

    #[test]
    fn what_would_take_too_long_is_not_begun() {
        assert_eq!(errors(&doubling(8), &json!({})), Ok(0));
        assert_eq!(errors(&doubling(45), &json!({})), Err(TooMuchWork));
        // The same by the depth of the value, with a schema that is small at each of its levels.
        let twice = json!({"properties": {"x": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"x": deep});
        }
        assert_eq!(errors(&twice, &deep), Err(TooMuchWork));
        for own in [json!({"$ref": "#"}), json!({"anyOf": [{"$ref": "#"}, true]})] {
            if let Ok(schema) = Schema::compile(&own) {
                assert!(schema.errors(&json!({}), 9).is_err(), "{own}");
            }
        }
    }

    #[test]
    fn slow_patterns_are_bounded() {
        let schema = json!({"items": {"pattern": "^(?:(?=(?:a|a)+(?!b)c)|a)"}});
        let words = json!(vec!["a".repeat(24); 100_000]);
        assert_eq!(errors(&schema, &words), Err(TooMuchWork));
        let begun = std::time::Instant::now();
        let _ = errors(&schema, &json!(vec!["a".repeat(24); 500]));
        // A generous bound of what takes no second; without the limit of steps it is minutes.
        assert!(begun.elapsed().as_secs() < 60);
        assert_eq!(errors(&json!({"pattern": "^a+$"}), &json!("aaa")), Ok(0));
    }

    #[test]
    fn a_schema_is_whole_in_itself() {
        for (wrong, word) in [
            (json!({"$ref": "https://a.example/schema"}), "#/"),
            (json!({"$dynamicRef": "#a"}), "$dynamicRef"),
            (json!({"properties": {"a": {"$id": "https://a.example/b", "$ref": "#/c"}}}), "$id"),
            (json!({"$ref": "#/$defs/none"}), "#/$defs/none"),
        ] {
            let error = Schema::compile(&wrong).unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
        for right in [
            json!({"$id": "https://a.example/b", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}),
            json!({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": true}}),
            json!({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}),
            json!({"const": {"$ref": "nowhere"}, "default": {"$id": "x"}, "enum": [{"$dynamicRef": "x"}]}),
            json!(true),
        ] {
            assert!(Schema::compile(&right).is_ok(), "{right}: {:?}", Schema::compile(&right).err());
        }
    }
}
