//! The origins whose pages may call the gateway from a browser (CORS).

use api::names::is_origin;
use http::HeaderValue;
use snapshot::ANY_ORIGIN;

/// The origins whose pages may call the gateway; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    is_any: bool,
    listed: Vec<HeaderValue>,
}

impl Origins {
    /// Reads `https://app.example,http://localhost:3000`, or `*`. An origin has no path, and is written as browsers send it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut origins = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                ANY_ORIGIN => origins.is_any = true,
                _ if is_origin(word) => origins.listed.push(HeaderValue::from_str(word).ok()?),
                _ => return None,
            }
        }
        Some(origins)
    }

    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        self.is_any || self.listed.contains(origin)
    }

    /// What `Access-Control-Allow-Origin` says to a page that may read the answer.
    pub(crate) fn header_for(&self, origin: HeaderValue) -> HeaderValue {
        if self.is_any { HeaderValue::from_static(ANY_ORIGIN) } else { origin }
    }
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
            "https://app.example:443",
            "http://app.example:80",
        ] {
            assert_eq!(Origins::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_reads_what_its_origin_may() {
        let app = HeaderValue::from_static("https://app.example");
        for (setting, is_allowed) in
            [("", false), ("https://app.example", true), ("https://other.example", false), ("*", true)]
        {
            assert_eq!(Origins::parse(setting).unwrap().allow(&app), is_allowed, "{setting}");
        }
        assert_eq!(Origins::parse("*").unwrap().header_for(app.clone()), "*");
        assert_eq!(Origins::parse("https://app.example").unwrap().header_for(app.clone()), app);
    }
}
