//! The plaintext format of stored content before sealing: an encoded head, then the raw content.

use bytes::Bytes;
use domain::ports::StoredAnswer;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
}

/// `None` where it can't be encoded, which never happens to our answers.
pub(crate) fn pack(answer: StoredAnswer) -> Option<Vec<u8>> {
    encode(&Head { status: answer.status, headers: answer.headers }, &[&answer.body])
}

pub(crate) fn unpack(packed: &[u8]) -> Option<StoredAnswer> {
    let (head, body): (Head, _) = postcard::take_from_bytes(packed).ok()?;
    Some(StoredAnswer { status: head.status, headers: head.headers, body: Bytes::copy_from_slice(body) })
}

/// The hashes of the calls are sealed with the content, so that an altered row can't attach a turn to other
/// calls.
pub(crate) fn pack_turn(calls: &[[u8; 32]], content: &[u8]) -> Option<Vec<u8>> {
    encode(&calls, &[content])
}

pub(crate) fn unpack_turn(packed: &[u8]) -> Option<(Vec<[u8; 32]>, Bytes)> {
    let (calls, content): (_, &[u8]) = postcard::take_from_bytes(packed).ok()?;
    Some((calls, Bytes::copy_from_slice(content)))
}

/// A head, and the contents one after the other.
pub(crate) fn encode(head: &impl Serialize, contents: &[&[u8]]) -> Option<Vec<u8>> {
    let mut packed = postcard::to_stdvec(head).ok()?;
    contents.iter().for_each(|content| packed.extend_from_slice(content));
    Some(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_and_a_cut_one_does_not() {
        let answer = StoredAnswer {
            status: 200,
            headers: vec![("content-type".into(), b"text/event-stream".to_vec()), ("x".into(), vec![0xff])],
            body: Bytes::from_static(b"data: {}\n\n"),
        };
        let packed = pack(answer.clone()).unwrap();
        assert_eq!(unpack(&packed), Some(answer));
        assert_eq!(unpack(&packed[..8]), None);
        assert_eq!(unpack(b""), None);
    }

    #[test]
    fn a_turn_reads_back_and_a_cut_one_does_not() {
        let calls = vec![[1; 32], [255; 32]];
        let packed = pack_turn(&calls, b"thoughts").unwrap();
        assert_eq!(unpack_turn(&packed), Some((calls, Bytes::from_static(b"thoughts"))));
        assert_eq!(unpack_turn(&packed[..60]), None);
        assert_eq!(unpack_turn(b""), None);
    }
}
