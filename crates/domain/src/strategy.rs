//! Strategies: by which measure a route orders the seats that it allows. A strategy never allows more than its route does.

crate::words! {
    /// How a route orders what may serve a request.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub enum Strategy by named {
        /// The broker's own order: as the route lists them, else the oldest first; accounts by their weights.
        #[default]
        None = "none",
        /// Seats with a commitment or reserved units before others.
        CommittedFirst = "committed_first",
        /// By what this request would cost there.
        Cheapest = "cheapest",
        /// By the median time to the first byte that was measured there; to the end for an answer that isn't streamed.
        Fastest = "fastest",
        /// The less busy of two that are drawn.
        Balanced = "balanced",
        /// The workspace's own nodes, then its own credentials, then managed accounts.
        LocalFirst = "local_first",
        /// Own credentials alone, whatever fails.
        ByokStrict = "byok_strict",
    }
}

impl Strategy {
    /// Whether it compares seats of different profiles, where the route lists several and lets a request leave own credentials.
    pub const fn compares_profiles(self) -> bool {
        matches!(self, Self::Cheapest | Self::Fastest)
    }
}
