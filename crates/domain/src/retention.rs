//! How long a provider retains what it is sent.

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
