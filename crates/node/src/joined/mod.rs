//! A node that has joined a control plane: it sends heartbeats and the usage records in its journal. It makes
//! the connections itself, and serves the same whether or not the control plane can be reached.

mod dial;
mod membership;
mod pace;

pub use dial::Reporter;
pub use membership::Membership;
