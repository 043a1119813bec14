//! The form of a kept answer before it is sealed: its head, and then its body as it was sent.

use bytes::Bytes;
use domain::ports::KeptAnswer;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
}

/// `None` where it can't be written, which no answer of ours is.
pub(crate) fn pack(answer: KeptAnswer) -> Option<Vec<u8>> {
    let head = Head { status: answer.status, headers: answer.headers };
    let mut packed = postcard::to_stdvec(&head).ok()?;
    packed.extend_from_slice(&answer.body);
    Some(packed)
}

pub(crate) fn unpack(packed: &[u8]) -> Option<KeptAnswer> {
    let (head, body): (Head, _) = postcard::take_from_bytes(packed).ok()?;
    Some(KeptAnswer { status: head.status, headers: head.headers, body: Bytes::copy_from_slice(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_and_a_cut_one_does_not() {
        let answer = KeptAnswer {
            status: 200,
            headers: vec![("content-type".into(), b"text/event-stream".to_vec()), ("x".into(), vec![0xff])],
            body: Bytes::from_static(b"data: {}\n\n"),
        };
        let packed = pack(answer.clone()).unwrap();
        assert_eq!(unpack(&packed), Some(answer));
        assert_eq!(unpack(&packed[..8]), None);
        assert_eq!(unpack(b""), None);
    }
}
