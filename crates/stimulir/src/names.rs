//! The names of this API: its root, and the headers that its client sends.

use http::HeaderMap;

/// What every path of this API begins with.
pub const ROOT: &str = "/api/v1/";
/// The header that names the workspace.
pub const WORKSPACE: &str = "x-business-profile-id";
/// The header that names the project.
pub const PROJECT: &str = "x-project-id";

/// The first value of a header, as text.
pub(crate) fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
