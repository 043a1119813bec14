//! The directory of models on this machine, and what the commands about it share.

use std::path::PathBuf;

use cli::output::{self, Failure};
use hub::{Entry, HubError, HubErrorKind, Memory, ModelStore};
use serde_json::{Value, json};

/// Where models are kept.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModelsDir {
    /// The directory of models; by default `tidegate/models` in XDG_DATA_HOME or ~/.local/share.
    #[arg(long, env = "TIDEGATE_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl ModelsDir {
    /// # Errors
    /// No directory is given, and there is no home.
    pub fn shelf(&self) -> Result<ModelStore, Failure> {
        let given = self.models_dir.clone().filter(|path| !path.as_os_str().is_empty());
        let shelf = given.map(ModelStore::at).or_else(|| ModelStore::usual(&|name| std::env::var_os(name)));
        shelf.ok_or_else(|| {
            Failure::new(
                output::USAGE,
                "There is no home to keep models in: give --models-dir or TIDEGATE_MODELS_DIR.",
            )
        })
    }
}

/// A failure of the hub or the model directory, with its exit code.
pub fn failure(error: &HubError) -> Failure {
    let code = match error.kind {
        HubErrorKind::Usage => output::USAGE,
        HubErrorKind::NotFound => output::NOT_FOUND,
        HubErrorKind::Authentication => output::AUTHENTICATION,
        HubErrorKind::Forbidden => output::FORBIDDEN,
        HubErrorKind::Busy => output::CONFLICT,
        HubErrorKind::RateLimited => output::RATE_LIMITED,
        HubErrorKind::Unavailable => output::UNAVAILABLE,
        HubErrorKind::Refused => output::UPSTREAM,
        HubErrorKind::Disk => output::FAILED,
    };
    Failure::new(code, error.message.clone())
}

/// A local model as JSON, for programs.
pub fn document(entry: &Entry, memory: &Memory) -> Value {
    let manifest = &entry.manifest;
    json!({
        "name": manifest.name,
        "repository": manifest.repository,
        "revision": manifest.revision,
        "source": manifest.source,
        "pulled_at": manifest.pulled_at,
        "directory": entry.directory.display().to_string(),
        "bytes": manifest.bytes,
        "weights_bytes": memory.weights_bytes,
        "thousand_tokens_bytes": memory.thousand_tokens_bytes,
        "context_tokens": memory.context_tokens,
        "files": manifest.files,
    })
}

/// The memory that a model needs, as a phrase.
pub fn need(memory: &Memory) -> String {
    let weights = output::bytes(memory.weights_bytes);
    match memory.thousand_tokens_bytes {
        Some(tokens) => {
            format!("{weights} for the weights, {} more for each 1,000 tokens at hand", output::bytes(tokens))
        }
        None => format!("{weights} for the weights; what tokens take it does not say"),
    }
}
