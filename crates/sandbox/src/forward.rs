//! Passes connections to a port of the sandbox on to the gateway's proxy, which is a socket in its file system.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use crate::order::PROXY;

/// Returns the address for `HTTPS_PROXY`.
pub(crate) fn start() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for inner in listener.incoming().flatten() {
            // Where no thread can be had the connection is closed, and the program sees that.
            let _ = thread::Builder::new().stack_size(64 * 1024).spawn(move || pass(&inner));
        }
    });
    Ok(format!("http://{address}"))
}

fn pass(inner: &TcpStream) {
    let Ok(outer) = UnixStream::connect(PROXY) else { return };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &outer, &mut &*inner);
            let _ = inner.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*inner, &mut &outer);
        let _ = outer.shutdown(Shutdown::Write);
    });
}
