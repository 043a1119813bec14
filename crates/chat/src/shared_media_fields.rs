//! The fields of requests without a conversation: embeddings, images, speech, transcription, reranking.

use conversation::openai_fields::VOICE;
use conversation::shared_fields::FieldRule::{Object, Plain, Text};
use conversation::shared_fields::{FieldRule, Fields, Text as Words};

use crate::shared_fields::PART;

pub(crate) static EMBED: Fields = Fields(&[
    ("dimensions", Plain),
    ("encoding_format", Plain),
    ("input", Object(Words::Plain, &PART)),
    ("input_type", Plain),
    ("metadata", Plain),
    ("model", Plain),
    ("output_dimension", Plain),
    ("output_dtype", Plain),
    ("service_tier", Plain),
    ("truncate", Plain),
    ("user", Plain),
]);

pub(crate) static MODERATE: Fields =
    Fields(&[("input", Object(Words::Plain, &PART)), ("model", Plain), ("user", Plain)]);

pub(crate) static COMPLETE: Fields = Fields(&[
    ("best_of", Plain),
    ("echo", Plain),
    ("frequency_penalty", Plain),
    ("ignore_eos", Plain),
    ("logit_bias", Plain),
    ("logprobs", Plain),
    ("max_tokens", Plain),
    ("min_p", Plain),
    ("model", Plain),
    ("n", Plain),
    ("presence_penalty", Plain),
    ("prompt", Plain),
    ("prompt_cache_isolation_key", Plain),
    ("prompt_cache_key", Plain),
    ("repetition_penalty", Plain),
    ("response_format", Plain),
    ("seed", Plain),
    ("service_tier", Plain),
    ("stop", Plain),
    ("stream", Plain),
    ("stream_options", Plain),
    ("suffix", Plain),
    ("temperature", Plain),
    ("top_k", Plain),
    ("top_p", Plain),
    ("user", Plain),
]);

pub(crate) static PICTURES: Fields = Fields(&[
    ("aspect_ratio", Plain),
    ("background", Plain),
    ("complexity", Plain),
    ("disable_safety_checker", Plain),
    ("frame_count", Plain),
    ("frame_duration_ms", Plain),
    ("guidance_scale", Plain),
    ("height", Plain),
    ("image", PICTURE),
    ("image_size", Plain),
    ("image_url", PICTURE),
    ("images", PICTURE),
    ("input_fidelity", Plain),
    ("mask", PICTURE),
    ("model", Plain),
    ("moderation", Plain),
    ("n", Plain),
    ("negative_prompt", Plain),
    ("output_compression", Plain),
    ("output_format", Plain),
    ("partial_images", Plain),
    ("prompt", Plain),
    ("quality", Plain),
    ("reference_images", PICTURE),
    ("resolution", Plain),
    ("response_format", Plain),
    ("safety_identifier", Plain),
    ("seed", Plain),
    ("size", Plain),
    ("steps", Plain),
    ("stream", Plain),
    ("style", Plain),
    ("user", Plain),
    ("width", Plain),
]);

const PICTURE: FieldRule = Object(
    Words::Bytes,
    &Fields(&[
        ("file_id", Text(Words::File)),
        ("image_url", Text(Words::Address)),
        ("type", Plain),
        ("url", Text(Words::Address)),
    ]),
);

pub(crate) static SPEECH: Fields = Fields(&[
    ("input", Plain),
    ("instructions", Plain),
    ("language", Plain),
    ("model", Plain),
    ("response_format", Plain),
    ("sample_rate", Plain),
    ("speed", Plain),
    ("stream", Plain),
    ("stream_format", Plain),
    ("voice", VOICE),
]);

pub(crate) static RERANK: Fields = Fields(&[
    ("documents", Plain),
    ("max_chunks_per_doc", Plain),
    ("max_tokens_per_doc", Plain),
    ("model", Plain),
    ("priority", Plain),
    ("query", Plain),
    ("rank_fields", Plain),
    ("return_documents", Plain),
    ("top_n", Plain),
    ("user", Plain),
]);
