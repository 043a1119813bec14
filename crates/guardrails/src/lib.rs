//! The content checks of policies: detectors of secrets and personal data over the text of requests and answers,
//! also where a stream cuts it into pieces; and edits of a request's parameters. Pure.

mod body;
mod checks;
mod detect;
mod identity;
mod limits;
mod needs;
mod parameters;
mod secrets;
mod stream;

pub use body::{Masked, check_body, escaped, is_clear};
pub use checks::{Checks, Found, Tally, check_detector};
pub use parameters::{ParameterChange, ParameterPlace, Parameters, RefusedValue, Written, fit_parameters};
pub use stream::{Guarded, Restored, TextGuard};
