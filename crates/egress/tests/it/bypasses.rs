//! Every known way to write, resolve or redirect past the guard, with a listener that must not be reached.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::FaultClass;
use egress::{Client, EgressErrorKind, EgressSettings, Request, TargetKind, check_base_url};
use http::{Method, Uri};

use crate::support::{Scripted, Server, get, on_a_core, whole};

/// `PORT` is the listener's. Names are resolved to the loopback, as nip-style names are.
const BYPASSES: &str = "
    http://127.0.0.1:PORT/ https://127.0.0.1:PORT/ https://127.0.0.2:PORT/ https://127.1:PORT/
    https://127.0.1:PORT/ https://2130706433:PORT/ https://017700000001:PORT/ https://0x7f000001:PORT/
    https://0x7f.0.0.1:PORT/ https://0x7f.1:PORT/ https://0177.0.0.1:PORT/ https://0177.0.0.01:PORT/
    https://127.0.0.1.:PORT/ https://127.000.000.001:PORT/ https://0:PORT/ https://0.0.0.0:PORT/
    https://[::]:PORT/ https://[::1]:PORT/ https://[0:0:0:0:0:0:0:1]:PORT/ https://[::ffff:127.0.0.1]:PORT/
    https://[::ffff:7f00:1]:PORT/ https://[0:0:0:0:0:ffff:7f00:0001]:PORT/ https://[::127.0.0.1]:PORT/
    https://[::7f00:1]:PORT/ https://[::ffff:0:127.0.0.1]:PORT/ https://[64:ff9b::127.0.0.1]:PORT/
    https://[64:ff9b:1::7f00:1]:PORT/ https://[2002:7f00:1::]:PORT/ https://[2001:0:7f00:1::]:PORT/
    https://[fe80::1]:PORT/ https://[fe80::1%25lo]:PORT/ https://[fc00::1]:PORT/ https://[fec0::1]:PORT/
    https://[ff02::1]:PORT/ https://[fd00:ec2::254]/latest/meta-data/ https://[::ffff:a9fe:a9fe]/
    https://[::ffff:169.254.169.254]/ http://169.254.169.254/latest/meta-data/ https://169.254.169.254/
    https://169.254.170.2/v2/credentials https://2852039166/ https://0xa9fea9fe/
    https://0251.0376.0251.0376/ https://100.100.100.200/ https://168.63.129.16/ https://192.0.0.192/
    http://metadata.google.internal/computeMetadata/v1/ https://metadata/ https://10.0.0.1/
    https://10.255.255.255/ https://172.16.0.1/ https://172.31.255.255/ https://192.168.1.1/
    https://100.64.0.1/ https://198.18.0.1/ https://224.0.0.1/ https://240.0.0.1/ https://255.255.255.255/
    https://localhost:PORT/ https://LOCALHOST:PORT/ https://localhost.:PORT/ https://a.localhost:PORT/
    https://127.0.0.1.nip.example:PORT/ https://loopback.example:PORT/
    https://api.example.com@127.0.0.1:PORT/ https://api.example.com:443@127.0.0.1:PORT/
    https://user:secret@api.example.com:PORT/ https://127.0.0.1:PORT#@api.example.com/
    https://api.example.com#@127.0.0.1:PORT/ https://127.0.0.1%2f@api.example.com:PORT/
    https://127%2e0%2e0%2e1:PORT/ https://api.example.com\\@127.0.0.1:PORT/ https://①②⑦.⓪.⓪.①:PORT/
    https://127。0。0。1:PORT/ gopher://127.0.0.1:PORT/_GET file:///etc/passwd ftp://127.0.0.1:PORT/
    dict://127.0.0.1:PORT/ ws://127.0.0.1:PORT/ unix:///var/run/docker.sock //127.0.0.1:PORT/ 127.0.0.1:PORT
    https://:PORT/ https:///path https://127.0.0.1:0/ https://127.0.0.1:99999/ http://loopback.example:PORT/
    http://api.example.com/v1";

/// Those, and two with a space in the middle.
fn bypasses() -> impl Iterator<Item = &'static str> {
    BYPASSES.split_whitespace().chain(["https://127.0.0.1\t:PORT/", "https:// 127.0.0.1:PORT/"])
}

fn client_with(answers: Vec<Vec<IpAddr>>, settings: EgressSettings) -> (Client, Arc<Scripted>) {
    let resolver = Arc::new(Scripted::new(answers));
    let settings = EgressSettings { resolver: Arc::clone(&resolver) as _, ..settings };
    (Client::new(Arc::new(settings)).unwrap(), resolver)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn no_bypass_reaches_the_listener() {
    assert_eq!(bypasses().count(), 90);
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async { whole("inside") })).await;
        let (client, _) = client_with(vec![vec![ip("127.0.0.1")]], EgressSettings::default());
        for reach in [TargetKind::Provider, TargetKind::Node, TargetKind::Document, TargetKind::System] {
            for template in bypasses() {
                let url = template.replace("PORT", &server.address.port().to_string());
                // What is not a URI at all can't be sent.
                let Ok(uri) = url.parse::<Uri>() else { continue };
                if uri.scheme().is_none() {
                    continue;
                }
                let error = client.send(&Request::new(Method::GET, uri), reach).await.expect_err(&url);
                assert_eq!(error.kind, EgressErrorKind::Guard, "{url}: {error}");
                assert!(!error.request_sent, "{url}");
            }
        }
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn no_bypass_can_be_saved_as_a_base_url() {
    let settings = EgressSettings::default();
    for template in bypasses() {
        let url = template.replace("PORT", "8080");
        // These are names whose addresses are checked when a connection is opened.
        if url.contains(".example:8080") && url.starts_with("https") && !url.contains(['@', '\\', '#', '%']) {
            continue;
        }
        let fault = check_base_url(&url, &settings, TargetKind::Provider).expect_err(&url);
        assert_eq!((fault.class, fault.code), (FaultClass::BadRequest, "base_url_refused"), "{url}");
        assert!(fault.fix.is_some() && fault.param.is_some(), "{url}");
    }
    for good in ["https://api.example.com/v1", "https://api.example.com:8443", "https://1.1.1.1/v1"] {
        assert_eq!(check_base_url(good, &settings, TargetKind::Provider), Ok(()), "{good}");
    }
}

#[test]
fn a_refusal_names_the_setting_that_would_allow_it() {
    let settings = EgressSettings::default();
    let fix = |url: &str, reach| check_base_url(url, &settings, reach).unwrap_err().fix.unwrap().into_owned();
    let private = fix("http://127.0.0.1:1/v1", TargetKind::Provider);
    assert!(private.contains("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1"));
    assert!(fix("http://10.0.0.1:1/v1", TargetKind::Node).contains("TIDEGATE_NODE_NETWORKS"));
    assert!(fix("https://169.254.169.254/", TargetKind::Node).contains("never"));
}

#[test]
fn the_operators_permission_opens_loopback_and_private_addresses_and_nothing_else() {
    let settings = EgressSettings { allow_private: true, ..EgressSettings::default() };
    let good = "http://127.0.0.1:9/v1 http://localhost:9/v1 http://10.0.0.1 https://192.168.0.9/v1";
    for good in good.split(' ') {
        assert_eq!(check_base_url(good, &settings, TargetKind::Provider), Ok(()), "{good}");
    }
    let bad = "http://169.254.169.254/ https://[fd00:ec2::254]/ http://8.8.8.8/ http://[::ffff:127.0.0.1]:9/";
    for bad in bad.split(' ') {
        assert!(check_base_url(bad, &settings, TargetKind::Provider).is_err(), "{bad}");
    }
    assert!(check_base_url("http://10.0.0.1/a", &settings, TargetKind::Document).is_err());
    assert_eq!(check_base_url("http://127.0.0.1:9/a", &settings, TargetKind::Document), Ok(()));
    let listed =
        EgressSettings { node_networks: vec!["10.0.0.0/8".parse().unwrap()], ..EgressSettings::default() };
    assert_eq!(check_base_url("http://10.1.2.3:8080/v1", &listed, TargetKind::Node), Ok(()));
    assert!(check_base_url("http://10.1.2.3:8080/v1", &listed, TargetKind::Provider).is_err());
    assert!(check_base_url("http://192.168.1.1:8080/v1", &listed, TargetKind::Node).is_err());
}

#[test]
fn one_bad_address_among_good_ones_refuses_the_name() {
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async { whole("inside") })).await;
        for answer in [
            vec![ip("127.0.0.1"), ip("93.184.215.14")],
            vec![ip("93.184.215.14"), ip("127.0.0.1")],
            vec![ip("::ffff:127.0.0.1")],
            vec![ip("93.184.215.14"), ip("fd00:ec2::254")],
        ] {
            let (client, _) = client_with(vec![answer.clone()], EgressSettings::default());
            let url = format!("https://mixed.example:{}/", server.address.port());
            let error = client.send(&get(&url), TargetKind::Provider).await.unwrap_err();
            assert_eq!(error.kind, EgressErrorKind::Guard, "{answer:?}");
        }
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn a_name_that_flips_is_resolved_once_and_the_connection_goes_where_the_check_looked() {
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async { whole("inside") })).await;
        // The second answer must never be used for the first connection, and must be refused for the second.
        let answers = vec![vec![ip("127.0.0.1")], vec![ip("127.0.0.1")]];
        let (client, resolver) = client_with(answers, EgressSettings::default());
        let url = format!("https://flip.example:{}/", server.address.port());
        for queries in 1..=4 {
            let error = client.send(&get(&url), TargetKind::Provider).await.unwrap_err();
            assert_eq!(error.kind, EgressErrorKind::Guard);
            assert_eq!(resolver.queries.load(Ordering::SeqCst), queries, "one question for each connection");
        }
        assert_eq!(server.connections(), 0);

        // Allowed first, then flipped to the metadata address: the open connection stays where it was
        // checked, a new one is refused.
        let allowed = EgressSettings { allow_private: true, ..EgressSettings::default() };
        let answers = vec![vec![ip("127.0.0.1")], vec![ip("169.254.169.254")]];
        let (client, resolver) = client_with(answers, allowed);
        let url = format!("http://flip.example:{}/", server.address.port());
        let first = client.send(&get(&url), TargetKind::Provider).await.unwrap();
        assert_eq!(&first.body.read_to_end(99).await.unwrap()[..], b"inside");
        let second = client.send(&get(&url), TargetKind::Provider).await.unwrap();
        assert_eq!(resolver.queries.load(Ordering::SeqCst), 1, "a pooled connection asks no resolver");
        let error = client.send(&get(&url), TargetKind::Provider).await.unwrap_err();
        assert_eq!((error.kind, resolver.queries.load(Ordering::SeqCst)), (EgressErrorKind::Guard, 2));
        drop(second);
    });
}
