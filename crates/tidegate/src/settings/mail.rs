//! The mail server.

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
        let password = match (self.given_secret("mail.password"), self.path("mail.password_file")) {
            (Some(password), _) => Password::Given(password),
            (None, Some(file)) => Password::File(file),
            (None, None) => Password::Missing,
        };
        let username = self.given("mail.username").map(str::to_owned);
        Ok(Some(MailSettings { server, sender, username, password, extra_roots_pem: None }))
    }
}
