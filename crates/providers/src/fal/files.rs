//! Result files: at fal's own media hosts, which require no key.

use http::Uri;
use serde::Deserialize;

use crate::FollowUp;

/// A domain all of whose hosts serve apps' result files.
const HOST: &str = "fal.media";

/// A file in an answer.
#[derive(Deserialize)]
pub(super) struct File {
    url: String,
}

/// The step that fetches a file, unsigned.
pub(super) fn fetch(base_url: &str, file: &File) -> Result<FollowUp, &'static str> {
    if is_file_url(base_url, &file.url) {
        Ok(FollowUp::Fetch { url: file.url.clone() })
    } else {
        Err("its file is at an address that doesn't belong to the provider")
    }
}

/// Whether a file's URL is allowed: at a host of fal's, or below the apps' base URL.
fn is_file_url(base_url: &str, url: &str) -> bool {
    let base = base_url.trim_end_matches('/');
    let below = url.strip_prefix(base).filter(|rest| rest.starts_with('/'));
    if below.is_some_and(|rest| !rest.contains(['\\', '@', '#', ' '])) {
        return true;
    }
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let is_plain = uri.scheme_str() == Some("https") && uri.port().is_none();
    let host = uri.authority().map_or("", http::uri::Authority::as_str);
    is_plain && (host == HOST || host.strip_suffix(HOST).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_at_its_own_hosts_or_nowhere() {
        let is_own = |url: &str| is_file_url("https://fal.run", url);
        for right in [
            "https://fal.media/files/a.mp4",
            "https://v3b.fal.media/files/b/a.mp4",
            "https://fal.run/files/a",
        ] {
            assert!(is_own(right), "{right}");
        }
        for wrong in [
            "http://v3.fal.media/a.mp4",
            "https://v3.fal.media:8443/a.mp4",
            "https://evilfal.media/a.mp4",
            "https://fal.media.evil.example/a.mp4",
            "https://fal.media@evil.example/a.mp4",
            "https://evil.example/fal.media",
            "https://fal.run.evil.example/a",
            "https://fal.run/@evil.example",
            "https://169.254.169.254/latest",
            "data:video/mp4;base64,AAAA",
            "/files/a.mp4",
            "",
        ] {
            assert!(!is_own(wrong), "{wrong}");
        }
    }
}
