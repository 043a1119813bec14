//! What a person may do in a workspace.

use std::fmt;
use std::str::FromStr;

/// A member's role. Billing and developer stand beside each other: neither may do what only the other may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Members with every right, and the workspace itself.
    Owner,
    /// Everything of the workspace but its owners.
    Admin,
    /// Keys that call models.
    Developer,
    /// Money: budgets, invoices, credits.
    Billing,
    /// Looks, and changes nothing.
    Viewer,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Developer, Self::Billing, Self::Viewer];

    /// Whether this role may do whatever `least` may.
    #[must_use]
    pub const fn covers(self, least: Self) -> bool {
        match least {
            Self::Owner => matches!(self, Self::Owner),
            Self::Admin => matches!(self, Self::Owner | Self::Admin),
            Self::Developer => matches!(self, Self::Owner | Self::Admin | Self::Developer),
            Self::Billing => matches!(self, Self::Owner | Self::Admin | Self::Billing),
            Self::Viewer => true,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Billing => "billing",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        for role in Role::ALL {
            assert!(Role::Owner.covers(role) && role.covers(role) && role.covers(Role::Viewer));
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!(!Role::Developer.covers(Role::Billing) && !Role::Billing.covers(Role::Developer));
        assert!(!Role::Admin.covers(Role::Owner) && !Role::Viewer.covers(Role::Billing));
        assert!("root".parse::<Role>().is_err());
    }
}
