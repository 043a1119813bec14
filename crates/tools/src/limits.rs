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
/// How long an authorization server may take for each answer, and how long one may be.
pub(crate) const AUTHORIZATION_TIME_MAX: Duration = Duration::from_secs(10);
pub(crate) const AUTHORIZATION_BYTES_MAX: usize = 256 * 1024;
/// Redirects of the documents of an authorization server; what is sent to it is never redirected.
pub(crate) const AUTHORIZATION_REDIRECTS_MAX: u32 = 3;
/// A field of such an answer.
pub(crate) const AUTHORIZATION_FIELD_BYTES_MAX: usize = 8 * 1024;
/// The longest token that is kept.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How long a person may take to sign in at an authorization server.
pub const SIGN_IN_TIME_MAX: Duration = Duration::from_secs(600);
/// How long before its end a token is renewed.
pub(crate) const RENEWAL_MARGIN: Duration = Duration::from_secs(60);
/// For how long one process alone renews a grant.
pub(crate) const RENEWAL_CLAIM: Duration = Duration::from_secs(30);
/// How often, and how many times, others look whether it was renewed.
pub(crate) const RENEWAL_POLL: Duration = Duration::from_millis(200);
pub(crate) const RENEWAL_WAITS_MAX: u32 = 75;
/// How long the end of a session may take: nobody waits for it.
pub(crate) const SESSION_CLOSING_TIME_MAX: Duration = Duration::from_secs(2);
/// What is kept of a program's standard error.
pub(crate) const LAST_WORDS_BYTES_MAX: usize = 2 * 1024;
/// How often a stream of a server that breaks off is resumed.
pub(crate) const RESUMPTIONS_MAX: u32 = 2;
/// How many requests of a server are answered while it makes one result.
pub(crate) const SERVER_REQUESTS_MAX: u32 = 64;
/// How long a server may put off that a stream is resumed.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(10);
/// Operations of one imported document.
pub const IMPORTED_MAX: usize = 256;
/// Places of an input or output that are told where it does not fit its schema.
pub(crate) const SCHEMA_ERRORS_MAX: usize = 16;
/// How deep references in an imported document are followed.
pub(crate) const REFERENCES_DEPTH_MAX: u32 = 16;
/// The longest schema of an imported operation.
pub(crate) const IMPORTED_SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// The largest size of a document after its references are resolved.
pub(crate) const UNFOLDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The size of a value without its text.
pub(crate) const UNFOLDED_NODE_BYTES: usize = 64;
/// Tools, and servers, of one project.
pub const TOOLS_OF_PROJECT_MAX: u64 = 500;
/// Versions of one app that are kept; the oldest go first.
pub(crate) const APP_VERSIONS_MAX: u64 = 200;
/// For how long calls are told of.
pub(crate) const CALLS_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// How long a request waits for what a project declares.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// The part of a server's error that is passed on.
pub(crate) const ERROR_CHARS_MAX: usize = 300;
