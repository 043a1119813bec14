//! What an expression reads, and what is none.

use flows::{EXPRESSION_BYTES_MAX, Expression};

fn names(source: &str) -> Vec<String> {
    Expression::parse(source).unwrap().names().map(str::to_owned).collect()
}

#[test]
fn an_expression_tells_what_it_reads() {
    assert_eq!(names("input.a + steps.b.output.c"), ["b", "input"]);
    assert_eq!(names("a.output.filter(x, x > limit)"), ["a", "limit"]);
    assert_eq!(names("{'k': a, 'l': [b]}"), ["a", "b"]);
    assert_eq!(names("has(a.output) ? 1 : 2"), ["a"]);
}

#[test]
fn what_is_no_expression_is_refused_with_a_reason() {
    for (source, part) in [
        ("1 +".to_owned(), "This isn't an expression"),
        ("steps[input.x]".to_owned(), "Name the step"),
        ("steps".to_owned(), "Name the step"),
        ("a.b.C{x: 1}".to_owned(), "messages"),
        (format!("\"{}\"", "x".repeat(EXPRESSION_BYTES_MAX)), "bytes"),
        ("(".repeat(500), "This isn't an expression"),
        (vec!["1"; 400].join("+"), "after each other"),
        (vec!["1"; 1_900].join("+"), "after each other"),
    ] {
        let refused = Expression::parse(&source).unwrap_err();
        assert!(refused.contains(part), "{source}: {refused}");
    }
}
