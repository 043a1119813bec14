//! The key of one file: it seals the file's pieces, and is itself stored only as sealed content.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use domain::{FileId, Secret};
use world::Random;
use zeroize::Zeroizing;

use crate::error::{OpenError, VaultError};
use crate::seal;

/// Of AES-256.
const KEY_LEN: usize = 32;

/// The piece of a file that something is sealed as. It opens as no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceRef<'a> {
    pub file: FileId,
    pub position: u64,
    /// The name of the object that it is stored as: a piece that was sent again is another one.
    pub name: &'a str,
}

/// A key that seals one file's pieces alone.
pub struct FileKey {
    key: LessSafeKey,
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

impl PieceRef<'_> {
    fn associated(&self) -> Vec<u8> {
        let position = self.position.to_be_bytes();
        [b"tidegate/file piece/1".as_slice(), self.file.as_bytes(), &position, self.name.as_bytes()].concat()
    }
}

impl FileKey {
    pub fn generate(random: &dyn Random) -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        random.fill(&mut *bytes);
        Self::of(bytes)
    }

    /// # Errors
    /// These are not the bytes of a key.
    pub fn from_secret(secret: &Secret) -> Result<Self, VaultError> {
        let bytes: [u8; KEY_LEN] = secret.expose().try_into().map_err(|_| VaultError::Crypto)?;
        Self::of(Zeroizing::new(bytes))
    }

    fn of(bytes: Zeroizing<[u8; KEY_LEN]>) -> Result<Self, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(|_| VaultError::Crypto)?;
        Ok(Self { key: LessSafeKey::new(key), bytes })
    }

    /// Its bytes, to be sealed.
    pub fn expose(&self) -> &[u8] {
        &*self.bytes
    }

    /// Each piece has a random nonce, and a file has too few of them for one to repeat.
    pub fn seal(
        &self,
        piece: PieceRef<'_>,
        content: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        seal::seal(&self.key, &piece.associated(), content, random).map_err(|_| VaultError::Crypto)
    }

    /// # Errors
    /// It was changed, or is another piece.
    pub fn open(&self, piece: PieceRef<'_>, sealed: &[u8]) -> Result<Secret, OpenError> {
        seal::open(&self.key, &piece.associated(), sealed).map_err(|_| OpenError::Refused)
    }
}

domain::brief_debug!(FileKey as "FileKey(hidden)");

#[cfg(test)]
mod tests {
    use world::World;

    use super::*;

    #[test]
    fn a_piece_opens_as_itself_alone() {
        let random = World::system().random;
        let file = FileId::new(1, [7; 10]);
        let piece = PieceRef { file, position: 3, name: "3-abc" };
        let key = FileKey::generate(&*random).unwrap();
        let sealed = key.seal(piece, b"canary", &*random).unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
        let again = FileKey::from_secret(&Secret::new(key.expose().to_vec())).unwrap();
        assert_eq!(again.open(piece, &sealed).unwrap().expose(), b"canary");
        let beside = FileId::new(1, [8; 10]);
        for other in [
            PieceRef { file: beside, ..piece },
            PieceRef { position: 2, ..piece },
            PieceRef { name: "3-abe", ..piece },
        ] {
            assert!(again.open(other, &sealed).is_err(), "{other:?}");
        }
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(again.open(piece, &changed).is_err());
        assert!(FileKey::generate(&*random).unwrap().open(piece, &sealed).is_err());
        assert!(FileKey::from_secret(&Secret::new(vec![1; 31])).is_err());
    }
}
