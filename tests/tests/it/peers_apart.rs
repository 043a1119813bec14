//! Peers that are far from each other, behind a link that loses and delays datagrams or is cut, and peers that find each other on the
//! local network. Each is a machine in a network namespace.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::datagrams::{DatagramLink, LinkConditions};
use harness::network::Network;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::WITHIN;
use crate::ask::{has, said, says};
use crate::peers::{MIB, MODEL, Peer, QUIC, SERVES, demo, machines, shelve, weights};
use crate::wait::until;

/// A file of peers, each with the address where it is reached from here, if there is one.
fn list_with(peers: &[(&Peer, Option<SocketAddr>)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let rows: Vec<_> = peers
        .iter()
        .map(|(peer, address)| {
            json!({"name": peer.name, "public_key": peer.public_key, "addresses": address.iter().collect::<Vec<_>>()})
        })
        .collect();
    std::fs::write(&path, json!({"peer": rows}).to_string()).unwrap();
    (directory, path)
}

/// Of each hundred datagrams five are lost, and each takes 25 ms: 50 ms for the way there and back.
const FAR: LinkConditions =
    LinkConditions { lost_per_mille: 50, delay: Duration::from_millis(25), seed: 0x7465_6c6c };
/// A fetch over that link, on a machine that does other things as well.
const FETCHED_WITHIN: Duration = Duration::from_secs(180);

/// How soon a node that says goodbye is forgotten; an announcement holds for a minute.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_files_come_through_a_link_that_loses_and_delays() {
    let (mut here, mut there) = (Network::new().unwrap(), Network::new().unwrap());
    let (near, far) = (Peer::new(&mut here, "near"), Peer::new(&mut there, "far"));
    let far_address = SocketAddr::new(IpAddr::V4(far.machine.address), QUIC);
    let (own, from) = (IpAddr::V4(here.own_address()), IpAddr::V4(there.own_address()));
    let link = DatagramLink::start(own, from, far_address, FAR).await.unwrap();
    let (_near_directory, near_list) = list_with(&[(&far, Some(link.address))]);
    let (_far_directory, far_list) = list_with(&[(&near, None)]);
    let mib = if std::env::var_os("TIDEGATE_PEERS_FULL").is_some() { 12 } else { 3 };
    let weights = weights(mib * MIB);
    shelve(&far.models(), &weights);
    let _far = far.start(&demo(), &far_list, &SERVES).await;
    let _near = near.start("echo", &near_list, &[]).await;
    near.meets(&far).await;
    let rtt_ms = near.sees(&far).await["rtt_ms"].as_f64().unwrap();
    assert!(rtt_ms >= 50.0, "no way leads around the link: {rtt_ms}");

    let text = said(&far.ask(MODEL).await);
    for _ in 0..5 {
        near.streams_from_far(&text).await;
    }

    // The running node fetches, with the connections of its key.
    let mut fetch = near.launch(&["node", "fetch", "publisher/big"]).start().unwrap();
    says(&fetch.wait_text(" is here: ", FETCHED_WITHIN).await.unwrap(), &["from far"]);
    let came = std::fs::read(near.models().join("publisher--big/model.safetensors")).unwrap();
    assert!(came == weights, "the files differ");
    let row = near.sees(&far).await;
    assert!(row["chunks_in"].as_u64().unwrap() >= 2 && row["connected"] == true, "{row}");
    let (passed, lost) = link.counts();
    assert!(lost * 40 > passed + lost && lost * 13 < passed + lost, "{lost} of {} were lost", passed + lost);

    link.cut();
    until("the partition shows", async || near.sees(&far).await["connected"] == false).await;
    near.ask(MODEL).await.must_be(503);
    link.mend();
    near.meets(&far).await;
    assert_eq!(said(&near.ask(MODEL).await), text);
}

#[tokio::test]
async fn members_find_each_other_on_the_local_network_and_strangers_stay_strangers() {
    let (_network, [near, far, quiet, stranger]) = machines(["near", "far", "quiet", "stranger"]);
    // Nobody knows where anybody is.
    let (_directory, list) = list_with(&[(&near, None), (&far, None), (&quiet, None)]);
    let (_other_directory, strangers) = list_with(&[(&near, None), (&far, None), (&stranger, None)]);
    let mut near_process = near.start("echo", &list, &["--peers-mdns"]).await;
    let mut far_process = far.start(&demo(), &list, &[&SERVES[..], &["--peers-mdns"]].concat()).await;
    let _quiet = quiet.start("echo", &list, &[]).await;
    let _stranger = stranger.start("echo", &strangers, &["--peers-mdns"]).await;
    near.meets(&far).await;
    let address = json!([format!("{}:{QUIC}", far.machine.address)]);
    until("near hears where far is", async || near.sees(&far).await["addresses"] == address).await;
    assert_eq!(near.ask(MODEL).await.header("x-tidegate-peer"), Some("far"));
    // The stranger finds both, and proves to be nobody whom they know.
    near_process.wait_text("unknown or ejected key was refused", WITHIN).await.unwrap();
    stranger.is_refused_by(&near).await;
    assert!(near.sees(&stranger).await.is_null(), "an announcement makes no member");
    // It announces nothing.
    has(&near.sees(&quiet).await, json!({"connected": false, "addresses": []}));
    // Who stops says so: its address is forgotten long before a minute has passed.
    far_process.terminate().unwrap();
    assert!(far_process.wait(WITHIN).await.unwrap().success(), "{}", far_process.stderr());
    let gone = Instant::now();
    until("near forgets where far was", async || near.sees(&far).await["addresses"] == json!([])).await;
    assert!(gone.elapsed() < FORGOTTEN_WITHIN, "{:?}", gone.elapsed());
}

#[tokio::test]
async fn a_node_calls_the_relays_that_it_was_given() {
    let (network, [near, far]) = machines(["near", "far"]);
    let (_directory, list) = list_with(&[(&near, None), (&far, None)]);
    let relay = TcpListener::bind((network.own_address(), 0)).await.unwrap();
    let url = format!("http://{}", relay.local_addr().unwrap());
    let _near = near.start("echo", &list, &["--peer-relay", &url]).await;
    let (mut called, _) = tokio::time::timeout(WITHIN, relay.accept()).await.unwrap().unwrap();
    let mut said = [0; 4];
    called.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"GET ", "it speaks HTTP to it");
    let wrong = ["--peer-listen", "127.0.0.1:0", "--peer-relay", "ftp://relay"];
    let mut refused = far.launch(&[&["node", "--model", "echo"], &wrong[..]].concat()).start().unwrap();
    assert_eq!(refused.wait(WITHIN).await.unwrap().code(), Some(2));
    says(&refused.stderr(), &["not the address of a relay"]);
}
