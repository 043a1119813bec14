//! A node's key pair: who it is to its control plane and to its peers.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use proof::{PublicKey, Signature, SigningKey};
use world::{Random, SystemRandom};
use zeroize::Zeroizing;

use crate::disk;

const NODE_KEY: &str = "node.key";
/// The bits that let others than the owner use a file.
const OTHERS: u32 = 0o077;

/// The Ed25519 key pair of a node. Its seed is 64 hexadecimal digits in `node.key`.
pub struct NodeKey {
    seed: Zeroizing<[u8; 32]>,
    pair: SigningKey,
}

impl NodeKey {
    /// Reads the key of a data directory, or creates it. Two processes that create it at once get the same.
    ///
    /// # Errors
    /// The file can't be read or written, isn't a key, or is readable by others than its owner.
    pub fn open_or_create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NODE_KEY);
        match Self::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        disk::folder(dir)?;
        create(&path)?;
        Self::open(&path)
    }

    pub fn public(&self) -> [u8; 32] {
        *self.pair.public().as_bytes()
    }

    /// The public key, which is written as 64 hexadecimal digits.
    pub fn public_key(&self) -> PublicKey {
        self.pair.public()
    }

    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    pub fn sign(&self, text: &[u8]) -> Signature {
        self.pair.sign(text)
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & OTHERS != 0 {
            let path = path.display();
            let why = format!(
                "{path} is readable by users other than its owner. Run `chmod 600 {path}`, and if others may have read it, remove it and join again"
            );
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        let text = Zeroizing::new(io::read_to_string(file)?);
        let seed = proof::from_hex::<32>(text.trim_end()).map(Zeroizing::new).ok_or_else(|| {
            let why = "has no key of 64 hexadecimal digits. Remove it and join again";
            io::Error::new(ErrorKind::InvalidData, format!("{} {why}", path.display()))
        })?;
        let pair = SigningKey::from_seed(&*seed)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        Ok(Self { seed, pair })
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKey({})", self.pair.public().fingerprint())
    }
}

/// Writes a fresh key. A link, unlike a rename, never replaces what another process wrote meanwhile.
fn create(path: &Path) -> io::Result<()> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom.fill(&mut *seed);
    let text = Zeroizing::new(proof::to_hex(&*seed));
    let beside = path.with_extension(format!("{:016x}.part", SystemRandom.next_u64()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&beside, path);
    disk::remove(&beside)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_key_is_created_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("node");
        let (first, second) =
            (NodeKey::open_or_create(&data).unwrap(), NodeKey::open_or_create(&data).unwrap());
        assert_eq!((first.public(), &*first.seed()), (second.public(), &*second.seed()));
        assert_eq!(std::fs::metadata(data.join(NODE_KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "no part is left");
        assert!(first.public_key().verify(b"text", &second.sign(b"text")));
        let elsewhere = NodeKey::open_or_create(&dir.path().join("other")).unwrap();
        assert_ne!(elsewhere.public(), first.public());
        assert!(!format!("{first:?}").contains(&proof::to_hex(&*first.seed())));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        NodeKey::open_or_create(dir.path()).unwrap();
        let path = dir.path().join(NODE_KEY);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = NodeKey::open_or_create(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        let refused = NodeKey::open_or_create(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("64 hexadecimal digits"), "{refused}");
    }

    #[test]
    fn two_that_create_it_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..2).map(|_| scope.spawn(|| NodeKey::open_or_create(dir.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().public()).collect()
        });
        assert_eq!(keys.first(), keys.last());
    }
}
