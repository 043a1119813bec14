//! The mail server.

use std::sync::Arc;

use domain::Secret;
use mail::{MailSettings, Password, Sender, Server};

use super::{Layers, SettingsError};

const SERVERS: &str = "smtps://HOST or smtp://HOST, also with a port";
const SENDERS: &str = "an address such as Tidegate <alerts@acme.example>";

impl Layers {
    /// `None` where no server is set.
    pub(super) fn mail(&self) -> Result<Option<MailSettings>, SettingsError> {
        let server = self.parsed("mail.server", SERVERS, |text| match text {
            "" => Some(None),
            text => Server::read(text).map(Some),
        })?;
        let Some(server) = server else { return Ok(None) };
        let sender = self.parsed("mail.from", SENDERS, Sender::read)?;
        let given = Some(self.text("mail.password")).filter(|password| !password.is_empty());
        let password = match (given, self.path("mail.password_file")) {
            (Some(password), _) => Password::Given(Arc::new(Secret::from_text(password.to_owned()))),
            (None, Some(file)) => Password::File(file),
            (None, None) => Password::Missing,
        };
        let username = Some(self.text("mail.username").to_owned()).filter(|name| !name.is_empty());
        Ok(Some(MailSettings { server, sender, username, password, extra_roots_pem: None }))
    }
}
