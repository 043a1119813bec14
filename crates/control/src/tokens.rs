//! Tokens and codes: what their holders are given, and the keyed hashes that are kept of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Secret;
use domain::ports::KeyHash;
use store::TokenDigest;
use world::Random;

/// What a token is for. A token of one kind is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Session,
    Csrf,
    Link,
    Device,
    UserCode,
    Password,
    /// What a machine is let in with.
    Join,
    /// What a node reports with from then on.
    Node,
    /// Who tries to sign in: no token, and kept no more readable than one.
    Trier,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Session => "session/1:",
            Self::Csrf => "csrf/1:",
            Self::Link => "link/1:",
            Self::Device => "device/1:",
            Self::UserCode => "user-code/1:",
            Self::Password => "password/1:",
            Self::Join => "join/1:",
            Self::Node => "node/1:",
            Self::Trier => "trier/1:",
        }
    }
}

/// 256 random bits, as a cookie or a URL carries them.
pub fn mint(random: &dyn Random) -> Secret {
    let mut bytes = [0_u8; 32];
    random.fill(&mut bytes);
    Secret::from_text(URL_SAFE_NO_PAD.encode(bytes))
}

/// Without the installation's pepper, a copy of the database is worth no token.
pub fn digest(hasher: &dyn KeyHash, kind: Kind, text: &str) -> TokenDigest {
    let labelled = Secret::from_text(format!("{}{text}", kind.label()));
    hasher.digest(labelled.expose_text().unwrap_or_default())
}

/// The token that proves that a page of ours sends a request, and not another one on its visitor's cookie. It is derived
/// from the session's own, so that one of another session is worth nothing.
pub fn csrf(hasher: &dyn KeyHash, session: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(hasher, Kind::Csrf, session))
}

/// Letters that are no word and can't be taken for digits or for one another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What a person types from one screen into another, such as `BCDF-GHJK`.
pub fn mint_user_code(random: &dyn Random) -> String {
    let letter = || {
        let at = usize::try_from(random.below(LETTERS.len() as u64)).unwrap_or(0);
        char::from(LETTERS.get(at).copied().unwrap_or(b'B'))
    };
    let half = || [(); 4].map(|()| letter()).iter().collect::<String>();
    format!("{}-{}", half(), half())
}

/// A user code as people type it, in its one form.
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
