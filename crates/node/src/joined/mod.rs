//! A node that has joined a control plane: it sends heartbeats and the usage records in its journal. It makes
//! the connections itself, and serves the same whether or not the control plane can be reached.

mod control;
mod dial;
mod gateways;
mod membership;
mod pace;
mod policy;
mod tunnel;

pub use dial::Reporter;
pub use gateways::Gateways;
pub use membership::Membership;
pub use policy::Policy;
pub(crate) use policy::PolicyHealth;
pub use tunnel::{Dialled, TunnelDialer, TunnelSignals};
