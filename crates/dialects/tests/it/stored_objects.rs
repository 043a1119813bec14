//! The tests of `dialects::stored_objects`.

use bytes::Bytes;
use conversation::request::StoredAct;
use dialects::decode_batch;
use domain::Grammar;

#[test]
fn a_new_batch_names_its_input_by_its_makers_name() {
    let body = Bytes::from_static(
        br#"{"endpoint":"/v1/responses","input_file_id":"file-tg_1","completion_window":"24h"}"#,
    );
    let mut request = decode_batch(Grammar::Chat, &body, None).unwrap();
    let stored = request.stored.as_mut().unwrap();
    assert_eq!((&*stored.id, stored.act), ("file-tg_1", StoredAct::Make));
    stored.provider_object_id = Some("file-abc".to_owned());
    let sent = conversation::request::upstream_body(&body, &request, "", true).concat();
    assert_eq!(sent, br#"{"endpoint":"/v1/responses","input_file_id":"file-abc","completion_window":"24h"}"#);
}

#[test]
fn what_is_wrong_with_a_new_batch_is_said() {
    for (body, code) in [
        ("", "empty_body"),
        ("[]", "invalid_type"),
        ("{", "invalid_json"),
        ("{}", "missing_required_parameter"),
        (r#"{"input_file_id":7}"#, "invalid_type"),
        (r#"{"input_file_id":"a","input_file_id":"b"}"#, "duplicate_field"),
    ] {
        let read = decode_batch(Grammar::Chat, &Bytes::from(body), None);
        assert_eq!(read.unwrap_err().code, code, "{body}");
    }
}
