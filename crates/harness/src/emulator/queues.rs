//! Whether the other end of a connection on this machine has read all that was sent to it, by the queues of both sockets in
//! `/proc/net/tcp`. A reset throws away what the other end has not read yet, and how soon that reads is up to the machine.

use std::net::{SocketAddr, SocketAddrV4};

/// Our end of a connection, and the other one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    own: SocketAddrV4,
    other: SocketAddrV4,
}

impl Ends {
    /// `None` for anything but IPv4.
    pub(crate) fn of(own: SocketAddr, other: SocketAddr) -> Option<Self> {
        match (own, other) {
            (SocketAddr::V4(own), SocketAddr::V4(other)) => Some(Self { own, other }),
            _ => None,
        }
    }

    /// Whether nothing waits in either direction's way: neither to be sent, nor to be read.
    pub(crate) fn are_empty(self) -> bool {
        let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return true };
        is_empty(&table, (self.own, self.other))
    }
}

fn is_empty(table: &str, (own, other): (SocketAddrV4, SocketAddrV4)) -> bool {
    let queue = |local: SocketAddrV4, remote: SocketAddrV4, is_read: bool| {
        let (local, remote) = (written(local), written(remote));
        table.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let is_it = fields.next()? == local && fields.next()? == remote;
            let (sent, read) = fields.nth(1)?.split_once(':')?;
            let queue = if is_read { read } else { sent };
            is_it.then(|| u64::from_str_radix(queue, 16).ok()).flatten()
        })
    };
    // A socket that is gone keeps nobody waiting.
    queue(own, other, false).unwrap_or(0) == 0 && queue(other, own, true).unwrap_or(0) == 0
}

/// An address as the kernel writes it: the bytes of the number in the order of this machine.
fn written(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_was_not_read_yet_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let ends = Ends::of(server.local_addr().unwrap(), server.peer_addr().unwrap()).unwrap();
        assert!(ends.are_empty());
        server.write_all(b"hello").unwrap();
        assert!(!ends.are_empty());
        client.read_exact(&mut [0; 4]).unwrap();
        assert!(!ends.are_empty());
        client.read_exact(&mut [0; 1]).unwrap();
        assert!(ends.are_empty());
        drop(client);
        assert!(ends.are_empty());
    }
}
