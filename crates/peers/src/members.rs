//! Who is a peer: a file of the operator's, members that were added by request, and a list that the gateway signs.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use proof::PublicKey;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use world::World;

use crate::files;
use crate::limits::{
    ADDRESSES_MAX, ANNOUNCED_ADDRESSES_MAX, LIST_BYTES_MAX, MEMBERS_MAX, MODELS_MAX, NAME_BYTES_MAX,
};
use crate::signed::{ListError, SignedList};

const ADDED: &str = "peers.json";
const SIGNED: &str = "peer-list.json";

/// A node that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub public_key: PublicKey,
    pub name: String,
    /// Where it listens. Empty if it only dials.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
    /// What it serves, as far as the list says.
    #[serde(default)]
    pub models: Vec<String>,
}

/// Which list names a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberSource {
    /// The file of `--peers`.
    File,
    /// `POST /v1/peers/register`.
    Registered,
    /// The list that the gateway signs.
    Gateway,
}

/// The file of `--peers`, in TOML (`[[peer]]`) or JSON (`{"peer": [...]}`).
#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields)]
struct MemberFile {
    #[serde(default)]
    peer: Vec<Member>,
}

/// All members, of all lists.
#[derive(Debug)]
pub struct Roster {
    world: World,
    own: PublicKey,
    data_dir: Option<PathBuf>,
    lists: RwLock<Lists>,
    /// Notified when a list has changed.
    pub(crate) changed: Notify,
}

#[derive(Debug, Clone, Default)]
struct Lists {
    file: Vec<Member>,
    registered: Vec<Member>,
    signed: Option<SignedList>,
    /// Addresses that were announced on the local network, by the key that they are said to belong to. They make nobody a member.
    announced: BTreeMap<[u8; 32], Vec<SocketAddr>>,
}

impl Member {
    /// # Errors
    /// Says which field can't be used.
    pub fn check(&self) -> Result<(), String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(is_plain) {
            return Err(format!(
                "name is {:?}: use 1 to {NAME_BYTES_MAX} letters, digits, dashes, dots and underscores",
                self.name
            ));
        }
        if self.addresses.len() > ADDRESSES_MAX {
            return Err(format!("addresses has more than {ADDRESSES_MAX} entries"));
        }
        if let Some(address) = self.addresses.iter().find(|address| !is_reachable(address)) {
            return Err(format!("{address} isn't an address to connect to: give an IP address and a port"));
        }
        if self.models.len() > MODELS_MAX {
            return Err(format!("models has more than {MODELS_MAX} entries"));
        }
        Ok(())
    }
}

impl Lists {
    /// Whether any list names a key, be it valid now or not.
    fn names(&self, key: &[u8; 32]) -> bool {
        let signed = self.signed.iter().flat_map(|list| &list.members);
        let mut all = self.file.iter().chain(&self.registered).chain(signed);
        all.any(|member| member.public_key.as_bytes() == key)
    }
}

fn is_reachable(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

/// Reads the file of `--peers`.
///
/// # Errors
/// It can't be read, or says what is wrong in it.
pub fn read_members(path: &Path) -> io::Result<Vec<Member>> {
    let invalid =
        |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let text = files::read_text(path, LIST_BYTES_MAX)?;
    let MemberFile { peer } = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?
    } else {
        toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?
    };
    if peer.len() > MEMBERS_MAX {
        return Err(invalid(format!("it names more than {MEMBERS_MAX} peers")));
    }
    for (at, member) in peer.iter().enumerate() {
        member.check().map_err(|why| invalid(format!("peer {}: {why}", at + 1)))?;
    }
    Ok(peer)
}

impl Roster {
    /// Reads what the data directory holds of earlier runs, beside the members of the file.
    ///
    /// # Errors
    /// A file of the data directory can't be read.
    pub fn open(
        world: &World,
        own: PublicKey,
        data_dir: Option<&Path>,
        file: Vec<Member>,
    ) -> io::Result<Arc<Self>> {
        let mut lists = Lists { file, ..Lists::default() };
        if let Some(dir) = data_dir {
            let registered: Option<MemberFile> = files::read_json(&dir.join(ADDED), LIST_BYTES_MAX)?;
            lists.registered = registered.unwrap_or_default().peer;
            lists.signed = SignedList::read(&dir.join(SIGNED))?;
        }
        Ok(Arc::new(Self {
            world: world.clone(),
            own,
            data_dir: data_dir.map(Path::to_owned),
            lists: RwLock::new(lists),
            changed: Notify::new(),
        }))
    }

    /// This node's key.
    pub fn own_key(&self) -> PublicKey {
        self.own
    }

    /// The members now, each once, by name. A member of several lists has the addresses of all.
    pub fn members(&self) -> Vec<(Member, MemberSource)> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let now_unix_ms = self.world.clock.unix_ms();
        let signed = lists.signed.as_ref().filter(|list| list.is_valid(now_unix_ms));
        let file = lists.file.iter().map(|member| (member, MemberSource::File));
        let registered = lists.registered.iter().map(|member| (member, MemberSource::Registered));
        let signed = signed.into_iter().flat_map(|list| &list.members);
        let all = file.chain(registered).chain(signed.map(|member| (member, MemberSource::Gateway)));
        let mut by_key: BTreeMap<[u8; 32], (Member, MemberSource)> = BTreeMap::new();
        for (member, source) in all.filter(|(member, _)| member.public_key != self.own) {
            let key = *member.public_key.as_bytes();
            let (known, _) = by_key.entry(key).or_insert_with(|| (member.clone(), source));
            for address in &member.addresses {
                if !known.addresses.contains(address) && known.addresses.len() < ADDRESSES_MAX {
                    known.addresses.push(*address);
                }
            }
        }
        for (key, addresses) in &lists.announced {
            let Some((known, _)) = by_key.get_mut(key) else { continue };
            for address in addresses {
                if !known.addresses.contains(address) && known.addresses.len() < ADDRESSES_MAX {
                    known.addresses.push(*address);
                }
            }
        }
        let mut members: Vec<_> = by_key.into_values().take(MEMBERS_MAX).collect();
        members.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        members
    }

    /// Whether a key is in a valid list.
    pub fn member(&self, key: &[u8; 32]) -> Option<Member> {
        self.members()
            .into_iter()
            .map(|(member, _)| member)
            .find(|member| member.public_key.as_bytes() == key)
    }

    /// Adds a member, or replaces what was added under its key.
    ///
    /// # Errors
    /// The member can't be used, there are too many, or it can't be stored.
    pub fn register(&self, member: Member) -> io::Result<()> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        member.check().map_err(invalid)?;
        if member.public_key == self.own {
            return Err(invalid("this is the public key of this node itself".to_owned()));
        }
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let mut peer: Vec<Member> =
            lists.registered.iter().filter(|known| known.public_key != member.public_key).cloned().collect();
        if peer.len() >= MEMBERS_MAX {
            return Err(invalid(format!("there are {MEMBERS_MAX} members already")));
        }
        peer.push(member);
        let file = MemberFile { peer };
        // A longer file would not be read at the next start.
        if serde_json::to_vec_pretty(&file)?.len() as u64 > LIST_BYTES_MAX {
            return Err(invalid(format!("the members have more than {LIST_BYTES_MAX} bytes together")));
        }
        if let Some(dir) = &self.data_dir {
            files::write_json(&dir.join(ADDED), &file)?;
        }
        lists.registered = file.peer;
        drop(lists);
        self.changed.notify_one();
        Ok(())
    }

    /// Removes a member that was added by request; says whether there was one.
    ///
    /// # Errors
    /// What remains can't be stored.
    pub fn unregister(&self, key: &PublicKey) -> io::Result<bool> {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let peer: Vec<Member> =
            lists.registered.iter().filter(|known| known.public_key != *key).cloned().collect();
        if peer.len() == lists.registered.len() {
            return Ok(false);
        }
        let file = MemberFile { peer };
        if let Some(dir) = &self.data_dir {
            files::write_json(&dir.join(ADDED), &file)?;
        }
        lists.registered = file.peer;
        drop(lists);
        self.changed.notify_one();
        Ok(true)
    }

    /// The same lists, with further members of a file.
    pub fn with(&self, members: Vec<Member>) -> Arc<Self> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let mut more = lists.clone();
        more.file.extend(members);
        Arc::new(Self {
            world: self.world.clone(),
            own: self.own,
            data_dir: self.data_dir.clone(),
            lists: RwLock::new(more),
            changed: Notify::new(),
        })
    }

    /// Notes where a key is said to be on the local network; an empty list forgets it. What is stored of keys that are in no list is
    /// bounded, and makes way for members.
    pub(crate) fn announced(&self, key: [u8; 32], mut addresses: Vec<SocketAddr>) {
        let is_member = self.member(&key).is_some();
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        if addresses.is_empty() {
            lists.announced.remove(&key);
            return;
        }
        addresses.truncate(ANNOUNCED_ADDRESSES_MAX);
        if lists.announced.get(&key) == Some(&addresses) {
            return;
        }
        if lists.announced.len() >= MEMBERS_MAX && !lists.announced.contains_key(&key) {
            let strangers: Vec<[u8; 32]> = lists.announced.keys().copied().collect();
            let stranger = strangers.into_iter().find(|key| !lists.names(key));
            let Some(stranger) = stranger.filter(|_| is_member) else { return };
            lists.announced.remove(&stranger);
        }
        lists.announced.insert(key, addresses);
        drop(lists);
        if is_member {
            self.changed.notify_one();
        }
    }

    /// Takes the gateway's newest list, for the node that this one joined as. Without `signer`, the key of the gateway from the time when
    /// this node joined, the list before it says who must have signed.
    ///
    /// # Errors
    /// Another key signed it, or it can't be used or stored.
    pub fn take_signed(
        &self,
        text: &[u8],
        node_id: &str,
        signer: Option<PublicKey>,
    ) -> Result<(), ListError> {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let pinned = lists.signed.as_ref().filter(|list| list.node_id == node_id);
        if pinned.is_some_and(|list| list.text == text) {
            return Ok(());
        }
        let list = SignedList::verify(text, node_id, (signer, pinned), self.world.clock.unix_ms())?;
        if let Some(dir) = &self.data_dir {
            list.write(&dir.join(SIGNED)).map_err(ListError::Disk)?;
        }
        lists.signed = Some(list);
        drop(lists);
        self.changed.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proof::SigningKey;

    use super::*;

    #[test]
    fn members_that_could_not_be_read_again_are_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).unwrap().public();
        let open = || Roster::open(&World::system(), key(1), Some(dir.path()), Vec::new()).unwrap();
        let member = |seed: u8, model: String| Member {
            public_key: key(seed),
            name: format!("peer-{seed}"),
            addresses: Vec::new(),
            models: vec![model],
        };
        let roster = open();
        roster.register(member(2, "m".to_owned())).unwrap();
        let long = "m".repeat(usize::try_from(LIST_BYTES_MAX).unwrap());
        let refused = roster.register(member(3, long)).unwrap_err().to_string();
        assert!(refused.contains("bytes together"), "{refused}");
        assert_eq!(open().members().len(), 1, "the next start reads them");
    }
}
