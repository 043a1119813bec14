//! Authorisation of the `/v2` routes: which key scope and which role each route requires.

use admit::Needs;
use domain::{Fault, FaultClass, Role};

/// What a route requires of an API key, and of a signed-in person. `None` rejects callers of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub key: Option<Needs>,
    pub people: Option<People>,
}

/// What a route requires of a person in the workspace they act in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum People {
    /// This role or a higher one.
    Least(Role),
    /// An owner of the operator's workspace, which runs this installation.
    Operator,
}

impl Access {
    /// Read-only.
    pub const LOOK: Self = Self::both(Needs::Read, Role::Viewer);
    /// Reading the state of agents.
    pub const READ_STATE: Self = Self::both(Needs::ReadState, Role::Viewer);
    /// Writing the state of agents.
    pub const WRITE_STATE: Self = Self::both(Needs::WriteState, Role::Developer);
    /// Managing keys that call models.
    pub const DEVELOP: Self = Self::both(Needs::Admin, Role::Developer);
    pub const MANAGE: Self = Self::both(Needs::Admin, Role::Admin);
    /// Anything that shows or changes money.
    pub const BILL: Self = Self::both(Needs::Admin, Role::Billing);
    /// The workspace itself.
    pub const OWN: Self = Self::both(Needs::Admin, Role::Owner);
    /// Settings of the installation.
    pub const OPERATE: Self = Self { key: Some(Needs::Operator), people: Some(People::Operator) };
    /// What concerns only the caller itself.
    pub const ONESELF: Self = Self::both(Needs::Known, Role::Viewer);
    /// Only for a signed-in person, never for a key.
    pub const PERSON: Self = Self { key: None, people: Some(People::Least(Role::Viewer)) };

    const fn both(key: Needs, role: Role) -> Self {
        Self { key: Some(key), people: Some(People::Least(role)) }
    }

    /// Whether a read-only caller is let in.
    pub(crate) const fn lets_lookers_in(self) -> bool {
        matches!(self.key, Some(Needs::Known | Needs::Read | Needs::Inference | Needs::ReadState))
            || matches!(self.people, Some(People::Least(Role::Viewer)))
    }
}

pub fn insufficient_role(needed: &str, has: Role) -> Box<Fault> {
    let message = format!("This needs the role {needed}, and you are {has} in this workspace.");
    let fix = "Ask an owner or admin of the workspace; `GET /v2/members` lists them.";
    Box::new(Fault::new(FaultClass::Forbidden, "insufficient_role", message).fix(fix))
}

pub fn person_needed() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Forbidden, "person_needed", "Only a signed-in person may do this, not a key.")
            .fix("Sign in at the console."),
    )
}
