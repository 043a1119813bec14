//! Email by SMTP: plain text to one recipient, handed to the operator's mail server.

mod limits;
mod server;

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::Secret;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

pub use server::{Encryption, Server};

use crate::limits::{MAIL_TIME_MAX, REPLY_CHARS_MAX};

/// What mail is sent with.
#[derive(Debug, Clone)]
pub struct MailSettings {
    pub server: Server,
    pub sender: Sender,
    /// Without one, nobody signs in.
    pub username: Option<String>,
    pub password: Password,
    /// Trusted beside the web's root certificates.
    pub extra_roots_pem: Option<Vec<u8>>,
}

/// Whose name mail is sent in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

#[derive(Debug, Clone)]
pub enum Password {
    Missing,
    Given(Arc<Secret>),
    /// Read for each email, so that it can be changed without a restart.
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Email {
    /// The same for each attempt, so that the recipient's program recognises a repetition.
    pub id: String,
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Why an email was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailError {
    /// The server's last answer.
    pub status: Option<u16>,
    /// Without what the operator alone may know of the server.
    pub message: String,
    /// What the server or the connection said, for the operator.
    pub reply: String,
}

impl Sender {
    /// An address, also with a name before it: `Tidegate <alerts@acme.example>`.
    pub fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MailError {
    /// Of an email that the server has not seen.
    pub fn unsent(message: &str) -> Self {
        Self { status: None, message: message.to_owned(), reply: message.to_owned() }
    }

    fn of(error: &lettre::transport::smtp::Error) -> Self {
        let status = error.status().map(u16::from);
        let message = match status {
            Some(530..=539) => "the mail server refuses the gateway's sign-in".to_owned(),
            Some(status) => format!("the mail server answered {status}"),
            None if error.is_tls() => "the TLS handshake with the mail server failed".to_owned(),
            None => "the mail server could not be reached".to_owned(),
        };
        Self { status, message, reply: reply_of(error) }
    }
}

/// The error and what caused it, on one line.
fn reply_of(error: &lettre::transport::smtp::Error) -> String {
    let mut reply = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors quote their cause.
        if !reply.contains(&text) {
            reply = format!("{reply}: {text}");
        }
        cause = error.source();
    }
    reply.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REPLY_CHARS_MAX).collect()
}

impl MailSettings {
    /// Hands an email to the server.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn send(&self, email: Email) -> Result<(), MailError> {
        let message = self.message(email)?;
        let transport = self.transport().await?;
        match tokio::time::timeout(MAIL_TIME_MAX, transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(server = %self.server, %error, "an email was not accepted");
                Err(MailError::of(&error))
            }
            Err(error) => {
                tracing::warn!(server = %self.server, %error, "an email was not accepted");
                Err(MailError::unsent(&format!("no answer within {} seconds", MAIL_TIME_MAX.as_secs())))
            }
        }
    }

    fn message(&self, email: Email) -> Result<Message, MailError> {
        let Email { id, to, subject, text } = email;
        let to = to.parse().map_err(|_| MailError::unsent("the address can't be written to"))?;
        // A line break in a name that somebody chose would begin another header.
        let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let by_itself = HeaderName::new_from_ascii_str("Auto-Submitted");
        let body = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(text);
        Message::builder()
            .from(self.sender.0.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(format!("<{id}@{}>", self.sender.0.email.domain())))
            .raw_header(HeaderValue::new(by_itself, "auto-generated".to_owned()))
            .singlepart(body)
            .map_err(|_| MailError::unsent("the email could not be composed"))
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
        let Server { host, port, encryption } = &self.server;
        let unusable = || MailError::unsent("the certificates for the mail server can't be read");
        let tls = match encryption {
            Encryption::Nothing => Tls::None,
            Encryption::FromTheStart => Tls::Wrapper(self.trusted(host).ok_or_else(unusable)?),
            Encryption::StartTls => Tls::Required(self.trusted(host).ok_or_else(unusable)?),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(*port)
            .tls(tls)
            // All of it has one bound.
            .timeout(None);
        let Some(username) = &self.username else { return Ok(builder.build()) };
        let password = self.password.read().await?;
        Ok(builder.credentials(Credentials::new(username.clone(), password)).build())
    }

    fn trusted(&self, host: &str) -> Option<TlsParameters> {
        let mut builder =
            TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
        if let Some(pem) = &self.extra_roots_pem {
            builder = builder.add_root_certificate(Certificate::from_pem(pem).ok()?);
        }
        builder.build_rustls().ok()
    }
}

impl Password {
    async fn read(&self) -> Result<String, MailError> {
        let unreadable = || MailError::unsent("the mail server's password can't be read");
        match self {
            Self::Missing => Ok(String::new()),
            Self::Given(secret) => secret.expose_text().map(str::to_owned).ok_or_else(unreadable),
            Self::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                read.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).map_err(|_| unreadable())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MailSettings {
        MailSettings {
            server: Server::read("smtp://127.0.0.1").unwrap(),
            sender: Sender::read("Tidegate <alerts@acme.example>").unwrap(),
            username: None,
            password: Password::Missing,
            extra_roots_pem: None,
        }
    }

    fn written(to: &str, subject: &str, text: &str) -> Result<String, MailError> {
        let [to, subject, text] = [to, subject, text].map(str::to_owned);
        let message = settings().message(Email { id: "evt_1".to_owned(), to, subject, text })?;
        Ok(String::from_utf8(message.formatted()).unwrap())
    }

    #[test]
    fn an_email_says_who_sent_it_and_that_nobody_wrote_it() {
        let email = written("ann@acme.example", "Spend is above $20", "It is $21.50.").unwrap();
        for line in [
            "From: Tidegate <alerts@acme.example>\r\n",
            "To: ann@acme.example\r\n",
            "Subject: Spend is above $20\r\n",
            "Message-ID: <evt_1@acme.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "\r\n\r\nIt is $21.50.",
        ] {
            assert!(email.contains(line), "{line} in {email}");
        }
    }

    #[test]
    fn what_people_chose_makes_no_headers() {
        let email = written("ann@acme.example", "a\r\nBcc: eve@evil.example\r\n\r\nhi", ".\r\n.").unwrap();
        let head = email.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("\nBcc:"), "{email}");
        for address in
            ["ann@acme.example\r\nBcc: eve@evil.example", "ann@acme.example, eve@evil.example", "ann", ""]
        {
            assert!(written(address, "s", "t").is_err(), "{address}");
        }
    }

    #[test]
    fn a_sender_is_an_address() {
        assert!(Sender::read("alerts@acme.example").is_some());
        for wrong in
            ["", "Tidegate", "Tidegate <alerts>", "a@b.example, c@d.example", "a@b.example\nBcc: c@d.example"]
        {
            assert!(Sender::read(wrong).is_none(), "{wrong}");
        }
    }
}
