//! Several gateways of one database: a node that joined one of them opens tunnels to all that they name.

use harness::client::Client;
use harness::postgres::Server;
use serde_json::Value;

use crate::WITHIN;
use crate::ask::CHAT;
use crate::gateway::Gateway;
use crate::joining::Wire;
use crate::tunnels::{BEATS, ask, joined};
use crate::wait::{found, until};

/// One of the gateways, with the keys of the first.
struct Place {
    admin: Client,
    client: Client,
}

impl Place {
    fn at(gateway: &Gateway, origin: &str) -> Self {
        let with = |key: &str| Client::new(origin.to_owned()).bearer(key).within(WITHIN);
        Self { admin: with(&gateway.founded.admin_key), client: with(&gateway.founded.api_key) }
    }

    async fn node(&self, id: &str) -> Option<Value> {
        Some(self.admin.get(&format!("/v2/byoc/nodes/{id}")).await.ok()?.json())
    }

    async fn until_served(&self, id: &str) {
        found("a tunnel", async || self.node(id).await.filter(|node| node["tunnel"].is_object())).await;
        until("an answer through it", async || {
            self.client.post(CHAT, &ask()).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }
}

fn address(origin: &str) -> std::net::SocketAddr {
    origin.strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_a_tunnel_to_each_gateway() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("gateways_{}", std::process::id())).await.unwrap();
    let (first_wire, second_wire) = (Wire::loose().await, Wire::loose().await);
    let urls = format!("{}, {}/", first_wire.url(), second_wire.url());
    let gateway = Gateway::on_database(&url, &[BEATS, ("TIDEGATE_TUNNEL_URLS", &urls)]).await;
    first_wire.lead_to(&gateway);
    let (mut second, origin) = gateway.replica().await;
    second_wire.lead(address(&origin));
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let node = machine.start(&[]).await;
    let (at_first, at_second) = (Place::at(&gateway, &gateway.origin), Place::at(&gateway, &origin));
    at_first.until_served(&id).await;
    at_second.until_served(&id).await;

    // One that is gone takes nothing from the other, and the next finds its node again.
    second.kill9().unwrap();
    for _ in 0..5 {
        at_first.client.post(CHAT, &ask()).await.unwrap().must_be(200);
    }
    let (_second, origin) = gateway.replica().await;
    second_wire.lead(address(&origin));
    Place::at(&gateway, &origin).until_served(&id).await;
    at_first.until_served(&id).await;
    drop(node);
}
