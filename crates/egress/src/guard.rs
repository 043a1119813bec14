//! The address guard: which targets may be reached. The URL is checked when saved, and
//! every resolved address when used.

use std::net::{IpAddr, SocketAddr};

use domain::{Fault, FaultClass};
use http::Uri;

use crate::address::{AddressKind, kind};
use crate::error::{EgressError, EgressErrorKind};
use crate::limits::{ADDRESSES_MAX, URL_BYTES_MAX};
use crate::settings::{EgressSettings, TargetKind};
use crate::tunnel::is_tunnel_url;

/// The ports that webhooks may use: a tenant's URL must not reach other services.
const WEBHOOK_PORTS: [u16; 2] = [443, 8443];

/// Where a request goes, read from its URI and checked as far as the text allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub https: bool,
    /// The name, or the address without brackets.
    pub host: String,
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// Why it is refused, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub message: String,
    pub fix: String,
}

impl Refusal {
    fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}

impl From<Refusal> for EgressError {
    fn from(refusal: Refusal) -> Self {
        Self::new(EgressErrorKind::Guard, format!("{} {}", refusal.message, refusal.fix))
    }
}

/// Whether a base URL may be saved. Names are checked again, by their addresses,
/// whenever a connection is opened.
///
/// # Errors
/// A 400 that says which rule refuses it and which setting would allow it.
pub fn check_base_url(url: &str, settings: &EgressSettings, reach: TargetKind) -> Result<(), Box<Fault>> {
    check_text(url, settings, reach).map_err(|refusal| {
        Box::new(
            Fault::new(FaultClass::BadRequest, "base_url_refused", refusal.message)
                .fix(refusal.fix)
                .param("base_url"),
        )
    })
}

/// Whether a webhook URL may be saved. As for base URLs, and with the ports of web servers only.
///
/// # Errors
/// A 400 that says which rule refuses it and which setting would allow it.
pub fn check_webhook_url(url: &str, settings: &EgressSettings) -> Result<(), Box<Fault>> {
    check_text(url, settings, TargetKind::Webhook).map_err(|refusal| {
        let fault = Fault::new(FaultClass::BadRequest, "webhook_url_refused", refusal.message);
        Box::new(fault.fix(refusal.fix).param("url"))
    })
}

fn check_text(url: &str, settings: &EgressSettings, reach: TargetKind) -> Result<(), Refusal> {
    let fix = "Write it as https://host/path, with nothing after the path.";
    if url.len() > URL_BYTES_MAX {
        return Err(Refusal::new(format!("The URL is longer than {URL_BYTES_MAX} bytes."), fix));
    }
    if url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'\\') {
        return Err(Refusal::new("The URL holds a space, a control or a non-ASCII character.", fix));
    }
    if url.contains(['#', '?']) {
        return Err(Refusal::new("The URL holds a query or a fragment.", fix));
    }
    // It leads to a tunnel that a node of the same workspace has opened, and to no address.
    if reach == TargetKind::Node && is_tunnel_url(url) {
        return Ok(());
    }
    let uri: Uri = url.parse().map_err(|_| Refusal::new("This is not a URL.", fix))?;
    let target = read_target(&uri)?;
    check_port(&target, settings, reach)?;
    match target.address {
        Some(address) => check_address(address, &target, settings, reach),
        None => check_name(&target, settings, reach),
    }
}

/// Reads scheme, host and port of a request's URI; refuses every spelling of a host that
/// two parsers may read differently.
pub(crate) fn read_target(uri: &Uri) -> Result<Target, Refusal> {
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        other => {
            let scheme = other.unwrap_or("no");
            return Err(Refusal::new(
                format!("The URL has {scheme} scheme, and only https is spoken."),
                "Write it as https://host/path.",
            ));
        }
    };
    let fix = "Write it as https://host/path.";
    let authority = uri.authority().ok_or_else(|| Refusal::new("The URL names no host.", fix))?;
    if authority.as_str().contains('@') {
        return Err(Refusal::new(
            "The URL holds a user name or password.",
            "Give the secret in its own field.",
        ));
    }
    let port = match (authority.port(), authority.as_str().ends_with(':')) {
        (None, false) => {
            if https {
                443
            } else {
                80
            }
        }
        (Some(port), _) if port.as_u16() != 0 => port.as_u16(),
        _ => return Err(Refusal::new("The URL's port is not a port.", fix)),
    };
    let (host, address) = read_host(authority.host())?;
    Ok(Target { https, host, address, port })
}

fn read_host(text: &str) -> Result<(String, Option<IpAddr>), Refusal> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner.parse().map_err(|_| {
            Refusal::new(format!("\"{text}\" is not an IPv6 address."), "Write it as [2001:db8::1].")
        })?;
        return Ok((inner.to_ascii_lowercase(), Some(IpAddr::V6(address))));
    }
    if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
        return Ok((text.to_owned(), Some(IpAddr::V4(address))));
    }
    let name_fix =
        "Write the host as a DNS name, without a dot at its end, or as an address in its usual form.";
    let refuse = |why: &str| Err(Refusal::new(format!("The host \"{text}\" {why}."), name_fix));
    if text.is_empty() || text.len() > 253 {
        return refuse("isn't a DNS name");
    }
    if text.ends_with('.') {
        return refuse("ends with a dot");
    }
    let proper = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !text.split('.').all(proper) {
        return refuse("isn't a DNS name");
    }
    // Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses. No top-level domain begins with a digit.
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return refuse("is an address in an unusual form");
    }
    Ok((text.to_ascii_lowercase(), None))
}

fn check_port(target: &Target, settings: &EgressSettings, reach: TargetKind) -> Result<(), Refusal> {
    if reach != TargetKind::Webhook || settings.allow_private || WEBHOOK_PORTS.contains(&target.port) {
        return Ok(());
    }
    let fix = "Use https on port 443 or 8443, or let the operator set TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1.";
    Err(Refusal::new(format!("Events are not sent to port {}.", target.port), fix))
}

/// Checks a name whose addresses are not known yet, so that what can be refused
/// already is refused when it is saved.
fn check_name(target: &Target, settings: &EgressSettings, reach: TargetKind) -> Result<(), Refusal> {
    let host = target.host.as_str();
    if is_metadata_name(host) && reach == TargetKind::Machine {
        return Ok(());
    }
    if is_metadata_name(host) {
        return Err(never(host, AddressKind::Metadata.as_str()));
    }
    let inside = settings.allow_private
        || reach == TargetKind::Machine
        || (reach == TargetKind::Node && !settings.node_networks.is_empty());
    if host == "localhost" || host.ends_with(".localhost") {
        return if inside { Ok(()) } else { Err(needs_setting(host, AddressKind::Loopback.as_str(), reach)) };
    }
    if !target.https && !inside {
        return Err(plain_http(host, reach));
    }
    Ok(())
}

fn is_metadata_name(host: &str) -> bool {
    matches!(host, "metadata" | "metadata.google.internal" | "metadata.goog" | "instance-data")
        || host.ends_with(".metadata.google.internal")
        || host == "instance-data.ec2.internal"
}

/// The rule for a connection: every address of the target must pass.
pub(crate) fn check_address(
    address: IpAddr,
    target: &Target,
    settings: &EgressSettings,
    reach: TargetKind,
) -> Result<(), Refusal> {
    let (name, is_named) = match target.address {
        Some(_) => (address.to_string(), false),
        None => (target.host.clone(), true),
    };
    // A client that names a host must not learn what names resolve to internally.
    let words = |kind: AddressKind| if is_named { "not a public address" } else { kind.as_str() };
    let listed = reach == TargetKind::Node && settings.node_networks.iter().any(|net| net.contains(address));
    match kind(address) {
        AddressKind::Public if reach == TargetKind::Machine && !target.https => Err(plain_http(&name, reach)),
        _ if reach == TargetKind::Machine => Ok(()),
        AddressKind::Public if target.https || listed => Ok(()),
        AddressKind::Public => Err(plain_http(&name, reach)),
        // A document's URL comes with a request, so the operator's permission for base
        // URLs covers only the loopback.
        AddressKind::Private if reach == TargetKind::Document => Err(Refusal::new(
            format!("{name} is {}.", words(AddressKind::Private)),
            "Documents are fetched from public https addresses; send it as a data: URI instead.",
        )),
        AddressKind::Loopback | AddressKind::Private if settings.allow_private || listed => Ok(()),
        inside @ (AddressKind::Loopback | AddressKind::Private) => {
            Err(needs_setting(&name, words(inside), reach))
        }
        other => Err(never(&name, words(other))),
    }
}

fn never(name: &str, words: &str) -> Refusal {
    Refusal::new(
        format!("{name} is {words}."),
        "Such addresses are never reached, whatever TIDEGATE_ALLOW_PRIVATE_UPSTREAMS says; use a public https address.",
    )
}

fn needs_setting(name: &str, words: &str, reach: TargetKind) -> Refusal {
    let fix = if reach == TargetKind::Node {
        "The operator must list its network in TIDEGATE_NODE_NETWORKS, or set TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1."
    } else {
        "Use a public https address, or let the operator set TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1."
    };
    Refusal::new(format!("{name} is {words}."), fix)
}

fn plain_http(name: &str, reach: TargetKind) -> Refusal {
    let fix = match reach {
        TargetKind::Node => {
            "Use https, or let the operator list its network in TIDEGATE_NODE_NETWORKS or set TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1."
        }
        _ => {
            "Use https; plain http is for loopback and private addresses where the operator set TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1."
        }
    };
    Refusal::new(format!("{name} would be reached over plain http."), fix)
}

/// Resolves once and checks every address; the connection must go to one of those returned.
pub(crate) async fn resolve(
    target: &Target,
    settings: &EgressSettings,
    reach: TargetKind,
) -> Result<Vec<SocketAddr>, EgressError> {
    check_port(target, settings, reach)?;
    let found = match target.address {
        Some(address) => vec![address],
        None => {
            check_name(target, settings, reach)?;
            settings.resolver.resolve(&target.host).await.map_err(|error| {
                EgressError::new(EgressErrorKind::Dns, format!("{} has no address: {error}.", target.host))
            })?
        }
    };
    if found.is_empty() || found.len() > ADDRESSES_MAX {
        let text = format!("{} has {} addresses.", target.host, found.len());
        return Err(EgressError::new(EgressErrorKind::Dns, text));
    }
    for address in &found {
        check_address(*address, target, settings, reach)?;
    }
    Ok(found.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_a_url_is_not_told_what_its_name_stands_for() {
        let target = Target { https: true, host: "inside.example".into(), address: None, port: 443 };
        let settings = EgressSettings::default();
        for inside in ["10.1.2.3", "127.0.0.1", "169.254.169.254", "fd00::7"] {
            let address: IpAddr = inside.parse().unwrap();
            let message = |reach| {
                EgressError::from(check_address(address, &target, &settings, reach).unwrap_err()).message
            };
            for reach in [TargetKind::Document, TargetKind::Provider, TargetKind::Node] {
                let message = message(reach);
                assert!(
                    !message.contains(inside) && message.contains("inside.example is not a public"),
                    "{message}"
                );
            }
        }
    }
}
