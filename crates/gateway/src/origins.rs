//! The origins whose pages may call the gateway from a browser (CORS).

use http::header::{COOKIE, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

pub(crate) const ANY: &str = "*";

/// The origins whose pages may call the gateway; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    is_any: bool,
    listed: Vec<HeaderValue>,
}

impl Origins {
    /// Reads `https://app.example,http://localhost:3000`, or `*`. An origin has no path, and is written as browsers send it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut origins = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                ANY => origins.is_any = true,
                _ => origins.listed.push(origin(word)?),
            }
        }
        Some(origins)
    }

    /// What `Access-Control-Allow-Origin` says to a request, if its page may read the answer.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if !self.is_any && self.listed.is_empty() {
            return None;
        }
        // A cookie is the console's, which other pages have nothing to do with.
        let origin = headers.get(ORIGIN).filter(|_| !headers.contains_key(COOKIE))?;
        if self.is_any {
            Some(HeaderValue::from_static(ANY))
        } else {
            self.listed.contains(origin).then(|| origin.clone())
        }
    }
}

fn origin(word: &str) -> Option<HeaderValue> {
    let (scheme, host) = word.split_once("://")?;
    let is_written_so = !scheme.is_empty() && !word.contains(|letter: char| letter.is_ascii_uppercase());
    let uri: Uri = format!("http://{host}").parse().ok()?;
    let is_host = uri.authority().is_some_and(|authority| authority.as_str() == host && !host.contains('@'));
    (is_written_so && is_host).then(|| HeaderValue::from_str(word).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in ["", " ", "*", "https://app.example, http://localhost:3000", "app://obsidian.md"] {
            assert!(Origins::parse(text).is_some(), "{text}");
        }
        for text in [
            "app.example",
            "https://app.example/",
            "https://App.example",
            "https://",
            "null",
            "://a",
            "https://u@a",
        ] {
            assert_eq!(Origins::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_reads_what_its_origin_may() {
        let check = |setting: &str, sent: &[(http::HeaderName, &'static str)], expected: Option<&str>| {
            let headers: HeaderMap =
                sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let allowed = Origins::parse(setting).unwrap().allowed(&headers);
            assert_eq!(allowed.as_ref().map(|value| value.to_str().unwrap()), expected, "{setting} {sent:?}");
        };
        let app = (ORIGIN, "https://app.example");
        check("", std::slice::from_ref(&app), None);
        check("https://app.example", std::slice::from_ref(&app), Some("https://app.example"));
        check("https://other.example", std::slice::from_ref(&app), None);
        check("*", std::slice::from_ref(&app), Some("*"));
        check("*", &[], None);
        check("*", &[app, (COOKIE, "session=1")], None);
    }
}
