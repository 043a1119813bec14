//! The fields of a realtime client's events, of every type.

use conversation::openai_fields::{TOOL, VOICE};
use conversation::shared_fields::FieldRule::{Object, Plain, Reference};
use conversation::shared_fields::{Fields, Text as Words};
use responses::ITEM;

pub(super) static EVENT: Fields = Fields(&[
    ("audio", Plain),
    ("audio_end_ms", Plain),
    ("content_index", Plain),
    ("event_id", Plain),
    ("item", Object(Words::Plain, &ITEM)),
    ("item_id", Plain),
    ("previous_item_id", Plain),
    ("response", Object(Words::Plain, &SESSION)),
    ("response_id", Plain),
    ("session", Object(Words::Plain, &SESSION)),
    ("type", Plain),
]);

/// The fields of a session, and of a response within it.
static SESSION: Fields = Fields(&[
    ("audio", Object(Words::Plain, &Fields(&[("input", Plain), ("output", Object(Words::Plain, &OUTPUT))]))),
    // The conversation within the session that a response belongs to.
    ("conversation", Plain),
    ("include", Plain),
    // Items are referenced by their ids within the session.
    ("input", Object(Words::Plain, &ITEM)),
    ("input_audio_format", Plain),
    ("input_audio_noise_reduction", Plain),
    ("input_audio_transcription", Plain),
    ("instructions", Plain),
    ("max_output_tokens", Plain),
    ("max_response_output_tokens", Plain),
    ("metadata", Plain),
    ("modalities", Plain),
    ("model", Plain),
    ("object", Plain),
    ("output_audio_format", Plain),
    ("output_modalities", Plain),
    ("parallel_tool_calls", Plain),
    ("prompt", Reference),
    ("reasoning", Plain),
    ("speed", Plain),
    ("temperature", Plain),
    ("tool_choice", Plain),
    ("tools", Object(Words::Plain, &TOOL)),
    ("tracing", Plain),
    ("truncation", Plain),
    ("turn_detection", Plain),
    ("type", Plain),
    ("voice", VOICE),
]);

static OUTPUT: Fields = Fields(&[("format", Plain), ("speed", Plain), ("voice", VOICE)]);
