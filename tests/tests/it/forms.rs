//! Multipart forms over sockets: built, sent byte by byte, and received by a test's own upstream.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::gateway::{Gateway, OWN_SECOND};

pub const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");
pub const MIB: usize = 1024 * 1024;

/// Form parts without the closing boundary.
pub fn parts(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parts {
        let file = match *name {
            "file" => "; filename=\"tide.mp3\"\r\nContent-Type: audio/mpeg",
            "image" | "image[]" | "mask" | "input_reference" => {
                "; filename=\"tide.png\"\r\nContent-Type: image/png"
            }
            _ => "",
        };
        let head = format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body
}

pub fn form(of: &[(&str, &[u8])]) -> Vec<u8> {
    [parts(of), b"--xyz--\r\n".to_vec()].concat()
}

/// Bytes without long repetitions.
pub fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

pub fn address(gateway: &Gateway) -> SocketAddr {
    gateway.origin.strip_prefix("http://").unwrap().parse().unwrap()
}

/// The head of a request on a raw connection.
pub fn head(gateway: &Gateway, path: &str, framing: &str) -> String {
    let (key, (name, value)) = (&gateway.founded.api_key, FORM);
    let fixed = format!("host: h\r\nauthorization: Bearer {key}\r\n{name}: {value}");
    format!("POST {path} HTTP/1.1\r\n{fixed}\r\n{framing}\r\n\r\n")
}

/// The process's peak memory since the previous call, in bytes.
pub fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    kib * 1024
}

/// A test's own upstream, registered as a custom server of the workspace.
pub async fn own_upstream(gateway: &Gateway) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let body = json!({"provider": "slow", "secret": OWN_SECOND, "base_url": base_url});
    gateway.make("/v2/provider-credentials", body).await;
    listener
}

/// The connection on which a form arrives; probes on other connections are answered.
pub async fn listening(listener: &TcpListener, path: &str) -> TcpStream {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = vec![0; 64];
        let read = socket.peek(&mut first).await.unwrap();
        if first[..read].starts_with(format!("POST {path}").as_bytes()) {
            return socket;
        }
        let nothing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = socket.write_all(nothing).await;
    }
}

/// Sends as much of a form as the gateway accepts without a pause; returns how much was sent.
pub async fn fill(client: &mut TcpStream, body: &[u8]) -> usize {
    let mut sent = 0;
    while sent < body.len() {
        let next = &body[sent..body.len().min(sent + 64 * 1024)];
        match tokio::time::timeout(std::time::Duration::from_secs(2), client.write(next)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    sent
}
