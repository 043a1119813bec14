//! Azure OpenAI: OpenAI's APIs at the customer's own resource, with deployment names for models. The current
//! (`v1`) paths take the deployment as `model`; the older ones have it in the path and need an `api-version`.

pub mod exports;

use bytes::Bytes;
use domain::{Fault, FaultClass, Grammar, Hosting, Operation};
use http::HeaderMap;
use http::header::HeaderName;

use crate::{
    CacheHelp, Classified, GrantStep, Granting, KeyOf, KeyPlace, ModelRequest, Outgoing, Provider, Signer,
    Target, auth, classify, compatible, missing,
};

const NATIVE: &[Grammar] = &[Grammar::Chat, Grammar::Responses];
const KEY: HeaderName = HeaderName::from_static("api-key");
/// The path under the resource where the current paths start.
const CURRENT: &str = "/openai/v1";
/// The older paths that contain the deployment; the others belong to the resource.
const OF_A_DEPLOYMENT: [&str; 8] = [
    "chat/completions",
    "completions",
    "embeddings",
    "images/generations",
    "images/edits",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
];

pub(crate) struct AzureOpenAi;

impl Provider for AzureOpenAi {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Images
            | Operation::ImageEdits
            | Operation::Speech
            | Operation::Transcribe
            | Operation::Translate
            | Operation::Realtime
            | Operation::Video => &[Grammar::Chat],
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        Some(CacheHelp::Key { place: KeyPlace::Member("prompt_cache_key"), of: KeyOf::Head })
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let native = self.grammars(ask.operation, target.upstream_model);
        compatible::generate_at(target, ask, native, |path| {
            address(target.base_url, target.hosting, target.upstream_model, path)
        })
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        if signer.hosting.auth.is_exchanged() {
            auth::bearer::sign(outgoing, signer.secret)
        } else {
            auth::key::sign(outgoing, KEY, signer.secret)
        }
    }

    fn granting(&self) -> Option<&dyn Granting> {
        Some(self)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        classify_at_azure(status, headers, body, provider)
    }

    fn list_models(&self, base_url: &str, hosting: &Hosting) -> Outgoing {
        let mut outgoing = compatible::list_models(base_url);
        outgoing.url = address(base_url, hosting, "", "models");
        outgoing
    }
}

impl Granting for AzureOpenAi {
    fn grant(
        &self,
        _base_url: &str,
        signer: &Signer<'_>,
        answers: &[Bytes],
    ) -> Result<GrantStep, Box<Fault>> {
        auth::entra::grant(signer, scope(signer.hosting), answers)
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        auth::entra::classify(status, headers, body, provider)
    }
}

/// Classifies as for OpenAI, except that Azure answers a principal without a role like one without a key.
fn classify_at_azure(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let mut classified = classify::classify(status, headers, body, provider);
    classified.fix = missing::azure(classified.report.code.as_deref(), &String::from_utf8_lossy(body));
    if classified.report.code.as_deref() == Some("PermissionDenied") {
        classified.class = FaultClass::UpstreamPermission;
    }
    classified
}

/// The scope of the token: the older paths belong to a different service.
const fn scope(hosting: &Hosting) -> &'static str {
    match hosting.api_version {
        Some(_) => "https://cognitiveservices.azure.com",
        None => "https://ai.azure.com",
    }
}

/// The base URL may contain the start of the current paths or not.
fn address(base_url: &str, hosting: &Hosting, deployment: &str, path: &str) -> String {
    let base = base_url.trim_end_matches('/');
    let resource = base.strip_suffix(CURRENT).unwrap_or(base);
    let Some(version) = &hosting.api_version else {
        return format!("{resource}{CURRENT}/{path}");
    };
    // The one path whose query calls the deployment something else.
    let path = &path.replacen("realtime?model=", "realtime?deployment=", 1);
    let and = if path.contains('?') { '&' } else { '?' };
    let below = if OF_A_DEPLOYMENT.contains(&path.as_str()) {
        format!("deployments/{deployment}/{path}")
    } else {
        path.clone()
    };
    format!("{resource}/openai/{below}{and}api-version={version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base_url: &str, version: Option<&str>, path: &str, expected: &str) {
        let hosting = Hosting { api_version: version.map(str::to_owned), ..Hosting::default() };
        assert_eq!(address(base_url, &hosting, "mine", path), expected);
    }

    #[test]
    fn current_paths_name_the_deployment_as_the_model() {
        let chat = "https://r.example/openai/v1/chat/completions";
        check("https://r.example", None, "chat/completions", chat);
        check("https://r.example/openai/v1", None, "chat/completions", chat);
        check("https://r.example/openai/v1/", None, "chat/completions", chat);
        check("https://r.example", None, "models", "https://r.example/openai/v1/models");
    }

    #[test]
    fn older_paths_name_the_deployment_and_a_version() {
        let old = Some("2024-10-21");
        let deployed = "https://r.example/openai/deployments/mine/embeddings?api-version=2024-10-21";
        check("https://r.example", old, "embeddings", deployed);
        check("https://r.example/openai/v1", old, "embeddings", deployed);
        let transcribed =
            "https://r.example/openai/deployments/mine/audio/transcriptions?api-version=2024-10-21";
        check("https://r.example", old, "audio/transcriptions", transcribed);
        let edited = "https://r.example/openai/deployments/mine/images/edits?api-version=2024-10-21";
        check("https://r.example", old, "images/edits", edited);
        check("https://r.example", old, "models", "https://r.example/openai/models?api-version=2024-10-21");
        let session = "https://r.example/openai/realtime?deployment=mine&api-version=2024-10-21";
        check("https://r.example", old, "realtime?model=mine", session);
        let stored = "https://r.example/openai/responses/resp_1?stream=true&api-version=2024-10-21";
        check("https://r.example", old, "responses/resp_1?stream=true", stored);
    }
}
