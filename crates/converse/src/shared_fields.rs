//! The fields of Bedrock's Converse API, and those that its models take in addition.

use conversation::claude_fields::{METADATA, TOOL};
use conversation::shared_fields::FieldRule::{Object, Plain, Reference};
use conversation::shared_fields::{Fields, Text as Words};

pub(crate) static REQUEST: Fields = Fields(&[
    ("additionalModelRequestFields", Object(Words::Plain, &MODEL_FIELDS)),
    ("additionalModelResponseFieldPaths", Plain),
    ("guardrailConfig", Reference),
    ("inferenceConfig", Plain),
    // The nested request of `CountTokens`.
    ("input", Object(Words::Reference, &Fields(&[("converse", Object(Words::Plain, &REQUEST))]))),
    (
        "messages",
        Object(Words::Plain, &Fields(&[("content", Object(Words::Plain, &CONTENT)), ("role", Plain)])),
    ),
    ("outputConfig", Plain),
    ("performanceConfig", Plain),
    // Variables of a stored prompt.
    ("promptVariables", Reference),
    ("requestMetadata", Plain),
    ("serviceTier", Plain),
    ("system", Object(Words::Plain, &CONTENT)),
    (
        "toolConfig",
        Object(
            Words::Plain,
            &Fields(&[
                ("toolChoice", Plain),
                (
                    "tools",
                    Object(
                        Words::Plain,
                        &Fields(&[("cachePoint", Plain), ("systemTool", Plain), ("toolSpec", Plain)]),
                    ),
                ),
            ]),
        ),
    ),
]);

static CONTENT: Fields = Fields(&[
    ("audio", Object(Words::Plain, &MEDIA)),
    ("cachePoint", Plain),
    ("citationsContent", Plain),
    ("document", Object(Words::Plain, &MEDIA)),
    (
        "guardContent",
        Object(Words::Plain, &Fields(&[("image", Object(Words::Plain, &MEDIA)), ("text", Plain)])),
    ),
    ("image", Object(Words::Plain, &MEDIA)),
    ("json", Plain),
    ("reasoningContent", Object(Words::Plain, &REASONING)),
    ("searchResult", Plain),
    ("text", Plain),
    (
        "toolResult",
        Object(
            Words::Plain,
            &Fields(&[
                ("content", Object(Words::Plain, &CONTENT)),
                ("status", Plain),
                ("toolUseId", Plain),
                ("type", Plain),
            ]),
        ),
    ),
    ("toolUse", Plain),
    ("video", Object(Words::Plain, &MEDIA)),
]);

static REASONING: Fields = Fields(&[
    ("reasoningText", Object(Words::Plain, &Fields(&[("signature", Plain), ("text", Plain)]))),
    ("redactedContent", Plain),
]);

static MEDIA: Fields = Fields(&[
    ("citations", Plain),
    ("context", Plain),
    ("format", Plain),
    ("name", Plain),
    (
        "source",
        Object(
            Words::Reference,
            &Fields(&[
                ("bytes", Plain),
                ("content", Object(Words::Plain, &CONTENT)),
                // A location in the account's own S3 buckets, or in a bucket that it was given access to.
                ("s3Location", Reference),
                ("text", Plain),
            ]),
        ),
    ),
]);

/// The fields of `additionalModelRequestFields` on Bedrock, for Claude and other models.
static MODEL_FIELDS: Fields = Fields(&[
    ("anthropic_beta", Plain),
    ("cache_control", Plain),
    ("context_management", Plain),
    ("inferenceConfig", Plain),
    ("max_tokens", Plain),
    ("metadata", Object(Words::Plain, &METADATA)),
    ("output_config", Plain),
    ("output_format", Plain),
    ("reasoningConfig", Plain),
    ("reasoning_config", Plain),
    ("reasoning_effort", Plain),
    ("response_format", Plain),
    ("seed", Plain),
    ("speed", Plain),
    ("stop", Plain),
    ("stop_sequences", Plain),
    ("temperature", Plain),
    ("thinking", Plain),
    ("tool_choice", Plain),
    ("tools", Object(Words::Plain, &TOOL)),
    ("topK", Plain),
    ("top_k", Plain),
    ("top_p", Plain),
]);
