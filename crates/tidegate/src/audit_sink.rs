//! Places outside the installation that every entry of the audit is sent to: a directory, a bucket, an https address,
//! or a syslog server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use domain::hosting::StoragePlace;
use domain::ports::PortFuture;
use proof::Digest;
use reconcilers::{AuditDestination, Outbound, SentEntry};
use serde::Serialize;
use world::World;

use crate::audit_storage::{IntoStorage, StorageSettings};
use crate::limits::SYSLOG_TIME_MAX;
use crate::outside;

/// Facility 13, log audit, with severity 5, notice (RFC 5424).
const SYSLOG_PRIORITY: u32 = 13 * 8 + 5;
const SYSLOG_SCHEME: &str = "syslog://";

/// Where entries go, as it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkSetting {
    Nowhere,
    Directory(PathBuf),
    Address(String),
    /// `HOST:PORT`.
    Syslog(String),
    /// `s3://BUCKET/FOLDER`.
    Storage(String),
}

/// What a place is reached with.
pub struct Reach<'a> {
    pub egress: &'a egress::EgressSettings,
    pub outbound: Arc<dyn Outbound>,
    pub world: &'a World,
    /// The name of this gateway.
    pub gateway: &'a str,
}

impl SinkSetting {
    /// `None` for what is none of them.
    pub fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Nowhere);
        }
        if let Some(server) = text.strip_prefix(SYSLOG_SCHEME) {
            let (host, port) = server.rsplit_once(':')?;
            let is_server = !host.is_empty() && !server.contains(['/', '@']) && port.parse::<u16>().is_ok();
            return is_server.then(|| Self::Syslog(server.to_owned()));
        }
        match text.split_once("://") {
            Some(("s3", _)) => StoragePlace::read(text).map(|_| Self::Storage(text.to_owned())),
            Some(("https" | "http", _)) => Some(Self::Address(text.to_owned())),
            Some(_) => None,
            None => Some(Self::Directory(PathBuf::from(text))),
        }
    }

    /// # Errors
    /// The address is not allowed, or there are no keys for it.
    pub fn open(
        &self,
        reach: Reach<'_>,
        storage: &StorageSettings,
    ) -> anyhow::Result<Option<Arc<dyn AuditDestination>>> {
        let Reach { egress, outbound, world, gateway } = reach;
        let gateway = gateway.to_owned();
        let destination: Arc<dyn AuditDestination> = match self.clone() {
            Self::Nowhere => return Ok(None),
            Self::Directory(directory) => Arc::new(IntoDirectory { directory, gateway }),
            Self::Address(url) => {
                egress::check_webhook_url(&url, egress)
                    .map_err(|fault| anyhow::anyhow!("audit.sink: {}", fault.message))?;
                Arc::new(ToAddress { url, outbound })
            }
            Self::Syslog(server) => Arc::new(ToSyslog { server, gateway }),
            Self::Storage(uri) => {
                let bucket = IntoStorage { uri, settings: storage.clone(), outbound, world: world.clone() };
                bucket.check(egress)?;
                Arc::new(bucket)
            }
        };
        Ok(Some(destination))
    }
}

fn id_of(kind: &str, place: &str) -> Digest {
    Digest::of(&[kind.as_bytes(), b"\n", place.as_bytes()])
}

/// Append-only files, one for each gateway and day.
struct IntoDirectory {
    directory: PathBuf,
    gateway: String,
}

impl AuditDestination for IntoDirectory {
    fn id(&self) -> Digest {
        id_of("directory", &self.directory.display().to_string())
    }

    fn take(&self, entries: Vec<SentEntry>) -> PortFuture<'_, Result<(), String>> {
        let (directory, gateway) = (self.directory.clone(), self.gateway.clone());
        Box::pin(outside::blocking(move || {
            // A file holds what was done on its day, also where that is sent later.
            let day = |entry: &SentEntry| outside::day(entry.entry().unix_ms);
            for of_day in entries.chunk_by(|one, next| day(one).ok() == day(next).ok()) {
                let Some(first) = of_day.first() else { continue };
                outside::append(&directory, &format!("audit-{}-{gateway}.jsonl", day(first)?), of_day)?;
            }
            Ok(())
        }))
    }
}

/// The request body for an address.
#[derive(Serialize)]
struct Sent<'e> {
    object: &'static str,
    entries: &'e [SentEntry],
}

struct ToAddress {
    url: String,
    outbound: Arc<dyn Outbound>,
}

impl AuditDestination for ToAddress {
    fn id(&self) -> Digest {
        id_of("address", &self.url)
    }

    fn take(&self, entries: Vec<SentEntry>) -> PortFuture<'_, Result<(), String>> {
        Box::pin(async move {
            outside::post(&*self.outbound, &self.url, &Sent { object: "audit_entries", entries: &entries })
                .await
        })
    }
}

/// A syslog server over TCP: RFC 5424 messages, each with its length before it (RFC 6587).
struct ToSyslog {
    server: String,
    gateway: String,
}

impl AuditDestination for ToSyslog {
    fn id(&self) -> Digest {
        id_of("syslog", &self.server)
    }

    fn take(&self, entries: Vec<SentEntry>) -> PortFuture<'_, Result<(), String>> {
        let (server, gateway) = (self.server.clone(), self.gateway.clone());
        Box::pin(outside::blocking(move || {
            let mut messages = Vec::new();
            for entry in &entries {
                let message = message(entry, &gateway)?;
                messages.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
            }
            deliver(&server, &messages).with_context(|| format!("{SYSLOG_SCHEME}{server}"))
        }))
    }
}

fn message(entry: &SentEntry, gateway: &str) -> anyhow::Result<String> {
    let unix_ms = entry.entry().unix_ms;
    let at = reconcilers::moment::write(unix_ms);
    let (action, text) = (&entry.entry().action, serde_json::to_string(entry)?);
    Ok(format!("<{SYSLOG_PRIORITY}>1 {at} {gateway} tidegate {} {action} - {text}", std::process::id()))
}

/// Syslog has no answer. The server closes once it has read to the end, so that closing is one.
fn deliver(server: &str, messages: &[u8]) -> anyhow::Result<()> {
    let address = server.to_socket_addrs()?.next().context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, SYSLOG_TIME_MAX)?;
    stream.set_write_timeout(Some(SYSLOG_TIME_MAX))?;
    stream.set_read_timeout(Some(SYSLOG_TIME_MAX))?;
    stream.write_all(messages)?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = [0; 64];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("it did not close the connection within {SYSLOG_TIME_MAX:?}")
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_directory_a_bucket_an_address_or_a_server() {
        for (text, setting) in [
            ("", Some(SinkSetting::Nowhere)),
            ("/mnt/audit", Some(SinkSetting::Directory("/mnt/audit".into()))),
            ("https://siem.example/in", Some(SinkSetting::Address("https://siem.example/in".into()))),
            ("syslog://logs:601", Some(SinkSetting::Syslog("logs:601".into()))),
            ("syslog://[::1]:601", Some(SinkSetting::Syslog("[::1]:601".into()))),
            ("syslog://logs", None),
            ("syslog://logs:x", None),
            ("syslog://me@logs:601", None),
            ("s3://my-bucket/audit", Some(SinkSetting::Storage("s3://my-bucket/audit".into()))),
            ("s3://My_Bucket", None),
            ("ftp://logs", None),
        ] {
            assert_eq!(SinkSetting::read(text), setting, "{text}");
        }
    }
}
