//! The requests of a batch, counted.

use conversation::batch_counts::request_counts;

#[test]
fn both_formats_are_counted_and_what_is_left_over_has_ended_as_its_batch_did() {
    let check = |object: &str, expected: Option<[u64; 5]>| {
        let counts = request_counts(object.as_bytes());
        let counts = counts.map(|counts| {
            [counts.processing, counts.succeeded, counts.errored, counts.cancelled, counts.expired]
        });
        assert_eq!(counts, expected, "{object}");
    };
    let each = r#"{"request_counts":{"processing":1,"succeeded":2,"errored":3,"canceled":4,"expired":5}}"#;
    check(each, Some([1, 2, 3, 4, 5]));
    let of_status = |status: &str| {
        format!(r#"{{"status":"{status}","request_counts":{{"total":9,"completed":4,"failed":2}}}}"#)
    };
    check(&of_status("in_progress"), Some([3, 4, 2, 0, 0]));
    check(&of_status("cancelled"), Some([0, 4, 2, 3, 0]));
    check(&of_status("expired"), Some([0, 4, 2, 0, 3]));
    for none in ["", "{}", r#"{"request_counts":null}"#, r#"{"request_counts":{"total":"many"}}"#] {
        check(none, None);
    }
}
