//! How long a provider retains what it is sent, and what a project keeps of its requests here.

use crate::ids::TraceId;

/// What is kept here of a project's requests. The order is from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TraceMode {
    /// Ids, counts, times and money.
    #[default]
    Metadata,
    /// Beside these the shape of a request: each text in its place as its length and a keyed hash.
    Tokenized,
    /// Beside the metadata the request and its answer, sealed.
    FullFidelity,
}

impl TraceMode {
    pub const ALL: [Self; 3] = [Self::Metadata, Self::Tokenized, Self::FullFidelity];
    pub const WORDS: [&str; 3] = ["metadata", "tokenized", "encrypted_full_fidelity"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Tokenized => "tokenized",
            Self::FullFidelity => "encrypted_full_fidelity",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }
}

/// What a project keeps of its requests, of how many, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRetention {
    pub mode: TraceMode,
    pub days: u32,
    /// Of a hundred requests.
    pub sample_percent: u32,
}

impl ContentRetention {
    /// Unless a project's profile says otherwise.
    pub const NOTHING: Self = Self { mode: TraceMode::Metadata, days: 30, sample_percent: 100 };

    /// What is kept of one request. A client that wishes for it is not left to the draw, and gets no more than its project
    /// keeps.
    #[must_use]
    pub fn of_request(self, request: TraceId, wish: Option<TraceMode>) -> TraceMode {
        if let Some(wish) = wish {
            return self.mode.min(wish);
        }
        // The end of an id is random.
        let drawn = request.as_bytes().last_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)) % 100;
        if drawn < self.sample_percent { self.mode } else { TraceMode::Metadata }
    }
}

/// How long the provider retains what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Zero retention, by agreement with the provider.
    Zero,
    Days(u32),
}

/// Who says how long something is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetentionBasis {
    /// The agreement that the owner of a credential or account declares.
    Agreed,
    /// The provider, where the capability manifest read it.
    Published,
    /// A setting of this installation.
    Ours,
    Unknown,
}

impl RetentionBasis {
    pub const WORDS: [&str; 4] = ["agreed", "published", "ours", "unknown"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Published => "published",
            Self::Ours => "ours",
            Self::Unknown => "unknown",
        }
    }
}

impl Retention {
    /// Whether a provider with the agreed retention meets this bound. An unknown retention does not.
    #[must_use]
    pub fn is_kept_by(self, agreed: Option<Self>) -> bool {
        match (self, agreed) {
            (_, Some(Self::Zero)) => true,
            (Self::Days(most), Some(Self::Days(days))) => days <= most,
            (Self::Zero, Some(Self::Days(_))) | (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_no_more_than_its_project() {
        let (metadata, tokenized, full) =
            (TraceMode::Metadata, TraceMode::Tokenized, TraceMode::FullFidelity);
        let request = TraceId::new(1, [0; 10]);
        for (mode, wish, expected) in [
            (full, None, full),
            (full, Some(tokenized), tokenized),
            (full, Some(metadata), metadata),
            (tokenized, Some(full), tokenized),
            (metadata, Some(full), metadata),
        ] {
            let profile = ContentRetention { mode, ..ContentRetention::NOTHING };
            assert_eq!(profile.of_request(request, wish), expected, "{mode:?} {wish:?}");
        }
        for mode in TraceMode::ALL {
            assert_eq!(TraceMode::from_name(mode.as_str()), Some(mode));
        }
    }

    #[test]
    fn about_as_many_are_kept_as_are_drawn() {
        let profile = ContentRetention { mode: TraceMode::FullFidelity, days: 1, sample_percent: 25 };
        let request = |number: u32| {
            let mut random = [0; 10];
            random[6..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
            TraceId::new(1, random)
        };
        let kept =
            (0..10_000).filter(|one| profile.of_request(request(*one), None) == TraceMode::FullFidelity);
        let kept = kept.count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        let never = ContentRetention { sample_percent: 0, ..profile };
        assert_eq!(never.of_request(request(1), None), TraceMode::Metadata);
        assert_eq!(never.of_request(request(1), Some(TraceMode::FullFidelity)), TraceMode::FullFidelity);
    }

    #[test]
    fn who_agreed_to_less_keeps_it() {
        for (most, agreed, is_kept) in [
            (Retention::Zero, Some(Retention::Zero), true),
            (Retention::Zero, Some(Retention::Days(1)), false),
            (Retention::Zero, None, false),
            (Retention::Days(7), Some(Retention::Zero), true),
            (Retention::Days(7), Some(Retention::Days(7)), true),
            (Retention::Days(7), Some(Retention::Days(8)), false),
            (Retention::Days(7), None, false),
        ] {
            assert_eq!(most.is_kept_by(agreed), is_kept, "{most:?} {agreed:?}");
        }
    }
}
