//! Tokens and codes: minting them for their holders, and the keyed hashes that are stored of them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::limits::{JOIN_TOKEN_TIME, JOIN_TOKEN_TIME_MAX};
use domain::ports::KeyHash;
use domain::{Fault, Secret};
use store::TokenDigest;
use world::Random;

use crate::failure::invalid;

domain::words! {
    /// What a token is for. A token of one kind is never valid as another.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind {
        Session = "session/1:",
        Csrf = "csrf/1:",
        Link = "link/1:",
        Device = "device/1:",
        UserCode = "user-code/1:",
        Password = "password/1:",
        /// Lets a node join.
        Join = "join/1:",
        /// Authenticates a joined node's reports.
        Node = "node/1:",
        /// Lets a data plane join.
        DataPlaneToken = "data-plane-token/1:",
        /// Authenticates a data plane's calls.
        DataPlane = "data-plane/1:",
        /// A registered OAuth client: its id is what it registered, under this hash.
        Client = "client/1:",
        /// What a person's browser brings back to such a client.
        Code = "code/1:",
        /// Renews a client's key.
        Refresh = "refresh/1:",
        /// What a browser brings back from the authorization server of an MCP server.
        SignInState = "sign-in-state/1:",
        /// The subject of a sign-in rate limit: not a token, but hashed the same way.
        Trier = "trier/1:",
    }
}

/// How long a token that lets somebody join is valid, from `expires_in_minutes`.
///
/// # Errors
/// It is zero, or longer than such a token may be valid.
pub fn join_time(minutes: Option<u64>) -> Result<Duration, Box<Fault>> {
    let Some(minutes) = minutes else { return Ok(JOIN_TOKEN_TIME) };
    let time = Duration::from_secs(minutes.saturating_mul(60));
    if time.is_zero() || time > JOIN_TOKEN_TIME_MAX {
        let fix = format!("Give a number from 1 to {}.", JOIN_TOKEN_TIME_MAX.as_secs() / 60);
        return Err(invalid("expires_in_minutes", format!("expires_in_minutes is {minutes}."), fix));
    }
    Ok(time)
}

/// 256 random bits, safe for cookies and URLs.
pub fn mint(random: &dyn Random) -> Secret {
    let mut bytes = [0_u8; 32];
    random.fill(&mut bytes);
    Secret::from_text(URL_SAFE_NO_PAD.encode(bytes))
}

/// Hashed with the installation's pepper, so that tokens can't be recovered from a copy of the database.
pub fn digest(hasher: &dyn KeyHash, kind: Kind, text: &str) -> TokenDigest {
    let labelled = Secret::from_text(format!("{}{text}", kind.as_str()));
    hasher.digest(labelled.expose_text().unwrap_or_default())
}

/// The CSRF token: proves that a request comes from the console's own page, not from another page that uses
/// its visitor's cookie. Derived from the session token, so one session's CSRF token is worthless in another.
pub fn csrf(hasher: &dyn KeyHash, session: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(hasher, Kind::Csrf, session))
}

/// No vowels, so that codes form no words, and no letters that look like digits or like one another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// A code that a person types from one screen into another, such as `BCDF-GHJK`.
pub fn mint_user_code(random: &dyn Random) -> String {
    let letter = || {
        let at = usize::try_from(random.below(LETTERS.len() as u64)).unwrap_or(0);
        char::from(LETTERS.get(at).copied().unwrap_or(b'B'))
    };
    let half = || [(); 4].map(|()| letter()).iter().collect::<String>();
    format!("{}-{}", half(), half())
}

/// Normalises a user code as typed.
pub fn read_user_code(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_uppercase())
        .take(16)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    impl KeyHash for Plain {
        fn digest(&self, presented: &str) -> [u8; 32] {
            let mut digest = [0_u8; 32];
            for (at, byte) in presented.bytes().enumerate() {
                digest[at % 32] = digest[at % 32].rotate_left(1) ^ byte;
            }
            digest
        }
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_another() {
        let token = mint(&world::SystemRandom);
        let text = token.expose_text().unwrap();
        assert_eq!(text.len(), 43);
        assert_ne!(digest(&Plain, Kind::Session, text), digest(&Plain, Kind::Link, text));
        assert_ne!(csrf(&Plain, text), csrf(&Plain, "another"));
    }

    #[test]
    fn a_user_code_reads_back_however_it_is_typed() {
        let code = mint_user_code(&world::SystemRandom);
        assert_eq!(code.len(), 9);
        assert_eq!(
            read_user_code(&format!(" {} ", code.to_lowercase().replace('-', " "))),
            read_user_code(&code)
        );
    }
}
