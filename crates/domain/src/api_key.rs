//! The text form of Tidegate's API keys: `tg_live_` or `tg_test_`, 32 random characters and a six-character
//! checksum. A key may come with an AWS-style access key pair for clients that sign their requests: an id
//! derived from the key's id, and a secret of 40 random characters.

use uuid::Uuid;

use crate::KeyId;

/// The characters that follow the prefix. None of them is special to a shell or in a URL.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 32;
const CHECK_CHARS: usize = 6;

pub const LIVE_PREFIX: &str = "tg_live_";
pub const TEST_PREFIX: &str = "tg_test_";
/// What a client of another product writes before a key of ours, because it looks for this on its own: the key is the same.
const CLIENT_PREFIXES: [&str; 2] = ["hyb_", "stim_cli_"];

/// A key without what a client of another product wrote before it.
pub fn without_client_prefix(text: &str) -> &str {
    let rest = CLIENT_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
    rest.filter(|rest| rest.starts_with(LIVE_PREFIX) || rest.starts_with(TEST_PREFIX)).unwrap_or(text)
}

/// Encodes a key from 32 random bytes. The bias of `byte % 62` towards the first letters costs less than 2 of
/// the key's 190 bits.
pub fn encode(live: bool, random: &[u8; RANDOM_CHARS]) -> String {
    let mut key = String::with_capacity(LIVE_PREFIX.len() + RANDOM_CHARS + CHECK_CHARS);
    key.push_str(if live { LIVE_PREFIX } else { TEST_PREFIX });
    for byte in random {
        key.push(char::from(letter(u32::from(*byte))));
    }
    for letter in checksum(key.as_bytes()) {
        key.push(char::from(letter));
    }
    key
}

/// Whether a text has the prefix and the length of one of our keys.
pub fn is_of_form(text: &str) -> bool {
    let prefixed = text.starts_with(LIVE_PREFIX) || text.starts_with(TEST_PREFIX);
    prefixed && text.len() == LIVE_PREFIX.len() + RANDOM_CHARS + CHECK_CHARS
}

/// Whether a text has the form of a key and a correct checksum. This is how typing errors and a secret
/// scanner's false positives are recognised.
pub fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (body, check) = bytes.split_at(bytes.len().saturating_sub(CHECK_CHARS));
    let random = body.get(LIVE_PREFIX.len()..).unwrap_or_default();
    is_of_form(text) && random.iter().all(u8::is_ascii_alphanumeric) && checksum(body) == check
}

/// The prefix of access key ids.
const ACCESS_PREFIX: &str = "TGAK";
const SECRET_CHARS: usize = 40;

/// The access key id of an API key. It contains the API key's id, so a signature shows which key made it.
pub fn access_key_id(id: KeyId) -> String {
    format!("{ACCESS_PREFIX}{:X}", id.as_uuid().simple())
}

/// The API key that an access key id belongs to.
pub fn of_access_key(text: &str) -> Option<KeyId> {
    let digits = text.strip_prefix(ACCESS_PREFIX)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    let is_of_form = digits.len() == 32 && digits.bytes().all(is_digit);
    Uuid::try_parse(digits).ok().filter(|_| is_of_form).map(KeyId::from_uuid)
}

/// Encodes the secret of an access key from random bytes.
pub fn encode_access_secret(random: &[u8; SECRET_CHARS]) -> String {
    random.iter().map(|byte| char::from(letter(u32::from(*byte)))).collect()
}

fn checksum(text: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32(text);
    [(); CHECK_CHARS].map(|()| {
        let digit = rest % 62;
        rest /= 62;
        letter(digit)
    })
}

fn letter(number: u32) -> u8 {
    ALPHABET.get(number as usize % ALPHABET.len()).copied().unwrap_or(b'0')
}

/// Bit by bit, without a table: it runs only when a key is created or not found.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}
