//! The way in for nodes that dial: the handshake behind the upgrade, in which a node proves that it holds the key of its
//! certificate. Requests go to it over the same connection afterwards.

use std::sync::Arc;
use std::time::Duration;

use domain::{Fault, FaultClass};
use egress::{
    LineError, TUNNEL_CORE_HEADER, TUNNEL_CORES_MAX, TUNNEL_HELLO_TIME_MAX, TUNNEL_PROTOCOL,
    TUNNEL_SPARE_HEADER, TUNNEL_VERSIONS, TUNNEL_VERSIONS_HEADER, TUNNELS_OF_WORKSPACE_MAX, TunnelEnd,
    TunnelOwner, read_line, tunnel_text,
};
use http::HeaderMap;
use http::header::UPGRADE;
use proof::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::caller::Reporter;
use crate::failure::invalid;
use crate::limits::TUNNEL_WORD_CHARS_MAX;
use crate::state::Control;

/// A node that may shake hands.
pub struct TunnelEntrance {
    control: Arc<Control>,
    reporter: Reporter,
    node_key: PublicKey,
    protocol: u32,
    core: Option<u32>,
    /// It is a spare connection of a tunnel that is there.
    is_spare: bool,
}

#[derive(Serialize)]
struct Challenge<'a> {
    object: &'static str,
    protocol: u32,
    nonce: &'a str,
    version: &'static str,
    unix_ms: u64,
}

/// What the node says. Fields of later versions are ignored.
#[derive(Deserialize)]
struct Hello {
    certificate: Map<String, Value>,
    signature: Signature,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Certificate {
    object: String,
    node_id: String,
    workspace_id: String,
    node_key: PublicKey,
    expires_unix_ms: u64,
}

#[derive(Serialize)]
#[serde(tag = "object")]
enum Verdict<'a> {
    #[serde(rename = "tunnel_open")]
    Open {
        features: [&'static str; 2],
        /// How many tunnels the node should keep open: one for each serving core, up to a bound.
        cores: u32,
    },
    #[serde(rename = "tunnel_refused")]
    Refused { code: &'static str, detail: &'a str, fix: &'a str },
}

impl TunnelEntrance {
    /// Checks what can be checked before the connection changes hands.
    ///
    /// # Errors
    /// The request is no handshake, its versions are not ours, the node has no key yet, or its workspace has too many
    /// tunnels.
    pub fn open(control: &Arc<Control>, reporter: Reporter, headers: &HeaderMap) -> Result<Self, Box<Fault>> {
        let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !word(UPGRADE.as_str()).eq_ignore_ascii_case(TUNNEL_PROTOCOL) {
            let message = "This path takes the tunnels of nodes, and the request asks for none.";
            return Err(Box::new(Fault::new(FaultClass::BadRequest, "tunnel_required", message).fix(
                "Run `tidegate node --tunnel`. A proxy in between must pass `Upgrade` on, over HTTP/1.1.",
            )));
        }
        let protocol = protocol(word(TUNNEL_VERSIONS_HEADER))?;
        let Some(key) = reporter.known.public_key else {
            let message = "This node has not sent its public key, which heartbeats carry.";
            return Err(Box::new(
                Fault::new(FaultClass::Conflict, "node_key_missing", message)
                    .fix("Let the node send a heartbeat first; update it if it is older than its gateway."),
            ));
        };
        let tunnels = &control.web.egress.tunnels;
        if tunnels.facts(reporter.known.node).is_none() {
            check_room(tunnels.count(reporter.known.workspace))?;
        }
        // Nodes of the version before name no core.
        let core = word(TUNNEL_CORE_HEADER).parse().ok().filter(|core| *core < TUNNEL_CORES_MAX);
        let is_spare = headers.contains_key(TUNNEL_SPARE_HEADER);
        let (control, node_key) = (Arc::clone(control), PublicKey::from(key));
        Ok(Self { control, reporter, node_key, protocol, core, is_spare })
    }

    /// The serving core that the tunnel is for, if the node named one.
    pub const fn core(&self) -> Option<u32> {
        self.core
    }

    /// Shakes hands, and sends requests over the connection until it ends. Use it inside a `LocalSet`. `early` came
    /// before the handshake; `cores` serve here; `closing` returns when nothing new may be sent.
    pub async fn serve(
        self: Arc<Self>,
        mut socket: TcpStream,
        early: Vec<u8>,
        cores: u32,
        closing: impl Future<Output = ()>,
    ) {
        let shaken = match timeout(TUNNEL_HELLO_TIME_MAX, self.handshake(&mut socket, &early)).await {
            Ok(shaken) => shaken,
            Err(_) => Err(refused("The node was silent during the handshake.")),
        };
        let (owner, expires, verdict) = match &shaken {
            Ok((owner, expires)) => {
                let cores = cores.min(TUNNEL_CORES_MAX);
                (Some(owner), Some(*expires), Verdict::Open { features: ["leaving", "spares"], cores })
            }
            Err(fault) => {
                let fix = fault.fix.as_deref().unwrap_or_default();
                (None, None, Verdict::Refused { code: fault.code, detail: &fault.message, fix })
            }
        };
        if write_line(&mut socket, &verdict).await.is_err() {
            return;
        }
        let (Some(owner), Some(expires)) = (owner, expires) else {
            let _ = socket.shutdown().await;
            return;
        };
        let tunnels = &self.control.web.egress.tunnels;
        if self.is_spare {
            return egress::adopt_spare(tunnels, socket, owner);
        }
        let nodes = Arc::clone(&self.control.nodes);
        let (workspace, node) = (owner.workspace, owner.node);
        let opened = || {
            tracing::info!(%node, "a tunnel is open");
            nodes.poll_at_once(workspace, node);
        };
        let why = tunnels.carry(socket, owner.clone(), expires, closing, opened).await;
        match why {
            TunnelEnd::NoNode | TunnelEnd::Flooded => tracing::warn!(%node, %why, "a tunnel ended"),
            _ => tracing::info!(%node, %why, "a tunnel ended"),
        }
        nodes.poll_at_once(workspace, node);
    }

    async fn handshake<S>(&self, socket: &mut S, early: &[u8]) -> Result<(TunnelOwner, Instant), Box<Fault>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !early.is_empty() {
            return Err(refused("The node spoke before the challenge."));
        }
        let world = &self.control.deps.world;
        let mut nonce = [0; 32];
        world.random.fill(&mut nonce);
        let nonce = proof::to_hex(&nonce);
        let challenge = Challenge {
            object: "tunnel_challenge",
            protocol: self.protocol,
            nonce: &nonce,
            version: env!("CARGO_PKG_VERSION"),
            unix_ms: world.clock.unix_ms(),
        };
        let gone = |_| refused("The connection ended during the handshake.");
        write_line(socket, &challenge).await.map_err(gone)?;
        let (line, rest) = read_line(socket).await.map_err(|error| match error {
            LineError::TooLong => refused("The node's hello is too long."),
            LineError::Ended => refused("The connection ended during the handshake."),
        })?;
        if !rest.is_empty() {
            return Err(refused("The node spoke before its hello was answered."));
        }
        let hello: Hello =
            serde_json::from_slice(&line).map_err(|_| refused("The node's hello can't be read."))?;
        self.check(hello, &nonce, world.clock.unix_ms())
    }

    fn check(
        &self,
        hello: Hello,
        nonce: &str,
        now_unix_ms: u64,
    ) -> Result<(TunnelOwner, Instant), Box<Fault>> {
        let Hello { certificate, signature, version } = hello;
        let ours = self.control.deps.auditor.public_key();
        proof::document::verify(&certificate, Some(ours))
            .map_err(|forged| refused(&format!("The node's certificate does not hold: {forged}.")))?;
        let certificate: Certificate = serde_json::from_value(Value::Object(certificate))
            .map_err(|_| refused("The node's certificate is none."))?;
        let known = &self.reporter.known;
        let node = known.node.to_string();
        if certificate.object != "node_certificate"
            || certificate.node_id != node
            || certificate.workspace_id != known.workspace.to_string()
            || certificate.node_key != self.node_key
        {
            return Err(refused("The certificate is of another node than the credential."));
        }
        let left_ms = certificate.expires_unix_ms.saturating_sub(now_unix_ms);
        if left_ms == 0 {
            return Err(refused("The node's certificate has expired."));
        }
        if !self.node_key.verify(tunnel_text(nonce, &node).as_bytes(), &signature) {
            return Err(refused("The challenge is not signed with the key of the certificate."));
        }
        let owner = TunnelOwner {
            node: known.node,
            workspace: known.workspace,
            credential: self.reporter.credential,
            version: version.chars().take(TUNNEL_WORD_CHARS_MAX).collect(),
            protocol: self.protocol,
            core: self.core.unwrap_or(0),
            since_unix_ms: now_unix_ms,
        };
        Ok((owner, Instant::now() + Duration::from_millis(left_ms)))
    }
}

/// Whether the certificate of a hello holds, whoever signed it; `None` where there is no hello.
#[cfg(feature = "fixtures")]
pub fn read_hello(line: &[u8]) -> Option<bool> {
    let Hello { certificate, .. } = serde_json::from_slice(line).ok()?;
    let holds = proof::document::verify(&certificate, None).is_ok();
    Some(holds && serde_json::from_value::<Certificate>(Value::Object(certificate)).is_ok())
}

impl std::fmt::Debug for TunnelEntrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TunnelEntrance({})", self.reporter.known.node)
    }
}

/// Reads the public key of a node.
///
/// # Errors
/// 400 if it is none.
pub fn read_key(text: Option<String>) -> Result<Option<[u8; 32]>, Box<Fault>> {
    let read = |text: String| {
        proof::from_hex::<32>(&text).ok_or_else(|| {
            invalid("public_key", "public_key isn't an Ed25519 key.", "Send its 64 hexadecimal digits.")
        })
    };
    text.map(read).transpose()
}

/// Whether a workspace with so many nodes with tunnels may have another.
fn check_room(open: usize) -> Result<(), Box<Fault>> {
    if open < TUNNELS_OF_WORKSPACE_MAX {
        return Ok(());
    }
    let message = format!("The workspace has {TUNNELS_OF_WORKSPACE_MAX} nodes with tunnels to this gateway.");
    Err(Box::new(
        Fault::new(FaultClass::Conflict, "too_many_tunnels", message)
            .fix("Give some of them an address, or add a gateway."),
    ))
}

/// The newest version that both sides speak.
fn protocol(offered: &str) -> Result<u32, Box<Fault>> {
    let theirs = offered.split(',').filter_map(|word| word.trim().parse::<u32>().ok());
    theirs.filter(|version| TUNNEL_VERSIONS.contains(version)).max().ok_or_else(|| {
        let ours = TUNNEL_VERSIONS.map(|version| version.to_string()).join(", ");
        let offered: String = offered.chars().take(TUNNEL_WORD_CHARS_MAX).collect();
        let message = format!(
            "The node speaks versions \"{offered}\" of the tunnel, and this gateway (Tidegate {}) {ours}.",
            env!("CARGO_PKG_VERSION")
        );
        Box::new(Fault::new(FaultClass::Conflict, "tunnel_version", message).fix(
            "Update the older of the two: gateways speak the tunnels of the nodes one release before theirs.",
        ))
    })
}

fn refused(message: &str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Forbidden, "tunnel_refused", message.to_owned());
    Box::new(
        fault.fix(
            "The node gets another certificate with its next heartbeat; if that does not help, join again.",
        ),
    )
}

async fn write_line<S: AsyncWrite + Unpin>(socket: &mut S, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    socket.write_all(&line).await?;
    socket.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_has_so_many_tunnels_and_no_more() {
        assert!(check_room(TUNNELS_OF_WORKSPACE_MAX - 1).is_ok());
        assert_eq!(check_room(TUNNELS_OF_WORKSPACE_MAX).unwrap_err().code, "too_many_tunnels");
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(protocol("1").unwrap(), 1);
        assert_eq!(protocol("3, 1 , x").unwrap(), 1);
        for unknown in ["", "2", "one", "-1"] {
            let fault = protocol(unknown).unwrap_err();
            assert_eq!(fault.code, "tunnel_version", "{unknown}");
            assert!(fault.message.contains(&format!("\"{unknown}\"")) && fault.message.contains("1."));
        }
    }
}
