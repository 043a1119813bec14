//! The tests of `domain::batch`.

use domain::{ItemOutcome, ResultsFile, StoredObjectId, StoredObjectKind};

#[test]
fn the_files_of_a_batch_lead_back_to_it_alone() {
    let batch = StoredObjectId { kind: StoredObjectKind::BATCH, digest: [7; 16] };
    let [answers, errors] = ResultsFile::ALL.map(|results| results.of(batch));
    assert_eq!((answers.kind, errors.kind), (StoredObjectKind::FILE, StoredObjectKind::FILE));
    assert_eq!((ResultsFile::Answers.batch(answers), ResultsFile::Errors.batch(errors)), (batch, batch));
    assert_ne!(ResultsFile::Errors.batch(answers), batch);
    for outcome in ItemOutcome::ALL {
        let files: Vec<_> = ResultsFile::ALL.into_iter().filter(|results| results.has(outcome)).collect();
        assert_eq!(files.len(), 1, "{outcome:?} is in one of them");
    }
}
