//! Requests of operations that are not conversations.

use bytes::Bytes;
use conversation::request::{Addressed, Request, Stored, StoredAct};
use domain::{Fault, Grammar, Operation};
use operations::RequestSource;

fn read(operation: Operation, body: &'static str, act: Option<StoredAct>) -> Result<Request, Box<Fault>> {
    let stored = act.map(|act| Stored::new("video_tg_1".to_owned(), act, String::new()));
    let addressed = stored.map(|stored| Addressed { stored: Some(stored), ..Addressed::default() });
    let source =
        RequestSource { grammar: Grammar::Chat, body: &Bytes::from(body), addressed: addressed.as_ref() };
    operations::of(operation).read_request(source)
}

#[test]
fn each_operation_knows_itself() {
    for operation in Operation::ALL {
        assert_eq!(operations::of(*operation).operation(), *operation);
    }
}

#[test]
fn each_reads_its_own_input() {
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"word"}],"stream":true}"#;
    for (operation, body, stream) in [
        (Operation::Chat, chat, true),
        (Operation::Embed, r#"{"model":"m","input":"word","stream":true}"#, false),
        (Operation::Moderate, r#"{"model":"m","input":["wo","rd"],"stream":true}"#, false),
        (Operation::Complete, r#"{"model":"m","prompt":"word","stream":true}"#, true),
        (Operation::Images, r#"{"model":"m","prompt":"word","stream":true}"#, true),
        (Operation::Speech, r#"{"model":"m","input":"word"}"#, true),
        (Operation::Rerank, r#"{"model":"m","query":"wo","documents":["rd"],"stream":true}"#, false),
        (Operation::Video, r#"{"model":"m","prompt":"word","stream":true}"#, false),
    ] {
        let request = read(operation, body, None).unwrap();
        let read_of = (&*request.model, request.prompt_bytes, request.stream);
        assert_eq!(read_of, ("m", 4, stream), "{operation:?}");
        let missing = read(operation, r#"{"model":"m"}"#, None).unwrap_err();
        assert_eq!(missing.code, "missing_required_parameter", "{operation:?}");
    }
}

#[test]
fn units_are_read_with_the_request() {
    let units = |operation, body| read(operation, body, None).unwrap().units;
    assert_eq!(units(Operation::Images, r#"{"model":"m","prompt":"x","n":3}"#).images, 3);
    assert_eq!(units(Operation::Speech, r#"{"model":"m","input":"\u00e4\u00f6"}"#).characters, 2);
    assert_eq!(units(Operation::Rerank, r#"{"model":"m","query":"x","documents":["a","b"]}"#).searches, 1);
    assert_eq!(units(Operation::Video, r#"{"model":"m","prompt":"x","seconds":"8"}"#).video_ms, 8_000);
    let embed = r#"{"model":"m","input":"x","encoding_format":"base64"}"#;
    assert!(read(Operation::Embed, embed, None).unwrap().vectors().as_base64);
}

#[test]
fn an_own_field_may_not_come_twice() {
    let formats = r#"{"model":"m","input":"x","encoding_format":"a","encoding_format":"b"}"#;
    for (operation, body, param) in [
        (Operation::Rerank, r#"{"model":"m","query":"x","documents":["a"],"documents":["b"]}"#, "documents"),
        (Operation::Video, r#"{"model":"m","prompt":"x","seconds":1,"seconds":2}"#, "seconds"),
        (Operation::Embed, formats, "encoding_format"),
    ] {
        let fault = read(operation, body, None).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("duplicate_field", Some(param)));
    }
    // What is one operation's field is another's unknown one.
    let documents = r#"{"model":"m","prompt":"x","documents":1,"documents":2}"#;
    assert!(read(Operation::Video, documents, None).is_ok());
}

#[test]
fn moderation_needs_no_model() {
    assert_eq!(read(Operation::Moderate, r#"{"input":"x"}"#, None).unwrap().model, "omni-moderation-latest");
}

#[test]
fn a_video_is_made_from_a_prompt_or_from_another_video() {
    let remix = read(Operation::Video, r#"{"prompt":"an ebb"}"#, Some(StoredAct::Make)).unwrap();
    assert_eq!((&*remix.model, remix.stored.unwrap().act), ("", StoredAct::Make));
    assert!(read(Operation::Video, "", Some(StoredAct::Content)).unwrap().stream);
    for (body, act, param) in [
        (r#"{"model":"m"}"#, None, "prompt"),
        (r#"{"prompt":"x"}"#, None, "model"),
        (r#"{"model":"m","prompt":"x","seconds":[]}"#, None, "seconds"),
        ("{}", Some(StoredAct::Make), "prompt"),
    ] {
        assert_eq!(read(Operation::Video, body, act).unwrap_err().param.as_deref(), Some(param), "{body}");
    }
}
