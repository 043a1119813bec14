//! JSON in the form in which it is compared.

use json::canonical;

fn check(document: &str, expected: &str) {
    let mut out = Vec::new();
    canonical(document.as_bytes(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), expected, "{document}");
}

#[test]
fn order_and_space_don_t_count_and_all_else_does() {
    check(
        " { \"b\" : [ 1 , {\"z\":null,\"y\":\"a b\"} ] , \"a\" : 1.0 } ",
        r#"{"a":1.0,"b":[1,{"y":"a b","z":null}]}"#,
    );
    check("[2, 1]", "[2,1]");
    check(r#"{"a":2,"a":1}"#, r#"{"a":2,"a":1}"#);
    check("\"x\"", "\"x\"");
    check("{}", "{}");
    check("[]", "[]");
    assert!(canonical(b"{\"a\":1} x", &mut Vec::new()).is_err());
    assert!(canonical(b"{\"a\":", &mut Vec::new()).is_err());
}
