//! The keys of the cache: which files hold which prefix, and what they are sealed with. All are derived from the
//! node's key, so that without it the names of files say nothing about prompts, not even to those who guess them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;

/// Bytes of the secret of a scope.
pub(crate) const SECRET_BYTES: usize = 32;

/// Identifies a block's tokens, all tokens before them, and whatever else its numbers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockKey([u128; 2]);

/// The keys of the blocks of one sequence, as far as they were needed.
#[derive(Debug)]
pub struct Chain {
    pub(crate) scope: u128,
    pub(crate) used: u64,
    /// How many blocks are on disk, or on their way there.
    pub(crate) stored: usize,
    start: BlockKey,
    keys: Vec<BlockKey>,
}

pub(crate) struct Keys {
    scopes: hmac::Key,
    blocks: hmac::Key,
    seals: hmac::Key,
    adapters: hmac::Key,
}

impl BlockKey {
    fn of(tag: &hmac::Tag) -> Self {
        let (halves, _) = tag.as_ref().as_chunks::<16>();
        let mut halves = halves.iter().map(|half| u128::from_be_bytes(*half));
        Self([halves.next().unwrap_or_default(), halves.next().unwrap_or_default()])
    }

    fn bytes(self) -> [[u8; 16]; 2] {
        self.0.map(u128::to_be_bytes)
    }

    pub(crate) fn add_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.bytes().as_flattened());
    }
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.0;
        write!(f, "{high:032x}{low:032x}")
    }
}

impl FromStr for BlockKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_at_checked(32).ok_or(())?;
        Ok(Self([number(high).ok_or(())?, number(low).ok_or(())?]))
    }
}

/// A number of 128 bits as `{:032x}` writes it, and in no other spelling.
pub(crate) fn number(text: &str) -> Option<u128> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (format!("{number:032x}") == text).then_some(number)
}

impl Keys {
    /// `made_by` is everything that the numbers in a block depend on beside tokens, adapter and scope.
    pub(crate) fn new(node_key: &[u8], made_by: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, node_key);
        let derived = |parts: &[&[u8]]| hmac::Key::new(hmac::HMAC_SHA256, sign(&root, parts).as_ref());
        Self {
            scopes: derived(&[b"tidegate/prefix scopes/1"]),
            blocks: derived(&[b"tidegate/prefix blocks/1/", made_by.as_bytes()]),
            seals: derived(&[b"tidegate/prefix seals/1"]),
            adapters: derived(&[b"tidegate/prefix adapters/1"]),
        }
    }

    /// The scope of a request's salt. It does not depend on the model, so that a purge reaches what other models
    /// left.
    pub(crate) fn scope(&self, salt: Option<&str>) -> u128 {
        let tag = match salt {
            Some(salt) => sign(&self.scopes, &[b"1", salt.as_bytes()]),
            None => sign(&self.scopes, &[b"0"]),
        };
        let [half, _] = BlockKey::of(&tag).0;
        half
    }

    /// Digests the files of adapters, so that none can be made to have the digest of another.
    pub(crate) fn digester(&self) -> impl Fn(&[&[u8]]) -> u128 + Send + Sync + use<> {
        let key = self.adapters.clone();
        move |pieces| {
            let mut context = hmac::Context::with_key(&key);
            for piece in pieces {
                context.update(&(piece.len() as u64).to_be_bytes());
                context.update(piece);
            }
            let [half, _] = BlockKey::of(&context.sign()).0;
            half
        }
    }

    pub(crate) fn chain(&self, scope: u128, adapter: Option<u128>, used: u64) -> Chain {
        let scope_bytes = scope.to_be_bytes();
        let tag = match adapter {
            Some(digest) => sign(&self.blocks, &[b"adapter", &scope_bytes, &digest.to_be_bytes()]),
            None => sign(&self.blocks, &[b"start", &scope_bytes]),
        };
        Chain { scope, used, stored: 0, start: BlockKey::of(&tag), keys: Vec::new() }
    }

    fn next(&self, before: BlockKey, tokens: &[u32]) -> BlockKey {
        let mut context = hmac::Context::with_key(&self.blocks);
        context.update(b"next");
        context.update(before.bytes().as_flattened());
        tokens.iter().for_each(|token| context.update(&token.to_be_bytes()));
        BlockKey::of(&context.sign())
    }

    /// What the blocks of a scope are sealed with. Without the scope's secret it can't be derived again, not even
    /// with the node's key.
    pub(crate) fn seal(&self, secret: &[u8; SECRET_BYTES]) -> Option<LessSafeKey> {
        let key = sign(&self.seals, &[secret]);
        UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new).ok()
    }
}

impl Chain {
    /// The key of a block of these tokens.
    pub(crate) fn key(
        &mut self,
        keys: &Keys,
        tokens: &[u32],
        block_tokens: usize,
        at: usize,
    ) -> Option<BlockKey> {
        let missing = tokens.chunks_exact(block_tokens).take(at + 1).skip(self.keys.len());
        for tokens in missing {
            let before = self.keys.last().copied().unwrap_or(self.start);
            self.keys.push(keys.next(before, tokens));
        }
        self.keys.get(at).copied()
    }
}

fn sign(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn key(
        node: u8,
        made_by: &str,
        scope: u128,
        adapter: Option<u128>,
        tokens: &[u32],
        at: usize,
    ) -> BlockKey {
        let keys = Keys::new(&[node; 32], made_by);
        keys.chain(scope, adapter, 0).key(&keys, tokens, 4, at).unwrap()
    }

    #[test]
    fn a_key_is_that_of_all_that_its_numbers_depend_on() {
        let usual = key(1, "m", 1, None, &TOKENS, 1);
        assert_eq!(usual, key(1, "m", 1, None, &TOKENS[..8], 1));
        let mut other = TOKENS;
        other[0] = 9;
        for different in [
            key(2, "m", 1, None, &TOKENS, 1),
            key(1, "n", 1, None, &TOKENS, 1),
            key(1, "m", 2, None, &TOKENS, 1),
            key(1, "m", 1, Some(0), &TOKENS, 1),
            key(1, "m", 1, None, &TOKENS, 0),
            key(1, "m", 1, None, &TOKENS, 2),
            key(1, "m", 1, None, &other, 1),
            key(1, "m", 1, None, &TOKENS[4..], 0),
        ] {
            assert_ne!(usual, different);
        }
        let keys = Keys::new(&[1; 32], "m");
        assert_eq!(keys.chain(1, None, 0).key(&keys, &TOKENS[..7], 4, 1), None, "it is not full");
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = key(1, "m", 1, None, &TOKENS, 0);
        let text = key.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(key)));
        for wrong in
            ["", "+1", &text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace(&text[..1], "+")]
        {
            assert_eq!(wrong.parse::<BlockKey>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_that_of_the_pieces() {
        let of = |pieces: &[&[u8]]| Keys::new(&[1; 32], "m").digester()(pieces);
        assert_eq!(of(&[b"a", b"bc"]), Keys::new(&[1; 32], "n").digester()(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"bc"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"a"]), Keys::new(&[2; 32], "m").digester()(&[b"a"]));
    }

    #[test]
    fn a_scope_is_that_of_its_salt_whatever_the_model() {
        let of = |made_by, salt| Keys::new(&[1; 32], made_by).scope(salt);
        assert_eq!(of("m", Some("a")), of("n", Some("a")));
        assert_ne!(of("m", Some("a")), of("m", Some("b")));
        assert_ne!(of("m", None), of("m", Some("")));
        assert_ne!(of("m", None), Keys::new(&[2; 32], "m").scope(None));
    }
}
