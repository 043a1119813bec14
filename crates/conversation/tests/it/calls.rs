//! The parameters of functions, as every dialect takes them.

use conversation::calls::Parameters;
use domain::Json;

#[test]
fn parameters_are_an_object_that_names_its_properties() {
    for (schema, expected) in [
        ("{}", r#"{"type":"object","properties":{}}"#),
        (r#"{"type":"object"}"#, r#"{"properties":{},"type":"object"}"#),
        (r#"{"type":"object","properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#),
        (r#"{"properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#),
    ] {
        let schema = Json(schema.to_owned());
        assert_eq!(serde_json::to_string(&Parameters(&schema)).unwrap(), expected);
    }
}
