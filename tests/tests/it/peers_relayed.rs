//! Peers of which none can be dialled, each behind a router that translates addresses: they meet at a relay, and change to a direct
//! way where the routers allow it. The relay is the program `iroh-relay` that `TIDEGATE_RELAY` names, as in `make test-relay`; nothing is
//! played without it.

use std::path::PathBuf;

use harness::network::{Network, PortMapping};
use harness::process::Process;
use harness::relay::RelayServer;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{has, said};
use crate::peers::{MIB, MODEL, Peer, demo, shelve, weights};
use crate::wait::{found, until};

struct Meeting {
    near: Peer,
    far: Peer,
    relay: RelayServer,
    _nodes: [Process; 2],
    _list: tempfile::TempDir,
    _network: Network,
}

impl Meeting {
    /// Two peers that know each other's keys and no address, and the relay.
    async fn of(mapping: PortMapping) -> Option<Self> {
        let program = std::env::var_os("TIDEGATE_RELAY").map(PathBuf::from)?;
        let mut network = Network::new().unwrap();
        let [near, far] = ["near", "far"].map(|name| Peer::behind_router(&mut network, name, mapping));
        let keys = [near.public_key.as_str(), far.public_key.as_str()];
        let relay = RelayServer::start(&program, network.own_address(), &keys).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("peers.json");
        let rows = [&near, &far]
            .map(|peer| json!({"name": peer.name, "public_key": peer.public_key, "addresses": []}));
        std::fs::write(&list, json!({"peer": rows}).to_string()).unwrap();
        let more = ["--name", MODEL, "--kv-memory", "64", "--peer-relay", &relay.url];
        let ca_file = relay.ca_file.display().to_string();
        let authority = [("TIDEGATE_CA_FILE", &*ca_file)];
        shelve(&far.models(), &weights(2 * MIB));
        let nodes = [
            near.start_with("echo", &list, &more[4..], &authority).await,
            far.start_with(&demo(), &list, &more, &authority).await,
        ];
        near.meets(&far).await;
        Some(Self { near, far, relay, _nodes: nodes, _list: directory, _network: network })
    }

    async fn serves(&self) {
        let text = said(&self.far.ask(MODEL).await);
        for _ in 0..5 {
            self.near.streams_from_far(&text).await;
        }
        let mut fetch = self.near.launch(&["node", "fetch", "publisher/big"]).start().unwrap();
        fetch.wait_text(" is here: ", WITHIN).await.unwrap();
        let came = std::fs::read(self.near.models().join("publisher--big/model.safetensors")).unwrap();
        assert!(came == weights(2 * MIB), "the files differ");
    }

    async fn row(&self) -> Value {
        self.near.sees(&self.far).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_behind_two_routers_meet_at_a_relay_and_find_a_direct_way() {
    let Some(mut meeting) = Meeting::of(PortMapping::Kept).await else { return };
    meeting.serves().await;
    found("a direct way", async || Some(meeting.row().await).filter(|row| row["relayed"] == false)).await;
    // It needs the relay no more.
    meeting.relay.process.kill9().unwrap();
    meeting.serves().await;
    has(&meeting.row().await, json!({"connected": true, "relayed": false}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_whose_routers_hide_their_ports_stay_at_the_relay() {
    let Some(mut meeting) = Meeting::of(PortMapping::Random).await else { return };
    for _ in 0..3 {
        meeting.serves().await;
        has(&meeting.row().await, json!({"connected": true, "relayed": true}));
    }
    meeting.relay.process.kill9().unwrap();
    until("without the relay they are apart", async || meeting.row().await["connected"] == false).await;
    meeting.near.ask(MODEL).await.must_be(503);
}
