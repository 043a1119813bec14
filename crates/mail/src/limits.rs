//! Bounds of sending email.

use std::time::Duration;

/// From the connection to the server's last answer.
pub(crate) const MAIL_TIME_MAX: Duration = Duration::from_secs(15);

/// The most characters of a mail server's reply that are shown.
pub(crate) const REPLY_CHARS_MAX: usize = 500;
