//! Bounds of what is read from the servers of tools, and of how long it is waited for.

use std::time::Duration;

/// The longest answer of a server to a call. What a model is given of it is bounded further.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest part of a result that a model is given.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// How long one call may take.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How long reading the tools of a server may take, all pages together.
pub const LIST_TIME_MAX: Duration = Duration::from_secs(20);
/// Pages of one list of tools.
pub(crate) const LIST_PAGES_MAX: u32 = 50;
/// Tools of one server.
pub const SERVER_TOOLS_MAX: usize = 256;
/// The longest name of a tool, in every format.
pub const NAME_BYTES_MAX: usize = 64;
/// A description, and a schema, of a tool that a server lists.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// How often a stream of a server that breaks off is resumed.
pub(crate) const RESUMPTIONS_MAX: u32 = 2;
/// How long a server may put off that a stream is resumed.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(10);
/// Operations of one imported document.
pub const IMPORTED_MAX: usize = 256;
/// How deep references in an imported document are followed.
pub(crate) const REFERENCES_DEPTH_MAX: u32 = 16;
/// The longest schema of an imported operation.
pub(crate) const IMPORTED_SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Tools, and servers, of one project.
pub const TOOLS_OF_PROJECT_MAX: u64 = 500;
/// For how long calls are told of.
pub(crate) const CALLS_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// How long a request waits for what a project declares.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// The part of a server's error that is passed on.
pub(crate) const ERROR_CHARS_MAX: usize = 300;
