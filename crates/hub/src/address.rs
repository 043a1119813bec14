//! Where a hub answers, and the token that is for it and for no other host.

use std::fmt;

use http::HeaderValue;
use url::Url;

use crate::error::{HubError, HubErrorKind};

const USUAL: &str = "https://huggingface.co";

/// A hub, or a mirror of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// What a hub knows a person by. It is never shown.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Endpoint {
    /// The hub that is meant where nobody names another.
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn usual() -> Result<Self, HubError> {
        Self::read(USUAL)
    }

    /// # Errors
    /// It is no address of a web server.
    pub fn read(text: &str) -> Result<Self, HubError> {
        let wrong = || {
            HubError::new(
                HubErrorKind::Usage,
                format!(
                    "{text} is no address of a hub. Write it as https://host, with nothing after the path."
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

    /// An address below it, each part escaped.
    pub(crate) fn below<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        // Only addresses that can't be a base refuse, and `read` takes none of these.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Whether an address is this hub's own: the same scheme, host and port.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// Whether two addresses are of one hub.
    #[must_use]
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
    /// It holds what no header may hold.
    pub fn read(text: &str) -> Result<Self, HubError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim())).map_err(|_| {
            HubError::new(HubErrorKind::Usage, "HF_TOKEN holds characters that no token has. Set it anew.")
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
