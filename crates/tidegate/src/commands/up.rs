//! `tidegate up`: the gateway, its console and a demo node on this machine, from one command.

mod demo;
mod model;

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use cli::commands::open::browse;
use cli::output::{self, Failure};

use super::greeting;
use super::serve::{self, Companion, Opened, SettingFlags};
use crate::settings::{Layers, Origin, Settings};
use demo::DemoNode;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    settings: SettingFlags,
    /// Doesn't start the demo node; models come only from your provider keys and nodes.
    #[arg(long)]
    no_demo: bool,
    /// Address of the demo node; by default 127.0.0.1:8080, or another port if that is in use.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_demo")]
    node_listen: Option<SocketAddr>,
    /// What the demo node runs, as soon as the file is there: `make run` builds the engine while the gateway serves.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "no_demo", hide = true)]
    node_program: Option<PathBuf>,
    /// Doesn't open a browser.
    #[arg(long)]
    no_open: bool,
}

/// The demo node's port where nothing else has it.
const NODE_PORT: u16 = 8080;

pub fn run(options: &Options) -> Result<(), Failure> {
    let layers = layers(options.settings.clone())?;
    let mut settings =
        Settings::check(&layers).map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    if layers.origin("log") == Origin::Default {
        "warn".clone_into(&mut settings.log);
    }
    // Before an installation is created: its keys are shown once it serves, and would be lost.
    check_free(settings.listen, "--listen")?;
    let node = if options.no_demo { None } else { Some(node_address(options.node_listen)?) };
    if let Some(address) = node {
        let network: egress::IpNet = address.ip().to_string().parse().map_err(anyhow::Error::msg)?;
        settings.node_networks.push(network);
    }
    let program = options.node_program.clone();
    let demo = node.map(|address| DemoNode::new(address, settings.data_dir.join("demo-node"), program));
    let opens = !options.no_open && std::io::stdout().is_terminal();
    serve::start_with(&settings, &mut Everything { demo, opens })
}

/// The settings, with the data directory of this user where none is named.
fn layers(mut flags: SettingFlags) -> Result<Layers, Failure> {
    if flags.layers()?.origin("data_dir") == Origin::Default {
        flags.data_dir = Some(user_data_dir()?);
    }
    flags.layers()
}

/// Where programs of this user keep their data, by the XDG base directories.
fn user_data_dir() -> Result<PathBuf, Failure> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("tidegate")).ok_or_else(|| {
        Failure::new(
            output::USAGE,
            "Neither XDG_DATA_HOME nor HOME is set: name a directory with --data-dir.",
        )
    })
}

fn check_free(address: SocketAddr, option: &str) -> Result<(), Failure> {
    TcpListener::bind(address).map(drop).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "{address} is in use by another process. Stop it (`ss -ltnp 'sport = :{}'` shows which), or choose another \
                 address with {option}.",
                address.port()
            ),
            _ => format!("Can't listen on {address}: {error}. Choose another address with {option}."),
        };
        Failure::new(output::FAILED, message)
    })
}

/// Where the demo node listens: as requested, or on any free port of the loopback address.
fn node_address(requested: Option<SocketAddr>) -> Result<SocketAddr, Failure> {
    let usual = SocketAddr::from(([127, 0, 0, 1], NODE_PORT));
    let address = match requested {
        Some(address) if !address.ip().is_loopback() => {
            let message = format!("--node-listen is {address}, which is not a loopback address.");
            return Err(Failure::new(output::USAGE, message));
        }
        Some(address) => address,
        None if TcpListener::bind(usual).is_ok() => usual,
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    if address.port() == 0 {
        return Ok(TcpListener::bind(address)?.local_addr()?);
    }
    check_free(address, "--node-listen").map(|()| address)
}

/// What runs beside the gateway.
struct Everything {
    demo: Option<DemoNode>,
    opens: bool,
}

impl Companion for Everything {
    async fn run(&mut self, opened: Opened<'_>) -> anyhow::Error {
        greeting::welcome(&opened);
        if self.demo.as_ref().is_some_and(DemoNode::is_awaited) {
            println!();
            println!(
                "The gateway and its console serve. The demo node, with a small model, starts when it is built."
            );
            self.open(&opened);
        }
        let Some(demo) = &mut self.demo else {
            if opened.founded.is_some() {
                println!();
                greeting::suggest_models(&opened);
            }
            return self.stay(&opened).await;
        };
        if let Err(error) = demo.start(opened.control).await {
            return error;
        }
        suggest(&opened, demo);
        self.stay(&opened).await
    }

    async fn end(&mut self) {
        if let Some(demo) = &mut self.demo {
            demo.end().await;
        }
    }
}

impl Everything {
    /// Opens the console in a browser, once.
    fn open(&mut self, opened: &Opened<'_>) {
        if std::mem::take(&mut self.opens) && !browse(&opened.console.url) {
            eprintln!("No browser could be started here: open the console's address yourself.");
        }
    }

    /// Runs until the demo node ends, which it should not.
    async fn stay(&mut self, opened: &Opened<'_>) -> anyhow::Error {
        println!();
        println!("Ctrl-C stops everything.");
        self.open(opened);
        match &mut self.demo {
            Some(demo) => demo.ended().await,
            None => std::future::pending().await,
        }
    }
}

/// A request that works, and what to do next.
fn suggest(opened: &Opened<'_>, demo: &DemoNode) {
    let model = demo.model();
    println!();
    println!("  Model      {model} on the demo node {}: {}", demo.address(), demo.remark());
    println!();
    greeting::suggest_request(opened, model);
    println!("Add a provider, with {}:", greeting::variables(opened));
    println!("  tidegate credential add openai");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_port_is_named_with_the_option_that_changes_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = check_free(address, "--listen").unwrap_err().message;
        assert!(
            refused.contains(&format!("{address} is in use")) && refused.contains("--listen"),
            "{refused}"
        );
        assert!(node_address(Some(address)).unwrap_err().message.contains("--node-listen"));
    }

    #[test]
    fn the_demo_node_listens_on_loopback_alone() {
        assert!(node_address(Some("0.0.0.0:0".parse().unwrap())).is_err());
        assert_ne!(node_address(Some("127.0.0.1:0".parse().unwrap())).unwrap().port(), 0);
    }
}
