//! Machines of a test: network namespaces that a bridge joins, and whose cables can be pulled; some are behind routers that
//! translate addresses. Needs root and `ip`, and `nft` for those routers.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::process::Launch;

/// Networks of this process.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

/// A bridge, and the machines on it. Dropping it removes all of them.
pub struct Network {
    name: String,
    subnet: [u8; 3],
    machines: Vec<String>,
}

/// Which ports a router gives to what leaves through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortMapping {
    /// The machine's own, as most do: two machines behind such routers reach each other once both have sent.
    Kept,
    /// Others for each destination, so that nobody can tell which: only a relay helps.
    Random,
}

/// A machine: a network namespace with one cable.
#[derive(Debug, Clone)]
pub struct Machine {
    namespace: String,
    /// The cable's end at the bridge.
    cable: String,
    number: u8,
    pub address: Ipv4Addr,
}

impl Network {
    /// # Errors
    /// This kernel or this user can't make a bridge: says what `ip` said.
    pub fn new() -> io::Result<Self> {
        let (pid, number) = (std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let name = format!("tg{pid}n{number}");
        let [.., low] = pid.to_be_bytes();
        let high = u8::try_from(pid >> 8 & 0x3f).unwrap_or_default();
        // The second network of a test has another block: the next process has the next number in this one.
        let subnet = match number {
            1 => [100, 64 | high, low],
            _ => [10, 128 | high, low.wrapping_add(number)],
        };
        let network = Self { name, subnet, machines: Vec::new() };
        let own = format!("{}/24", network.host(254));
        ip(&["link", "add", &network.name, "type", "bridge", "forward_delay", "0"])?;
        ip(&["addr", "add", &own, "dev", &network.name])?;
        ip(&["link", "set", &network.name, "up"])?;
        Ok(network)
    }

    fn host(&self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, number)
    }

    /// The test's own address on the bridge.
    #[must_use]
    pub fn own_address(&self) -> Ipv4Addr {
        self.host(254)
    }

    /// Adds a machine with a cable to the bridge.
    ///
    /// # Errors
    /// Says what `ip` said.
    pub fn machine(&mut self) -> io::Result<Machine> {
        let number = u8::try_from(self.machines.len() + 1).unwrap_or(u8::MAX);
        self.at_bridge(format!("{}m{number}", self.name), number)
    }

    /// Adds a namespace with a cable to the bridge.
    fn at_bridge(&mut self, namespace: String, number: u8) -> io::Result<Machine> {
        let cable = format!("{}c{number}", self.name);
        let machine = Machine { namespace, cable, number, address: self.host(number) };
        ip(&["netns", "add", &machine.namespace])?;
        self.machines.push(machine.namespace.clone());
        let (cable, address) = (&machine.cable, format!("{}/24", machine.address));
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", &machine.namespace])?;
        ip(&["link", "set", cable, "master", &self.name, "up"])?;
        machine.ip(&["addr", "add", &address, "dev", "eth0"])?;
        machine.ip(&["link", "set", "eth0", "up"])?;
        machine.ip(&["link", "set", "lo", "up"])?;
        Ok(machine)
    }

    /// Adds a machine behind its own NAT router, which lets in only answers to what the machine has sent. Its address is outside
    /// the bridge's subnet.
    ///
    /// # Errors
    /// Says what `ip` or `nft` said.
    pub fn machine_behind_router(&mut self, mapping: PortMapping) -> io::Result<Machine> {
        let number = u8::try_from(self.machines.len() + 1).unwrap_or(u8::MAX);
        let router = self.at_bridge(format!("{}r{number}", self.name), number)?;
        let inside = |end: u8| Ipv4Addr::new(192, 168, number, end);
        let namespace = format!("{}m{number}", self.name);
        let machine = Machine { namespace, cable: router.cable.clone(), number, address: inside(2) };
        ip(&["netns", "add", &machine.namespace])?;
        self.machines.push(machine.namespace.clone());
        router.ip(&[
            "link",
            "add",
            "eth1",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &machine.namespace,
        ])?;
        router.ip(&["addr", "add", &format!("{}/24", inside(1)), "dev", "eth1"])?;
        router.ip(&["link", "set", "eth1", "up"])?;
        machine.ip(&["addr", "add", &format!("{}/24", inside(2)), "dev", "eth0"])?;
        machine.ip(&["link", "set", "eth0", "up"])?;
        machine.ip(&["link", "set", "lo", "up"])?;
        machine.ip(&["route", "add", "default", "via", &inside(1).to_string()])?;
        let router = router.namespace.as_str();
        ip(&["netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        ip(&["netns", "exec", router, "nft", &rules(mapping)])?;
        Ok(machine)
    }

    /// Gives a machine a cable to the test alone, which stays when the other is pulled. No other machine reaches the address that it
    /// returns: the machine's own on that cable.
    ///
    /// # Errors
    /// Says what `ip` said.
    pub fn own_cable(&self, machine: &Machine) -> io::Result<Ipv4Addr> {
        let number = machine.number;
        let [a, b, c] = self.subnet;
        let host = |end: u8| Ipv4Addr::new(a, b ^ 64, c, number * 4 + end);
        let (cable, near, far) = (format!("{}d{number}", self.name), host(1), host(2));
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth1", "netns", &machine.namespace])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", &cable])?;
        ip(&["link", "set", &cable, "up"])?;
        machine.ip(&["addr", "add", &format!("{far}/30"), "dev", "eth1"])?;
        machine.ip(&["link", "set", "eth1", "up"])?;
        Ok(far)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Nothing can be done about what stays; a namespace takes its end of the cable along.
        for machine in &self.machines {
            let _ = ip(&["netns", "del", machine]);
        }
        let _ = ip(&["link", "del", &self.name]);
    }
}

impl Machine {
    /// Starts a program on this machine.
    #[must_use]
    pub fn launch(&self, program: &Path) -> Launch {
        Launch::new("ip").args(["netns", "exec", &self.namespace]).arg(program.display().to_string())
    }

    /// # Errors
    /// Says what `ip` said.
    pub fn pull_cable(&self) -> io::Result<()> {
        ip(&["link", "set", &self.cable, "down"])
    }

    /// # Errors
    /// Says what `ip` said.
    pub fn plug_cable(&self) -> io::Result<()> {
        ip(&["link", "set", &self.cable, "up"])
    }

    fn ip(&self, arguments: &[&str]) -> io::Result<()> {
        ip(&[&["-n", self.namespace.as_str()], arguments].concat())
    }
}

/// What has a router translate what leaves, and drop what nobody behind it has begun. It is dropped before the kernel remembers it: what
/// the machine sends there later would get another port.
fn rules(mapping: PortMapping) -> String {
    let random = if mapping == PortMapping::Random { " random,fully-random" } else { "" };
    format!(
        "table ip router {{
            chain leaving {{ type nat hook postrouting priority 100; oifname \"eth0\" masquerade{random}; }}
            chain own {{ type filter hook input priority 0; iifname \"eth0\" ct state new drop; }}
            chain passing {{ type filter hook forward priority 0; iifname \"eth0\" ct state new drop; }}
        }}"
    )
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let done = Command::new("ip").args(arguments).output();
    let done = done.map_err(|error| io::Error::new(error.kind(), format!("`ip` can't be run: {error}")))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let root = if said.contains("ermi") { ". Network namespaces need root" } else { "" };
    Err(io::Error::other(format!("`ip {}` says: {}{root}", arguments.join(" "), said.trim())))
}
