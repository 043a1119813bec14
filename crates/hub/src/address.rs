//! A hub's base URL, and the access token, which is sent to that hub alone.

use std::fmt;

use http::HeaderValue;
use url::Url;

use crate::error::{HubError, HubErrorKind};

const USUAL: &str = "https://huggingface.co";

/// A model hub (Hugging Face), or a mirror of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// A person's access token. Never displayed.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Endpoint {
    /// The default hub.
    ///
    /// # Errors
    /// Never: a test parses it.
    pub fn usual() -> Result<Self, HubError> {
        Self::read(USUAL)
    }

    /// # Errors
    /// It is not an HTTP or HTTPS URL.
    pub fn read(text: &str) -> Result<Self, HubError> {
        let wrong = || {
            HubError::new(
                HubErrorKind::Usage,
                format!(
                    "{text} isn't an address of a hub. Write it as https://host, with nothing after the path."
                ),
            )
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !matches!(url.scheme(), "http" | "https")
            || !is_plain
            || url.password().is_some()
            || !url.has_host()
        {
            return Err(wrong());
        }
        Ok(Self(url))
    }

    /// A URL below the base, each segment escaped.
    pub(crate) fn below<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        // Only URLs that cannot be a base fail, and `read` accepts none of these.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Whether a URL has the hub's own origin: the same scheme, host and port.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// Whether two endpoints have the same origin.
    pub fn is_same_hub(&self, other: &Self) -> bool {
        self.is_own(&other.0)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl Token {
    /// # Errors
    /// It contains characters that a header must not contain.
    pub fn read(text: &str) -> Result<Self, HubError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim())).map_err(|_| {
            HubError::new(HubErrorKind::Usage, "HF_TOKEN holds characters that no token has. Set it again.")
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_known_by_scheme_host_and_port() {
        let hub = Endpoint::usual().unwrap();
        let own = |text: &str| hub.is_own(&Url::parse(text).unwrap());
        assert!(own("https://huggingface.co/a/b") && own("https://huggingface.co:443/"));
        for other in [
            "http://huggingface.co/",
            "https://huggingface.co:8443/",
            "https://cdn.huggingface.co/",
            "https://huggingface.co.example/",
        ] {
            assert!(!own(other), "{other}");
        }
    }

    #[test]
    fn parts_are_escaped_below_a_hub() {
        let mirror = Endpoint::read("https://mirror.example/hf/").unwrap();
        let url = mirror.below(["a", "b", "resolve", "refs/pr/1", "c d"]);
        assert_eq!(url.as_str(), "https://mirror.example/hf/a/b/resolve/refs%2Fpr%2F1/c%20d");
        for wrong in ["mirror.example", "ftp://a", "https://u:p@a", "https://a?b", "https://a#b", ""] {
            assert!(Endpoint::read(wrong).is_err(), "{wrong}");
        }
        assert!(Token::read("hf_\n").is_ok() && Token::read("a\nb").is_err());
        assert!(!format!("{:?}", Token::read("hf_secret").unwrap()).contains("secret"));
    }
}
