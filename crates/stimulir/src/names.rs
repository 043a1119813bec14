//! The names of this API: its root, and the headers that its client sends.

/// What every path of this API begins with.
pub const ROOT: &str = "/api/v1/";
/// The header that names the workspace.
pub const WORKSPACE: &str = "x-business-profile-id";
/// The header that names the project.
pub const PROJECT: &str = "x-project-id";
