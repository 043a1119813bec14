//! The tests of `domain::stored_object`.

use domain::stored_object::NoKeptId;
use domain::{Dialect, StoredKind, StoredObjectId, StoredObjectKind};

#[test]
fn a_name_reads_back_and_nothing_else_is_one() {
    for kind in StoredObjectKind::all() {
        let id = StoredObjectId::of(kind, [0xa7; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let digits = "a7".repeat(16);
    let ours = StoredObjectId { kind: StoredObjectKind::FILE, digest: [0xa7; 16] };
    assert_eq!(ours.to_string(), format!("file-tg_{digits}"));
    let theirs = StoredObjectKind::of(Dialect::Anthropic, StoredKind::File);
    assert_eq!(StoredObjectId::of(theirs, [0xa7; 16]).to_string(), format!("file_tg_{digits}"));
    let job = StoredObjectKind::of(Dialect::Converse, StoredKind::Batch);
    let short = StoredObjectId::of(job, [0xa7; 16]).to_string();
    assert_eq!(short, "arn:aws:bedrock:tidegate:000000000000:model-invocation-job/f9x7myktf9x7");
    for wrong in [
        short[..short.len() - 1].to_owned(),
        short.to_uppercase(),
        short.replace('9', "o"),
        "file-abc".to_owned(),
        format!("file.tg_{digits}"),
        format!("file-tg_{digits}0"),
        format!("batch_tg_+{}", &digits[1..]),
        format!("batch_tg_{}", digits.to_uppercase()),
        String::new(),
    ] {
        assert_eq!(wrong.parse::<StoredObjectId>(), Err(NoKeptId), "{wrong}");
    }
}
