//! Programs that the operator declared, each in a sandbox. One that may connect to hosts does so through a proxy here, which its
//! sandbox reaches by a socket in its file system; it has no other way out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use domain::WorkspaceId;
use sandbox::{HostPort, Pipes, Program, Start, StartError, Started};
use tasks::Task;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::connect::open_tcp;
use crate::error::{EgressError, EgressErrorKind};
use crate::guard::Target;
use crate::limits::{
    PROGRAMS_AT_ONCE_MAX, PROGRAMS_OF_WORKSPACE_MAX, PROXY_HEAD_BYTES_MAX, PROXY_HEAD_TIME_MAX,
    PROXY_TUNNELS_MAX,
};
use crate::settings::{EgressSettings, TargetKind};

const SOCKET: &str = "proxy.sock";

/// A program that runs. It ends, and with it its connections, when this is dropped.
pub struct Running {
    pub started: Started,
    _proxy: Option<Proxy>,
    _seat: Seat,
}

/// One of the programs that a workspace has running.
struct Seat(WorkspaceId);

/// How many each workspace has; those that have none are not in it.
static RUNNING: Mutex<BTreeMap<WorkspaceId, usize>> = Mutex::new(BTreeMap::new());

impl Seat {
    fn take(owner: WorkspaceId) -> Option<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(owner).or_default();
        (*count < PROGRAMS_OF_WORKSPACE_MAX).then(|| {
            *count += 1;
            Self(owner)
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(&self.0);
            }
        }
    }
}

/// The way out of a sandbox.
struct Proxy {
    _accepting: Task,
    _directory: TempDir,
}

/// Starts a program that the operator lets a workspace use, with values for the variables that projects may set.
pub(crate) fn start(
    settings: &Arc<EgressSettings>,
    name: &str,
    secrets: Vec<(String, String)>,
    owner: WorkspaceId,
) -> Result<(Running, Pipes), EgressError> {
    let program = settings.programs.find(name, &owner.to_string());
    let program = program.ok_or_else(|| {
        EgressError::new(EgressErrorKind::Guard, format!("The operator allows no program \"{name}\"."))
    })?;
    let seat = Seat::take(owner).ok_or_else(|| busy(PROGRAMS_OF_WORKSPACE_MAX))?;
    let failed = |text: String| EgressError::new(EgressErrorKind::Connect, text);
    let proxy = if program.hosts.is_empty() { None } else { Some(open_proxy(settings, program)) };
    let proxy = proxy.transpose().map_err(|error| failed(format!("The proxy of a sandbox: {error}.")))?;
    let socket = proxy.as_ref().map(|proxy| proxy._directory.path().join(SOCKET));
    // A project sets what the operator lists, and nothing else: not the loader's variables, for example.
    let secrets = secrets.into_iter().filter(|(name, _)| program.secrets.contains(name)).collect();
    let start = Start { program: Arc::clone(program), secrets, proxy: socket };
    let (started, pipes) = sandbox::start(&start, PROGRAMS_AT_ONCE_MAX).map_err(|error| match error {
        StartError::Busy => busy(PROGRAMS_AT_ONCE_MAX),
        StartError::Failed(error) => failed(format!("The sandbox could not be started: {error}.")),
    })?;
    Ok((Running { started, _proxy: proxy, _seat: seat }, pipes))
}

fn busy(most: usize) -> EgressError {
    EgressError::new(
        EgressErrorKind::Timeout,
        format!("{most} programs are running, and no more may run at the same time."),
    )
}

fn open_proxy(settings: &Arc<EgressSettings>, program: &Arc<Program>) -> io::Result<Proxy> {
    // Others may pass through, to the one name that they know.
    let mut place = tempfile::Builder::new();
    let directory = place.prefix("tidegate-").permissions(Permissions::from_mode(0o711)).tempdir()?;
    let socket = directory.path().join(SOCKET);
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    sandbox::give(&socket)?;
    let (settings, program) = (Arc::clone(settings), Arc::clone(program));
    let accepting = Task::spawn_local("proxy of a sandbox", accept(listener, settings, program));
    Ok(Proxy { _accepting: accepting, _directory: directory })
}

async fn accept(listener: UnixListener, settings: Arc<EgressSettings>, program: Arc<Program>) {
    let open = Rc::new(Cell::new(0_usize));
    while let Ok((inner, _)) = listener.accept().await {
        if open.get() >= PROXY_TUNNELS_MAX {
            continue;
        }
        let counted = Tunnel::open(&open);
        let (settings, program) = (Arc::clone(&settings), Arc::clone(&program));
        // Its sandbox holds the other end: the tunnel ends with it.
        tasks::spawn_on_core(async move {
            let _counted = counted;
            if let Err(error) = tunnel(inner, &settings, &program).await {
                tracing::debug!(%error, "a tunnel of a sandbox broke off");
            }
        });
    }
}

/// One of a program's connections.
struct Tunnel(Rc<Cell<usize>>);

impl Tunnel {
    fn open(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn tunnel(mut inner: UnixStream, settings: &EgressSettings, program: &Program) -> io::Result<()> {
    let head = timeout(PROXY_HEAD_TIME_MAX, read_head(&mut inner)).await??;
    let (status, text, mut outer) = match open(&head, settings, program).await {
        Ok(socket) => ("200 Connection established", String::new(), Some(socket)),
        Err(Refused::Malformed) => ("405 Method Not Allowed", "Only CONNECT is served.\n".to_owned(), None),
        Err(Refused::Unlisted(place)) => {
            ("403 Forbidden", format!("The operator lists no {place} for this program.\n"), None)
        }
        Err(Refused::Unreachable(error)) => ("502 Bad Gateway", format!("{error}\n"), None),
    };
    let length = if outer.is_some() {
        String::new()
    } else {
        format!("content-length: {}\r\nconnection: close\r\n", text.len())
    };
    inner.write_all(format!("HTTP/1.1 {status}\r\n{length}\r\n{text}").as_bytes()).await?;
    if let Some(outer) = &mut outer {
        copy_bidirectional(&mut inner, outer).await?;
    }
    Ok(())
}

/// Reads to the empty line and no byte further: what follows belongs to the tunnel.
async fn read_head(inner: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(inner.read_u8().await?);
    }
    Ok(head)
}

enum Refused {
    Malformed,
    Unlisted(HostPort),
    Unreachable(EgressError),
}

async fn open(head: &[u8], settings: &EgressSettings, program: &Program) -> Result<TcpStream, Refused> {
    let place = destination(head).ok_or(Refused::Malformed)?;
    if !program.hosts.contains(&place) {
        return Err(Refused::Unlisted(place));
    }
    let HostPort { host, port } = place;
    let address = host.parse().ok();
    // What leaves is the program's own TLS, or whatever the operator listed the port for.
    let target = Target { https: true, host, address, port };
    open_tcp(&target, TargetKind::Machine, settings).await.map_err(Refused::Unreachable)
}

fn destination(head: &[u8]) -> Option<HostPort> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let (method, place, version) = (words.next()?, words.next()?, words.next()?);
    let is_connect = method == "CONNECT" && version.starts_with("HTTP/1.") && words.next().is_none();
    place.parse().ok().filter(|_| is_connect && place.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_leaves_some_for_others() {
        let (one, other) = (WorkspaceId::new(1, [1; 10]), WorkspaceId::new(1, [2; 10]));
        let seats: Vec<Option<Seat>> = (0..PROGRAMS_OF_WORKSPACE_MAX).map(|_| Seat::take(one)).collect();
        assert!(seats.iter().all(Option::is_some) && Seat::take(one).is_none());
        assert!(Seat::take(other).is_some());
        drop(seats);
        assert!(Seat::take(one).is_some());
    }

    #[test]
    fn only_connect_names_a_destination() {
        let of = |head: &str| destination(head.as_bytes()).map(|place| place.to_string());
        assert_eq!(of("CONNECT A.example:443 HTTP/1.1\r\n\r\n").as_deref(), Some("a.example:443"));
        for wrong in [
            "GET http://a.example/ HTTP/1.1\r\n\r\n",
            "CONNECT a.example HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/2\r\n\r\n",
            "CONNECT a@b:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1 x\r\n\r\n",
            "",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
