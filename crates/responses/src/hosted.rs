//! Recognises hosted tools, which the provider runs, by their `type`.

use domain::HostedTool;

/// The billed hosted tool of this type; `None` for tools that the client runs, and for those that cost only
/// tokens.
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
