//! Raw sockets, for requests that no well-behaved client would send.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A TCP connection on which a test writes and reads raw bytes.
pub struct RawConnection {
    socket: TcpStream,
    within: Duration,
}

impl RawConnection {
    /// Connects; every later operation must complete `within` this time.
    pub async fn open(address: SocketAddr, within: Duration) -> io::Result<Self> {
        let socket = with_timeout(within, TcpStream::connect(address)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, within })
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        with_timeout(self.within, self.socket.write_all(bytes.as_ref())).await
    }

    /// Shuts down the write half and keeps reading.
    pub async fn finish_writing(&mut self) -> io::Result<()> {
        with_timeout(self.within, self.socket.shutdown()).await
    }

    /// The next bytes that arrive; empty at the end of the stream.
    pub async fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let read = with_timeout(self.within, self.socket.read(&mut buffer)).await?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// Reads until the received bytes satisfy a condition, or the peer closes.
    pub async fn read_until(&mut self, mut enough: impl FnMut(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while !enough(&all) {
            let more = self.read_some().await?;
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        Ok(all)
    }

    /// Everything until the peer closes; a reset after some bytes counts as an end.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.read_some().await {
                Ok(more) if more.is_empty() => return Ok(all),
                Ok(more) => all.extend(more),
                Err(error) if error.kind() == ErrorKind::ConnectionReset && !all.is_empty() => {
                    return Ok(all);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Aborts the connection with RST.
    pub fn reset(self) -> io::Result<()> {
        self.socket.set_zero_linger()
    }
}

/// Sends bytes on a new connection and returns everything received until the peer closes.
pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>, within: Duration) -> io::Result<Vec<u8>> {
    let mut connection = RawConnection::open(address, within).await?;
    connection.write(bytes).await?;
    connection.read_to_end().await
}

/// The status code of an HTTP/1 response head.
pub fn status_of(response: &[u8]) -> Option<u16> {
    let line = response.split(|byte| *byte == b'\r').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

async fn with_timeout<T>(within: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(within, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "the peer did not answer in time")),
    }
}
