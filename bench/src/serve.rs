//! One thread, one listener, one task per connection: the server of the emulator and of the pass-through
//! proxy.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

const BACKLOG: u32 = 4096;

/// Serves until the process is killed. The port is never shared, so that a server left over from an earlier
/// run makes this one fail instead of taking half of its load.
pub fn on_one_thread<F, Fut>(listen: &str, serve: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let address: SocketAddr = listen.parse().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        loop {
            // No file descriptors left, or the peer has gone: continue with the next connection.
            if let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream));
            }
        }
    })
}
