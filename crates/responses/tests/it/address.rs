//! Addresses of stored answers.

use conversation::face::Face;
use conversation::request::StoredAct;
use responses::Responses;

#[test]
fn an_answer_is_addressed_by_its_id() {
    let read = |method: &str, rest| {
        let read = Responses.read_response_address(&method.parse().unwrap(), rest, "limit=1");
        read.map(|read| read.stored.map(|stored| (stored.id, stored.act, stored.query))).ok().flatten()
    };
    for (method, rest, act) in [
        ("GET", "resp_1", StoredAct::Read),
        ("HEAD", "resp_1", StoredAct::Read),
        ("DELETE", "resp_1", StoredAct::Delete),
        ("POST", "resp_1/cancel", StoredAct::Cancel),
        ("GET", "resp_1/input_items", StoredAct::ListInput),
    ] {
        let expected = Some(("resp_1".to_owned(), act, "limit=1".to_owned()));
        assert_eq!(read(method, rest), expected, "{method} {rest}");
    }
    for (method, rests) in [
        ("POST", &["resp_1", "resp_1/input_items"][..]),
        ("GET", &["resp_1/cancel", "resp_1/", "resp_1/input_items/more"]),
        ("DELETE", &["resp_1/cancel"]),
    ] {
        rests.iter().for_each(|rest| assert_eq!(read(method, rest), None, "{method} {rest}"));
    }
}
