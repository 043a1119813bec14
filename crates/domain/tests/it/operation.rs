//! The tests of `domain::operation`.

use domain::Operation;

/// What old records have: a line may be added at the end, and none changes.
#[test]
fn records_keep_their_numbers_and_names() {
    let recorded = "chat run verify count embed moderate complete stored images speech rerank transcribe \
        translate image_edits image_variations realtime file batch video cached_content";
    for (number, name) in recorded.split_whitespace().enumerate() {
        let operation = Operation::ALL[number];
        assert_eq!((operation as usize, operation.as_str()), (number, name));
    }
}
