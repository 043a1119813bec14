//! Closes a connection in a way that lets the client read what it was sent.

use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::LINGER_TIME_MAX;

pub(crate) const LINGER_READ_BYTES: usize = 8 * 1024;

pub(crate) async fn linger(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if socket.shutdown().await.is_err() {
        return;
    }
    // Boxed: inline, it would be a part of every connection's future.
    let away = Box::pin(async {
        let mut scratch = vec![0; LINGER_READ_BYTES];
        while matches!(socket.read(&mut scratch).await, Ok(count) if count > 0) {}
    });
    let _ = tokio::time::timeout(LINGER_TIME_MAX, pin!(away)).await;
}
