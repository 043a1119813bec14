//! Which of a request's tools its provider runs, by the words of their types.

use domain::HostedTool;

/// The tool of the provider's own that a word names; `None` of what the client runs, and of what costs its tokens alone.
pub(super) fn hosted_tool(word: &str) -> Option<HostedTool> {
    match word {
        "function" | "custom" | "namespace" | "mcp" | "tool_search" | "local_shell" | "apply_patch" => None,
        "programmatic_tool_calling" => None,
        _ if word.starts_with("computer") => None,
        _ if word.starts_with("web_search_preview") => Some(HostedTool::WebSearchPreview),
        _ if word.starts_with("web_search") => Some(HostedTool::WebSearch),
        "file_search" => Some(HostedTool::FileSearch),
        "code_interpreter" | "code_execution" | "shell" => Some(HostedTool::CodeExecution),
        "image_generation" => Some(HostedTool::ImageGeneration),
        _ => Some(HostedTool::Other),
    }
}
