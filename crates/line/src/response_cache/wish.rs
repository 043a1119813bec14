//! What a request's `Cache-Control` asks of the response cache.

use std::time::Duration;

use decode::cache_directives;
use http::HeaderMap;

/// What may be read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Neither read nor kept: `no-store`.
    pub(crate) is_bypass: bool,
    /// The oldest answer that it takes: none with `no-cache`.
    pub(crate) age_ms_max: u64,
}

impl Wish {
    /// Unknown directives are ignored, as the header's own rules want it.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut wish = Self { is_bypass: false, age_ms_max: u64::MAX };
        for (name, value) in cache_directives(headers) {
            match name.to_ascii_lowercase().as_str() {
                "no-store" => wish.is_bypass = true,
                "no-cache" => wish.age_ms_max = 0,
                "max-age" => {
                    // An age that can't be read is none: the answer is made anew.
                    let seconds: u64 = value.trim_matches('"').parse().unwrap_or(0);
                    wish.age_ms_max = wish.age_ms_max.min(seconds.saturating_mul(1_000));
                }
                _ => {}
            }
        }
        wish
    }

    /// The oldest answer that it takes of those that are kept for so long.
    pub(crate) fn age_ms_within(self, lifetime: Duration) -> u64 {
        self.age_ms_max.min(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
    }

    /// It wants a new answer, whatever is kept.
    pub(crate) const fn is_fresh(self) -> bool {
        self.age_ms_max == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CACHE_CONTROL;

    #[test]
    fn directives_bound_what_is_read_and_kept() {
        for (value, is_bypass, age_ms_max) in [
            ("", false, u64::MAX),
            ("no-store", true, u64::MAX),
            ("No-Cache", false, 0),
            ("max-age=60", false, 60_000),
            ("max-age=\"5\", no-transform", false, 5_000),
            ("max-age=x", false, 0),
            ("max-age=60, no-cache, no-store", true, 0),
            ("private", false, u64::MAX),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            assert_eq!(Wish::of(&headers), Wish { is_bypass, age_ms_max }, "{value}");
        }
        assert_eq!(Wish::of(&HeaderMap::new()).age_ms_max, u64::MAX);
    }
}
