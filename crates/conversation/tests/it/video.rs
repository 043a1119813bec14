//! Video objects, as they are read for state and length.

use conversation::video::{VideoState, millis, read_video};

#[test]
fn how_far_a_film_is_and_how_long() {
    for (body, state, video_ms) in [
        (r#"{"id":"v","status":"queued","seconds":"8","error":null}"#, VideoState::InProgress, Some(8_000)),
        (r#"{"id":"v","status":"in_progress","seconds":"8"}"#, VideoState::InProgress, Some(8_000)),
        (r#"{"id":"v","status":"a new word","seconds":"8"}"#, VideoState::InProgress, Some(8_000)),
        (r#"{"id":"v","status":"completed","seconds":"8"}"#, VideoState::Completed, Some(8_000)),
        (r#"{"id":"v","status":"completed","seconds":5.0626}"#, VideoState::Completed, Some(5_063)),
        (r#"{"id":"v","status":"completed","seconds":12}"#, VideoState::Completed, Some(12_000)),
        (r#"{"id":"v","status":"completed"}"#, VideoState::Completed, None),
        (r#"{"id":"v","status":"completed","seconds":"long"}"#, VideoState::Completed, None),
        (r#"{"status":"failed","seconds":"8","error":{"code":"x"}}"#, VideoState::Failed, Some(8_000)),
    ] {
        let video = read_video(body.as_bytes()).unwrap();
        assert_eq!((video.state, video.video_ms), (state, video_ms), "{body}");
    }
    let times = read_video(br#"{"created_at":17,"completed_at":19}"#).unwrap();
    assert_eq!((times.created_unix_s, times.completed_unix_s), (17, Some(19)));
    assert_eq!(read_video(br#"{"created_at":17,"completed_at":null}"#).unwrap().completed_unix_s, None);
    assert_eq!(read_video(br#"{"billed_micro_units":2500000}"#).unwrap().billed, Some(2_500_000));
    for wrong in ["", "[1]", "<html>", r#"{"status":"#] {
        assert_eq!(read_video(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn seconds_are_read_to_the_millisecond() {
    for (text, ms) in [("4", Some(4_000)), (" 8.0 ", Some(8_000)), ("0.0004", None), ("0", None)] {
        assert_eq!(millis(text), ms, "{text}");
    }
    for wrong in ["", "-4", "inf", "NaN", "1e9", "four"] {
        assert_eq!(millis(wrong), None, "{wrong}");
    }
}
