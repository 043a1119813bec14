//! The vendor of a Vertex AI model, derived from its name.

use domain::{Grammar, Operation};

/// The name prefixes of image models; the older one is last.
const IMAGEN: [&str; 2] = ["imagen-", "imagegeneration@"];

/// The name prefix of video models; those of `VEO_OF_ONE` have a fixed resolution and no parameter for it.
const VEO: &str = "veo-";
const VEO_OF_ONE: &str = "veo-2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Google,
    /// Google's image models, which have a request format of their own.
    Imagen,
    /// Google's video models, likewise.
    Veo,
    Anthropic,
    /// Open models and partners' models behind one endpoint, each with its publisher in the name.
    Others,
}

/// The vendor of a model, and the model's name in that vendor's paths. The given name may be a resource path,
/// or have the publisher in front.
pub(super) fn maker(model: &str) -> (Vendor, &str) {
    let named = model.strip_prefix("publishers/").and_then(|rest| rest.split_once("/models/"));
    match named.or_else(|| model.split_once('/')) {
        Some(("google", name)) => (of_google(name), name),
        Some(("anthropic", name)) => (Vendor::Anthropic, name),
        Some(_) => (Vendor::Others, model),
        None if model.starts_with("claude-") => (Vendor::Anthropic, model),
        None => (of_google(model), model),
    }
}

fn of_google(name: &str) -> Vendor {
    match name {
        _ if IMAGEN.iter().any(|start| name.starts_with(start)) => Vendor::Imagen,
        _ if name.starts_with(VEO) => Vendor::Veo,
        _ => Vendor::Google,
    }
}

/// Whether a video model has a parameter for the resolution.
pub(super) fn has_resolution(name: &str) -> bool {
    !name.starts_with(VEO_OF_ONE)
}

impl Vendor {
    pub(super) fn grammars(self, operation: Operation) -> &'static [Grammar] {
        match (operation, self) {
            (Operation::Chat | Operation::Run | Operation::Verify | Operation::Count, Self::Google) => {
                &[Grammar::Gemini]
            }
            (Operation::Chat | Operation::Run | Operation::Verify | Operation::Count, Self::Anthropic) => {
                &[Grammar::Anthropic]
            }
            (Operation::Chat | Operation::Run | Operation::Verify, Self::Others) => &[Grammar::Chat],
            _ => &[],
        }
    }

    pub(super) fn has_own_format(self, operation: Operation) -> bool {
        matches!(
            (operation, self),
            (Operation::Embed, Self::Google)
                | (Operation::Images, Self::Imagen)
                | (Operation::Video, Self::Veo)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_maker() {
        for (model, expected) in [
            ("gemini-2.5-pro", (Vendor::Google, "gemini-2.5-pro")),
            ("google/gemini-2.5-pro", (Vendor::Google, "gemini-2.5-pro")),
            ("publishers/google/models/gemini-2.5-pro", (Vendor::Google, "gemini-2.5-pro")),
            ("imagen-4.0-generate-001", (Vendor::Imagen, "imagen-4.0-generate-001")),
            ("google/imagen-4.0-fast-generate-001", (Vendor::Imagen, "imagen-4.0-fast-generate-001")),
            ("publishers/google/models/imagegeneration@006", (Vendor::Imagen, "imagegeneration@006")),
            ("google/veo-3.0-generate-001", (Vendor::Veo, "veo-3.0-generate-001")),
            ("veo-2.0-generate-001", (Vendor::Veo, "veo-2.0-generate-001")),
            ("me/imagen-4", (Vendor::Others, "me/imagen-4")),
            ("claude-opus-4-5@20251101", (Vendor::Anthropic, "claude-opus-4-5@20251101")),
            ("anthropic/claude-opus-5", (Vendor::Anthropic, "claude-opus-5")),
            ("openai/gpt-oss-120b-maas", (Vendor::Others, "openai/gpt-oss-120b-maas")),
            ("xai/grok-4.3", (Vendor::Others, "xai/grok-4.3")),
        ] {
            assert_eq!(maker(model), expected, "{model}");
        }
    }
}
