//! The format of a block's file: a head, and the block's numbers sealed by AES-256-GCM. Its tag is the checksum: what was
//! changed, cut, or sealed by another node or as another block does not open.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use world::Random;

use crate::keys::BlockKey;

/// Names the format, and its version.
const MAGIC: [u8; 8] = *b"tgprefx1";
/// Where the numbers begin.
const HEAD_BYTES: usize = MAGIC.len() + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// Which block a file is sealed as. It opens as no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRef {
    pub scope: u128,
    pub key: BlockKey,
    /// How many blocks precede it in its prefix.
    pub depth: u32,
}

/// The numbers of a block, read from its file.
#[derive(Debug)]
pub struct StoredBlock {
    file: Vec<u8>,
}

/// The numbers of a block that is to be stored, with room for the head and the tag.
#[derive(Debug)]
pub(crate) struct Unsealed(Vec<u8>);

/// The size of the file of a block of this many bytes.
pub(crate) const fn file_bytes(block_bytes: usize) -> usize {
    HEAD_BYTES + block_bytes + TAG_BYTES
}

impl BlockRef {
    fn associated(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.scope.to_be_bytes());
        self.key.add_to(&mut bytes);
        bytes.extend(self.depth.to_be_bytes());
        bytes
    }
}

impl Unsealed {
    /// `copy` appends the block's numbers; `None` unless it appended exactly this many bytes.
    pub(crate) fn copied(block_bytes: usize, copy: impl FnOnce(&mut Vec<u8>)) -> Option<Self> {
        let mut file = Vec::with_capacity(file_bytes(block_bytes));
        file.resize(HEAD_BYTES, 0);
        copy(&mut file);
        (file.len() == HEAD_BYTES + block_bytes).then_some(Self(file))
    }

    pub(crate) fn sealed(self, key: &LessSafeKey, block: &BlockRef, random: &dyn Random) -> Option<Vec<u8>> {
        let mut file = self.0;
        // A scope has too few blocks for a random nonce to repeat.
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let (head, numbers) = file.split_at_mut_checked(HEAD_BYTES)?;
        let (magic, place) = head.split_at_mut_checked(MAGIC.len())?;
        magic.copy_from_slice(&MAGIC);
        place.copy_from_slice(&nonce);
        let associated = block.associated();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&associated), numbers).ok()?;
        file.extend_from_slice(tag.as_ref());
        Some(file)
    }
}

impl StoredBlock {
    /// `None` if this is not the file of that block.
    pub(crate) fn opened(mut file: Vec<u8>, key: &LessSafeKey, block: &BlockRef) -> Option<Self> {
        let (head, sealed) = file.split_at_mut_checked(HEAD_BYTES)?;
        let (magic, nonce) = head.split_at_checked(MAGIC.len())?;
        if magic != MAGIC {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let associated = block.associated();
        let numbers = key.open_in_place(nonce, Aad::from(&associated), sealed).ok()?.len();
        file.truncate(HEAD_BYTES + numbers);
        Some(Self { file })
    }

    pub fn numbers(&self) -> &[u8] {
        self.file.get(HEAD_BYTES..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use world::World;

    use super::*;
    use crate::keys::Keys;

    #[test]
    fn a_block_opens_as_itself_alone() {
        let (keys, random) = (Keys::new(&[1; 32], "m"), World::system().random);
        let key = keys.seal(&[3; 32]).unwrap();
        let block_key = |scope| keys.chain(scope, None, 0).key(&keys, &[1, 2], 2, 0).unwrap();
        let block = BlockRef { scope: 1, key: block_key(1), depth: 0 };
        let unsealed = |bytes: &[u8]| Unsealed::copied(6, |file| file.extend_from_slice(bytes));
        assert!(unsealed(b"short").is_none() && unsealed(b"long...").is_none());
        let sealed = unsealed(b"canary").unwrap().sealed(&key, &block, &*random).unwrap();
        assert_eq!(sealed.len(), file_bytes(6));
        assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
        let opened = |bytes: &[u8], key, block: &BlockRef| StoredBlock::opened(bytes.to_vec(), key, block);
        assert_eq!(opened(&sealed, &key, &block).unwrap().numbers(), b"canary");
        for other in [
            BlockRef { scope: 2, ..block },
            BlockRef { key: block_key(2), ..block },
            BlockRef { depth: 1, ..block },
        ] {
            assert!(opened(&sealed, &key, &other).is_none(), "{other:?}");
        }
        let other = keys.seal(&[4; 32]).unwrap();
        assert!(opened(&sealed, &other, &block).is_none(), "of another secret");
        for at in 0..sealed.len() {
            assert!(opened(&sealed[..at], &key, &block).is_none(), "cut at {at}");
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, &key, &block).is_none(), "changed at {at}");
        }
    }
}
