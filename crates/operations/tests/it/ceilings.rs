//! The most that each operation can use, and what is estimated of it.

use conversation::batch::BatchModels;
use conversation::request::{CacheLife, NamedFile, Request, RequestPart, Stored, StoredAct};
use domain::{Operation, StoredObjectKind, Units, Usage};
use operations::{CallSize, ModelLimits};

const MODEL: ModelLimits =
    ModelLimits { is_known: true, context_tokens: Some(1_000), output_tokens_max: Some(100) };

fn size(request: &Request) -> CallSize<'_> {
    let (body_bytes, form_bytes_max, received_unix_ms) = (500, 1_000, 1_000);
    CallSize { request, body_bytes, is_arriving: false, form_bytes_max, received_unix_ms }
}

fn ceiling(operation: Operation, request: &Request, model: ModelLimits) -> Usage {
    operations::of(operation).ceiling(&size(request), model)
}

#[test]
fn texts_are_bounded_by_their_bytes_and_by_the_model() {
    let request = Request { max_output_tokens: Some(7), choices: 2, prompt_bytes: 20, ..Request::default() };
    for operation in [Operation::Chat, Operation::Run, Operation::Embed, Operation::Complete] {
        let usage = ceiling(operation, &request, MODEL);
        assert_eq!((usage.input, usage.output), (500, 14), "{operation:?}");
    }
    let spoken = Request { speaks: true, ..request };
    let usage = ceiling(Operation::Chat, &spoken, MODEL);
    assert_eq!((usage.input, usage.output, usage.units.audio_out), (500, 0, 14), "all of it may be sound");
    let unbounded = Request { choices: 1, prompt_bytes: 5_000, ..Request::default() };
    let usage = ceiling(Operation::Chat, &unbounded, MODEL);
    assert_eq!((usage.input, usage.output), (1_000, 100));
    let requested = Request { max_output_tokens: Some(9_000), ..unbounded };
    assert_eq!(ceiling(Operation::Chat, &requested, MODEL).output, 100);
    assert_eq!(ceiling(Operation::Chat, &requested, ModelLimits::default()).output, 9_000);
}

#[test]
fn what_is_not_booked_with_its_request_reserves_nothing() {
    let request = Request { prompt_bytes: 20, ..Request::default() };
    use Operation::{Batch, Count, File, Stored, Video};
    for operation in [Count, Stored, File, Batch, Video] {
        assert_eq!(ceiling(operation, &request, MODEL), Usage::default(), "{operation:?}");
    }
}

#[test]
fn a_batch_is_bounded_by_what_its_requests_ask_for() {
    let mut bundle = BatchModels::default();
    [Some(7), None, Some(30)].into_iter().for_each(|most| bundle.bound(most, 2));
    let request = Request { part: RequestPart::Batch(Box::new(bundle)), ..Request::default() };
    let usage = ceiling(Operation::Batch, &request, MODEL);
    assert_eq!((usage.input, usage.output), (500, 2 * 7 + 2 * 100 + 2 * 30));
}

/// The body has 500 bytes, and no token is shorter than a byte.
#[test]
fn a_cached_prompt_is_bounded_by_its_bytes_and_its_time() {
    let with = |life| Request { part: RequestPart::CacheLife(life), ..Request::default() };
    let used = |request: &Request| {
        let usage = ceiling(Operation::CachedContent, request, MODEL);
        (usage.input, usage.units.cache_token_hours, usage.output)
    };
    assert_eq!(used(&with(CacheLife::For(7_200_000))), (500, 1_000, 0));
    assert_eq!(used(&with(CacheLife::Until(1_801_000))), (500, 250, 0), "it arrived at 1 000");
    let stored = Stored::new("c".to_owned(), StoredAct::Extend, String::new());
    let extended = Request { stored: Some(Box::new(stored)), ..with(CacheLife::For(3_600_000)) };
    assert_eq!(used(&extended), (0, 1_000, 0), "at most the model's context is stored");
    assert_eq!(used(&Request::default()), (0, 0, 0));
    let id = format!("{}1", StoredObjectKind::CACHED_CONTENT.prefix());
    let file = NamedFile { id, path: String::new(), is_exchanged: true, span: json::Span::new(0, 0) };
    let asked = Request { files: vec![file], max_output_tokens: Some(7), choices: 1, ..Request::default() };
    assert_eq!(ceiling(Operation::Chat, &asked, MODEL).input, 1_000, "what is cached is not in the request");
}

#[test]
fn media_are_bounded_by_what_was_requested() {
    let units = Units { images: 2, ..Units::default() };
    let request = Request { units, prompt_bytes: 20, ..Request::default() };
    let made = ceiling(Operation::Images, &request, MODEL);
    assert_eq!((made.input, made.units.images, made.units.image_out > 0), (500, 2, true));
    // A form's bytes are mostly its file's.
    assert_eq!(ceiling(Operation::ImageEdits, &request, MODEL).input, 20);
    let arriving = CallSize { is_arriving: true, ..size(&request) };
    let edited = operations::of(Operation::ImageEdits).ceiling(&arriving, MODEL);
    assert!(edited.input > 20 && edited.units.image_in > 0);
    let units = Units { characters: 10, ..Units::default() };
    let read_aloud = ceiling(Operation::Speech, &Request { units, ..request }, MODEL).units;
    assert!(read_aloud.audio_out >= 10 && read_aloud.billed > 0);
}

#[test]
fn recordings_are_bounded_by_their_bytes() {
    let request = Request { choices: 1, ..Request::default() };
    let usage = ceiling(Operation::Transcribe, &request, MODEL);
    assert_eq!((usage.input, usage.output, usage.units.audio_ms), (0, 100, 2_000));
    assert_eq!(usage, ceiling(Operation::Translate, &request, MODEL));
    let size = CallSize { body_bytes: 0, form_bytes_max: 16_000, ..size(&request) };
    assert_eq!(operations::of(Operation::Transcribe).estimated_units(&size).audio_ms, 1_000);
}

#[test]
fn a_session_is_bounded_by_what_it_said_so_far() {
    let request = Request { prompt_bytes: 5_000, ..Request::default() };
    let usage = ceiling(Operation::Realtime, &request, MODEL);
    assert_eq!((usage.input, usage.units.audio_in, usage.units.audio_out), (0, 1_000, 100));
    // A token for each four bytes may be sound.
    let usage = ceiling(Operation::Realtime, &Request { prompt_bytes: 400, ..request }, MODEL);
    assert_eq!((usage.input, usage.units.audio_in), (300, 100));
}

#[test]
fn what_is_sold_by_units_is_not_estimated_in_tokens() {
    let units = Units { characters: 10, ..Units::default() };
    let request = Request { units, ..Request::default() };
    for (operation, sells_tokens, characters) in [
        (Operation::Speech, None, Some(10)),
        (Operation::Speech, Some(false), Some(10)),
        (Operation::Speech, Some(true), None),
        (Operation::Images, None, None),
        (Operation::Images, Some(false), Some(0)),
        (Operation::ImageEdits, Some(false), Some(0)),
        (Operation::ImageVariations, Some(true), None),
        (Operation::Rerank, Some(false), Some(0)),
        (Operation::Chat, Some(false), None),
    ] {
        let counted = operations::of(operation).counted_in_units(&request, sells_tokens);
        assert_eq!(counted.map(|usage| usage.units.characters), characters, "{operation:?} {sells_tokens:?}");
    }
}
