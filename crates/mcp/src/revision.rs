//! The revisions of the protocol that are spoken here, and what differs between them.

domain::words! {
    /// A revision.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Revision by read {
        March2025 = "2025-03-26",
        June2025 = "2025-06-18",
        November2025 = "2025-11-25",
    }
}

impl Revision {
    pub(crate) const LATEST: Self = Self::November2025;

    /// The one that a client and this server both speak: the client's own, or else the latest, which the client takes or leaves.
    pub(crate) fn negotiated(wanted: &str) -> Self {
        Self::read(wanted).unwrap_or(Self::LATEST)
    }

    /// Only the first revision has arrays of messages.
    pub(crate) fn has_batches(self) -> bool {
        self == Self::March2025
    }

    /// Results that are structured, links to resources, and titles.
    pub(crate) fn has_structured_results(self) -> bool {
        self >= Self::June2025
    }

    /// Streams begin with an event that has nothing but an id: earlier clients would parse it as a message.
    pub(crate) fn primes_streams(self) -> bool {
        self >= Self::November2025
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_revision_is_taken_or_the_latest_is_offered() {
        for (wanted, negotiated) in [
            ("2025-11-25", Revision::November2025),
            ("2025-06-18", Revision::June2025),
            ("2025-03-26", Revision::March2025),
            ("2024-11-05", Revision::November2025),
            ("2026-07-28", Revision::November2025),
            ("", Revision::November2025),
        ] {
            assert_eq!(Revision::negotiated(wanted), negotiated, "{wanted}");
        }
        assert!(Revision::March2025.has_batches() && !Revision::June2025.has_batches());
        assert!(Revision::June2025.has_structured_results() && !Revision::June2025.primes_streams());
    }
}
