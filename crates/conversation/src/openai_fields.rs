//! Fields of requests that both of OpenAI's APIs have: tools, containers and voices.

use crate::shared_fields::FieldRule::{Object, Plain, Reference, Text};
use crate::shared_fields::{FieldRule, Fields, Text as Words};

/// A custom voice has an id.
pub const VOICE: FieldRule = Object(Words::Plain, &Fields(&[("id", Reference)]));

pub const LINK: FieldRule =
    Object(Words::Address, &Fields(&[("url", Text(Words::Address)), ("detail", Plain)]));

pub static FUNCTION: Fields =
    Fields(&[("description", Plain), ("name", Plain), ("parameters", Plain), ("strict", Plain)]);

/// The fields of every kind of tool; the provider judges which of them a kind may have.
pub static TOOL: Fields = Fields(&[
    ("action", Plain),
    ("allowed_callers", Plain),
    ("allowed_domains", Plain),
    ("allowed_tools", Plain),
    ("allowed_x_handles", Plain),
    ("authorization", Plain),
    ("background", Plain),
    ("cache_control", Plain),
    ("collection_ids", Reference),
    ("connector_id", Reference),
    ("container", Object(Words::Reference, &CONTAINER)),
    ("custom", Object(Words::Plain, &Fields(&[("description", Plain), ("format", Plain), ("name", Plain)]))),
    ("defer_loading", Plain),
    ("description", Plain),
    ("display_height", Plain),
    ("display_width", Plain),
    ("enable_image_understanding", Plain),
    ("enable_video_understanding", Plain),
    ("environment", Object(Words::Plain, &CONTAINER)),
    ("excluded_domains", Plain),
    ("excluded_x_handles", Plain),
    ("execution", Plain),
    ("external_web_access", Plain),
    ("filters", Plain),
    ("format", Plain),
    ("from_date", Plain),
    ("function", Object(Words::Plain, &FUNCTION)),
    ("headers", Plain),
    ("input_fidelity", Plain),
    (
        "input_image_mask",
        Object(Words::Reference, &Fields(&[("file_id", Text(Words::File)), ("image_url", LINK)])),
    ),
    ("library_ids", Reference),
    ("max_num_results", Plain),
    ("model", Plain),
    ("moderation", Plain),
    ("name", Plain),
    ("output_compression", Plain),
    ("output_format", Plain),
    ("output_schema", Plain),
    ("parameters", Plain),
    ("partial_images", Plain),
    ("quality", Plain),
    ("ranking_options", Plain),
    ("require_approval", Plain),
    ("search_content_types", Plain),
    ("search_context_size", Plain),
    ("server_description", Plain),
    ("server_label", Plain),
    ("server_url", Text(Words::Address)),
    ("size", Plain),
    ("strict", Plain),
    ("to_date", Plain),
    ("tools", Object(Words::Plain, &TOOL)),
    ("type", Plain),
    ("user_location", Plain),
    ("vector_store_ids", Reference),
]);

/// Where code runs: in a container created for the request, or in an existing one.
pub static CONTAINER: Fields = Fields(&[
    ("container_id", Reference),
    ("file_ids", Text(Words::File)),
    ("memory_limit", Plain),
    ("network_policy", Plain),
    ("skills", Reference),
    ("type", Plain),
]);
