//! Documents of flows, as they are read.

use flows::{DOCUMENT_BYTES_MAX, read};
use serde_json::json;

#[test]
fn json_and_yaml_are_read_alike() {
    let yaml =
        "name: greet\nsteps:\n  hello:\n    kind: expression\n    expression: \"'hi ' + input.name\"\n";
    let expected = json!({"name": "greet", "steps": {"hello": {"kind": "expression", "expression": "'hi ' + input.name"}}});
    assert_eq!(read(yaml), Ok(expected.clone()));
    assert_eq!(read(&expected.to_string()), Ok(expected));
}

#[test]
fn aliases_that_grow_without_end_are_refused() {
    let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        yaml.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(read(&yaml).is_err());
    assert!(read("{").is_err() && read("a: [").is_err());
    assert!(read(&" ".repeat(DOCUMENT_BYTES_MAX + 1)).unwrap_err().0.contains("bytes"));
}
