//! A relay of peers: the program `iroh-relay`, which is not a part of Tidegate, under a certificate authority that nobody knows yet.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::emulator::tls;
use crate::process::{Launch, Process};

/// Where a relay listens. Nodes ask it on the UDP port how others see their addresses, and know the port without being told.
const HTTPS: u16 = 8443;
const QUIC: u16 = 7842;
const HTTP: u16 = 8081;

/// A running relay.
pub struct RelayServer {
    pub url: String,
    /// The file of the authority that nodes must trust.
    pub ca_file: PathBuf,
    pub process: Process,
    _directory: tempfile::TempDir,
}

impl RelayServer {
    /// Starts the program at an address, for these keys alone.
    ///
    /// # Errors
    /// The certificates can't be made, or the program does not start.
    pub fn start(program: &Path, address: Ipv4Addr, keys: &[&str]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).map(|()| path)
        };
        let (ca, certificate, key) = tls::pems(vec![address.to_string()])?;
        let (ca_file, certificate) = (file("ca.pem", ca)?, file("relay.crt", certificate)?);
        let (key, keys) = (file("relay.key", key)?, keys.join("\", \""));
        let configuration = format!(
            "enable_metrics = false
enable_quic_addr_discovery = true
http_bind_addr = \"{address}:{HTTP}\"
access.allowlist = [\"{keys}\"]
[tls]
cert_mode = \"Manual\"
manual_cert_path = \"{}\"
manual_key_path = \"{}\"
https_bind_addr = \"{address}:{HTTPS}\"
quic_bind_addr = \"{address}:{QUIC}\"
",
            certificate.display(),
            key.display()
        );
        let configuration = file("relay.toml", configuration)?;
        let launch = Launch::new(program).args(["--config-path", &configuration.display().to_string()]);
        let process = launch.start()?;
        Ok(Self { url: format!("https://{address}:{HTTPS}"), ca_file, process, _directory: directory })
    }
}
