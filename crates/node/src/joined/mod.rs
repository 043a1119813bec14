//! A node that joined a control plane: it says there that it is well, and tells what it has in its journal. It dials out, and
//! whether anybody hears it changes nothing of what it serves.

mod dial;
mod membership;
mod pace;

pub use dial::Reporter;
pub use membership::Membership;
