//! Strategies: by which measure a route orders the seats that it allows. A strategy never allows more than its route does.

/// How a route orders what may serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// The broker's own order: as the route lists them, else the oldest first; accounts by their weights.
    #[default]
    None,
    /// Seats with a commitment or reserved units before others.
    CommittedFirst,
    /// By what this request would cost there.
    Cheapest,
    /// By the median time to the first byte that was measured there; to the end for an answer that isn't streamed.
    Fastest,
    /// The less busy of two that are drawn.
    Balanced,
    /// The workspace's own nodes, then its own credentials, then managed accounts.
    LocalFirst,
    /// Own credentials alone, whatever fails.
    ByokStrict,
}

impl Strategy {
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::CommittedFirst,
        Self::Cheapest,
        Self::Fastest,
        Self::Balanced,
        Self::LocalFirst,
        Self::ByokStrict,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::CommittedFirst => "committed_first",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Balanced => "balanced",
            Self::LocalFirst => "local_first",
            Self::ByokStrict => "byok_strict",
        }
    }

    /// The strategy of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == name)
    }

    /// Whether it compares seats of different profiles, where the route lists several and lets a request leave own credentials.
    #[must_use]
    pub const fn compares_profiles(self) -> bool {
        matches!(self, Self::Cheapest | Self::Fastest)
    }
}
