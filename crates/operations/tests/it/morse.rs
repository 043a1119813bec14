//! The example operation goes through the stages like any other.

use bytes::Bytes;
use conversation::answer::StreamFault;
use decode::{Call, Inbound};
use dialects::AnswerPath;
use domain::{Dialect, Fault, Grammar, Modality, Operation, TraceId, UsageSource};
use http::HeaderMap;
use operations::{CallSize, ModelLimits};

fn call(body: &'static str) -> Result<Call, Box<Fault>> {
    let inbound = Inbound {
        trace: TraceId::new(1, [0; 10]),
        dialect: Dialect::Chat,
        operation: Operation::Morse,
        headers: HeaderMap::new(),
        addressed: None,
        body: Bytes::from(body),
        form: None,
        received_us: 0,
        received_unix_ms: 0,
    };
    decode::decode(inbound, 0)
}

#[test]
fn its_request_is_read() {
    let call = call(r#"{"model":"m","text":"sos","stream":true}"#).unwrap();
    let request = call.request();
    assert_eq!((&*request.model, request.stream, request.units.characters), ("m", false, 3));
    let fault = self::call(r#"{"model":"m","messages":[]}"#).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("text"));
}

#[test]
fn its_use_is_bounded_and_booked_by_the_character() {
    let call = call(r#"{"model":"m","text":"sos"}"#).unwrap();
    let size = CallSize {
        request: call.request(),
        body_bytes: 27,
        is_arriving: false,
        form_bytes_max: 0,
        received_unix_ms: 0,
    };
    assert_eq!(call.spec().ceiling(&size, ModelLimits::default()).units.characters, 3);
    let usage = call.spec().counted_in_units(call.request(), Some(false)).unwrap();
    assert_eq!((usage.units.characters, usage.source), (3, UsageSource::Provider));
}

#[test]
fn its_answer_is_read() {
    let path = AnswerPath { operation: Operation::Morse, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
    let read = |body| {
        operations::of(Operation::Morse).buffered_answer(&path, Bytes::from_static(body)).map_err(Box::new)
    };
    assert_eq!(read(br#"{"morse":"... --- ..."}"#).unwrap().body, r#"{"morse":"... --- ..."}"#);
    assert_eq!(*read(br#"{"morse":"sos"}"#).unwrap_err(), StreamFault::Broken("not_morse"));
    assert_eq!(*read(b"{}").unwrap_err(), StreamFault::Broken("not_an_answer"));
}

#[test]
fn records_and_routes_know_it() {
    assert_eq!(Operation::ALL.last(), Some(&Operation::Morse));
    assert_eq!((Operation::Morse.as_str(), Operation::Morse.modality()), ("morse", Modality::Audio));
}
