//! The roles of people in a workspace.

use std::fmt;
use std::str::FromStr;

crate::words! {
    /// A member's role. Neither billing nor developer includes the other.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Role {
        /// Manages members of every role, and the workspace itself.
        Owner = "owner",
        /// Everything in the workspace except its owners.
        Admin = "admin",
        /// Manages keys and calls models.
        Developer = "developer",
        /// Budgets, invoices and credit.
        Billing = "billing",
        /// Read-only.
        Viewer = "viewer",
    }
}

impl Role {
    /// Whether this role includes all rights of `least`.
    pub const fn covers(self, least: Self) -> bool {
        match least {
            Self::Owner => matches!(self, Self::Owner),
            Self::Admin => matches!(self, Self::Owner | Self::Admin),
            Self::Developer => matches!(self, Self::Owner | Self::Admin | Self::Developer),
            Self::Billing => matches!(self, Self::Owner | Self::Admin | Self::Billing),
            Self::Viewer => true,
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
