//! The fields of Anthropic's Messages API.

use conversation::claude_fields::{METADATA, TOOL};
use conversation::shared_fields::FieldRule::{Object, Plain, Reference, Text};
use conversation::shared_fields::{Fields, Text as Words};

pub(crate) static REQUEST: Fields = Fields(&[
    ("billing_policy", Reference),
    ("cache_control", Plain),
    ("compaction", Plain),
    // A container's id, or stored skills to load into one.
    ("container", Reference),
    ("context_management", Plain),
    // Contains the id of an earlier message.
    ("diagnostics", Reference),
    ("fallback_credit_token", Reference),
    ("fallbacks", Reference),
    ("inference_geo", Plain),
    ("max_tokens", Plain),
    ("mcp_servers", Object(Words::Reference, &SERVER)),
    (
        "messages",
        Object(Words::Plain, &Fields(&[("content", Object(Words::Plain, &BLOCK)), ("role", Plain)])),
    ),
    ("metadata", Object(Words::Plain, &METADATA)),
    ("model", Plain),
    ("output_config", Plain),
    ("output_format", Plain),
    ("service_tier", Plain),
    ("speed", Plain),
    ("stop_sequences", Plain),
    ("stream", Plain),
    ("system", Object(Words::Plain, &BLOCK)),
    ("temperature", Plain),
    ("thinking", Plain),
    // A request continues only what its project received.
    ("thread", Object(Words::Reference, &THREAD)),
    ("tool_choice", Plain),
    ("tools", Object(Words::Plain, &TOOL)),
    ("top_k", Plain),
    ("top_p", Plain),
    ("user_profile_id", Reference),
]);

static THREAD: Fields = Fields(&[("previous_message_id", Plain), ("type", Plain)]);

static SERVER: Fields = Fields(&[
    ("authorization_token", Plain),
    ("name", Plain),
    ("tool_configuration", Plain),
    ("type", Plain),
    ("url", Text(Words::Address)),
]);

/// The fields of every kind of block.
static BLOCK: Fields = Fields(&[
    ("cache_control", Plain),
    ("caller", Plain),
    ("citations", Plain),
    ("content", Object(Words::Plain, &BLOCK)),
    ("context", Plain),
    ("data", Plain),
    ("encrypted_content", Plain),
    ("encrypted_stdout", Plain),
    ("error_code", Plain),
    ("error_message", Plain),
    ("file_id", Text(Words::File)),
    ("file_type", Plain),
    ("id", Plain),
    ("input", Plain),
    ("is_error", Plain),
    ("is_file_update", Plain),
    ("lines", Plain),
    ("name", Plain),
    ("page_age", Plain),
    ("retrieved_at", Plain),
    ("return_code", Plain),
    ("server_name", Plain),
    ("signature", Plain),
    ("source", Object(Words::Plain, &SOURCE)),
    ("stderr", Plain),
    ("stdout", Plain),
    ("text", Plain),
    ("thinking", Plain),
    ("title", Plain),
    ("tool_name", Plain),
    ("tool_references", Plain),
    ("tool_use_id", Plain),
    ("type", Plain),
    // The URL of an earlier search result. URLs to fetch are in a `source`.
    ("url", Plain),
]);

static SOURCE: Fields = Fields(&[
    ("content", Object(Words::Plain, &BLOCK)),
    ("data", Plain),
    ("file_id", Text(Words::File)),
    ("media_type", Plain),
    ("type", Plain),
    ("url", Text(Words::Address)),
]);
