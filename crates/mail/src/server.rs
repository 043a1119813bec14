//! The address of a mail server.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

const PORT_OF_TLS: u16 = 465;
const PORT_OF_STARTTLS: u16 = 587;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// `smtps://`: TLS before the first word.
    FromTheStart,
    /// `smtp://`: STARTTLS, without which nothing is sent.
    StartTls,
    /// `smtp://` to an address of this machine.
    Nothing,
}

impl Server {
    /// `smtps://HOST`, `smtp://HOST`, each also with a port; `None` for what is neither.
    pub fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|host| is_plain && !host.is_empty())?;
        // Not a domain to `url`, which knows nothing of these schemes.
        let address = match url.host()? {
            Host::Domain(name) => name.parse::<IpAddr>().ok(),
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        };
        let (encryption, port) = match url.scheme() {
            "smtps" => (Encryption::FromTheStart, PORT_OF_TLS),
            "smtp" if address.is_some_and(|address| address.is_loopback()) => {
                (Encryption::Nothing, PORT_OF_STARTTLS)
            }
            "smtp" => (Encryption::StartTls, PORT_OF_STARTTLS),
            _ => return None,
        };
        let host = address.map_or_else(|| host.to_owned(), |address| address.to_string());
        Some(Self { host, port: url.port().unwrap_or(port), encryption })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_encrypted_unless_it_is_on_this_machine() {
        for (text, host, port, encryption) in [
            ("smtps://mail.example", "mail.example", 465, Encryption::FromTheStart),
            ("smtps://mail.example:2465", "mail.example", 2465, Encryption::FromTheStart),
            ("smtp://mail.example", "mail.example", 587, Encryption::StartTls),
            ("smtp://10.0.0.1:25", "10.0.0.1", 25, Encryption::StartTls),
            ("smtp://127.0.0.1:25", "127.0.0.1", 25, Encryption::Nothing),
            ("smtp://[::1]:25", "::1", 25, Encryption::Nothing),
        ] {
            let read = Server { host: host.to_owned(), port, encryption };
            assert_eq!(Server::read(text), Some(read), "{text}");
        }
        for wrong in [
            "",
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtps://ann:pw@mail.example",
            "smtp://a/b",
        ] {
            assert_eq!(Server::read(wrong), None, "{wrong}");
        }
    }
}
