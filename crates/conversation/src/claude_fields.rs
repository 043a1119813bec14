//! Fields of requests that the Messages API and Claude on Bedrock have: tools and metadata.

use crate::shared_fields::FieldRule::Plain;
use crate::shared_fields::Fields;

/// The client's own id for its user, which the provider does not store.
pub static METADATA: Fields = Fields(&[("user_id", Plain)]);

/// The fields of Claude's own tools.
pub static TOOL: Fields = Fields(&[
    ("allowed_callers", Plain),
    ("allowed_domains", Plain),
    ("blocked_domains", Plain),
    ("cache_control", Plain),
    ("citations", Plain),
    ("configs", Plain),
    ("default_config", Plain),
    ("defer_loading", Plain),
    ("description", Plain),
    ("display_height_px", Plain),
    ("display_number", Plain),
    ("display_width_px", Plain),
    ("eager_input_streaming", Plain),
    ("enable_zoom", Plain),
    ("input_examples", Plain),
    ("input_schema", Plain),
    ("max_characters", Plain),
    ("max_content_tokens", Plain),
    ("max_uses", Plain),
    ("mcp_server_name", Plain),
    ("model", Plain),
    ("name", Plain),
    ("strict", Plain),
    ("type", Plain),
    ("use_cache", Plain),
    ("user_location", Plain),
]);
