//! Ports for programs that can't report the one that they bound, or that come back to it after a stop.

use std::env::temp_dir;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// Below those that the system gives to outgoing connections, any of which could take a port between its choice and its use.
const PORTS: Range<u16> = 12_000..32_000;

/// A loopback port that nobody uses, and that no other test gets before thousands of others. Prefer port 0 where a program can report
/// the port that it bound.
pub fn free_port() -> io::Result<u16> {
    let mut file = last_port()?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut port = text.parse().unwrap_or_else(|_| anywhere());
    for _ in PORTS {
        port = if PORTS.contains(&(port + 1)) { port + 1 } else { PORTS.start };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            file.rewind()?;
            write!(file, "{port}")?;
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every port for tests is in use"))
}

/// A loopback address with such a port.
pub fn free_address() -> io::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

/// The file that all test processes of a user share.
fn last_port() -> io::Result<File> {
    let user = std::env::current_exe()?.metadata()?.uid();
    let path = temp_dir().join(format!("tidegate-last-port-{user}"));
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Where the first one begins, so that two test runs with different temporary folders rarely try the same ports.
fn anywhere() -> u16 {
    let size = u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(std::process::id() % size).unwrap_or_default()
}
