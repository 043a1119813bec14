//! How long a provider retains what it is sent, and what a project keeps of its requests here.

use crate::ids::TraceId;

crate::words! {
    /// What is kept here of a project's requests. The order is from the least to the most.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub enum TraceMode by from_name {
        /// Ids, counts, times and money.
        #[default]
        Metadata = "metadata",
        /// Beside these the shape of a request: each text in its place as its length and a keyed hash.
        Tokenized = "tokenized",
        /// Beside the metadata the request and its answer, sealed.
        FullFidelity = "encrypted_full_fidelity",
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

crate::words! {
    /// Who says how long something is retained.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum RetentionBasis {
        /// The agreement that the owner of a credential or account declares.
        Agreed = "agreed",
        /// The provider, where the capability manifest read it.
        Published = "published",
        /// A setting of this installation.
        Ours = "ours",
        Unknown = "unknown",
    }
}

impl Retention {
    /// Whether a provider with the agreed retention meets this bound. An unknown retention does not.
    pub fn is_kept_by(self, agreed: Option<Self>) -> bool {
        match (self, agreed) {
            (_, Some(Self::Zero)) => true,
            (Self::Days(most), Some(Self::Days(days))) => days <= most,
            (Self::Zero, Some(Self::Days(_))) | (_, None) => false,
        }
    }
}
