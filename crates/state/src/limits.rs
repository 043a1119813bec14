//! Bounds of what agents keep through `/v2`.

use std::time::Duration;

pub(crate) const ARTIFACT_BYTES_MAX: usize = 8 * 1024 * 1024;
pub(crate) const EVENT_CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// Events of one append.
pub(crate) const APPENDED_EVENTS_MAX: usize = 100;
pub(crate) const BUNDLE_ITEMS_MAX: usize = 1_000;
pub(crate) const SESSION_BUNDLES_MAX: usize = 16;
pub(crate) const METADATA_FIELDS_MAX: usize = 16;
pub(crate) const METADATA_KEY_CHARS_MAX: usize = 64;
pub(crate) const METADATA_VALUE_CHARS_MAX: usize = 512;
pub(crate) const MEDIA_TYPE_BYTES_MAX: usize = 128;
pub(crate) const ROLE_CHARS_MAX: usize = 64;
pub(crate) const END_USER_CHARS_MAX: usize = 256;
/// The longest time that a session may be kept unused.
pub(crate) const SESSION_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Events that a snapshot lists.
pub(crate) const SNAPSHOT_EVENTS_MAX: u32 = 10_000;
/// How long artifacts of each kind of retention are kept.
pub(crate) const EPHEMERAL_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const STANDARD_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Headers that one tool or MCP server is sent of what is sealed, and the longest of them.
pub(crate) const SECRET_HEADERS_MAX: usize = 16;
pub(crate) const TOOL_SECRET_BYTES_MAX: usize = 8 * 1024;
pub(crate) const TOOL_DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
pub(crate) const TOOL_SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// A namespace, a name in it, and the name of a secret.
pub(crate) const APP_NAME_PART_BYTES_MAX: usize = 64;
/// What an app requires before it may run, and the text before a secret in its header.
pub(crate) const APP_REQUIREMENTS_MAX: usize = 16;
pub(crate) const SECRET_PREFIX_BYTES_MAX: usize = 64;
/// Hosts that a secret may be sent to.
pub(crate) const SECRET_HOSTS_MAX: usize = 16;
/// The name of an MCP server, which the names of its tools begin with.
pub(crate) const SERVER_NAME_BYTES_MAX: usize = 32;
/// Names of tools that an MCP server's settings have.
pub(crate) const NAMED_TOOLS_MAX: usize = 256;
/// A parameter that an authorization server has a browser bring back.
pub(crate) const OAUTH_ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Versions of a flow that are listed.
pub(crate) const FLOW_VERSIONS_LISTED_MAX: u32 = 200;
/// How often an event is stored again that another came before.
pub(crate) const FLOW_EVENT_TRIES_MAX: u32 = 5;
/// How long an answer waits for a change of a run, and how often it looks.
pub(crate) const FLOW_STREAM_TIME_MAX: Duration = Duration::from_secs(10);
pub(crate) const FLOW_STREAM_PAUSE: Duration = Duration::from_millis(100);
/// Branches of one name whose ids a refusal lists.
pub(crate) const BRANCHES_NAMED_MAX: usize = 3;
