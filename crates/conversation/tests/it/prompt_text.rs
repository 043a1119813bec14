//! The text that is kept to be counted.

use conversation::prompt_text::CountedText;
use domain::limits::COUNTED_BYTES_MAX;

#[test]
fn a_text_is_kept_up_to_its_bound_and_where_it_is_wanted() {
    let mut kept = CountedText::new(true);
    kept.push(&"é".repeat(COUNTED_BYTES_MAX));
    kept.push("more");
    assert_eq!(kept.as_str().len(), COUNTED_BYTES_MAX);
    let mut none = CountedText::new(false);
    none.push("text");
    assert!(none.as_str().is_empty());
}
