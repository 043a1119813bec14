//! `tidegate task follow` and `tidegate run --follow`: words as they come, outcomes as exit codes, broken connections, and Ctrl-C.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::Behaviour;
use serde_json::json;

use crate::ask::{MINI, has, with};
use crate::command::{Cli, Done};
use crate::gateway::{Gateway, OWN};
use crate::tasks::{act, ask, ended, in_a_day, queued};
use crate::wait::until;

/// The command line with the key of an application.
fn cli(gateway: &Gateway, origin: &str) -> Cli {
    Cli::new().env("TIDEGATE_URL", origin).env("TIDEGATE_API_KEY", &gateway.founded.api_key)
}

async fn run(cli: Cli, arguments: &[&str]) -> Done {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let run = move || cli.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Passes connections on to a gateway, and breaks the first few off after so many bytes of their answers.
fn breaking(to: SocketAddr, breaks: usize, after: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let is_broken = counted.fetch_add(1, Ordering::SeqCst) < breaks;
            std::thread::spawn(move || pass_on(client, to, is_broken.then_some(after)));
        }
    });
    (origin, connections)
}

fn pass_on(client: TcpStream, to: SocketAddr, mut left: Option<usize>) {
    let server = TcpStream::connect(to).unwrap();
    let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut asking, &mut asked));
    let (mut answer, mut answered, mut buffer) = (server, client, [0; 256]);
    while let Ok(length) = answer.read(&mut buffer) {
        let taken = left.map_or(length, |left| left.min(length));
        if length == 0 || answered.write_all(&buffer[..taken]).is_err() {
            break;
        }
        left = left.map(|left| left - taken);
        if left == Some(0) {
            break;
        }
    }
    let _ = answered.shutdown(std::net::Shutdown::Both);
    let _ = answer.shutdown(std::net::Shutdown::Both);
}

#[tokio::test]
async fn a_task_is_followed_to_its_end_whose_outcome_is_the_exit_code() {
    let gateway = Gateway::with_own().await;
    let here = || cli(&gateway, &gateway.origin);
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, Duration::from_millis(300))]);
    let id = queued(&gateway.client(), &ask("one two three four")).await;
    let followed = run(here(), &["task", "follow", &id]).await;
    assert_eq!((followed.code, &*followed.stdout), (0, "You said: one two three four\n"), "{followed:?}");
    assert!(followed.stderr.contains("completed") && followed.stderr.contains("tokens"), "{followed:?}");
    // Who comes late gets all of it, also as the messages of the stream.
    has(&run(here(), &["task", "follow", &id, "--json"]).await.json(), json!({"id": id, "status": 10}));
    // A try that fails is told.
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).cut(4), Behaviour::ok()]);
    let id = queued(&gateway.client(), &ask("hello there")).await;
    let again = run(here(), &["task", "follow", &id]).await;
    assert!(again.code == 0 && again.stdout.ends_with("You said: hello there\n"), "{again:?}");
    assert!(again.stderr.contains("try 1 failed"), "{again:?}");
    gateway.emulator.script(OWN, [Behaviour::status(400).message("no \u{1b}[31m").always()]);
    let id = queued(&gateway.client(), &ask("hello")).await;
    let failed = run(here(), &["task", "follow", &id]).await;
    assert!(failed.code == 1 && failed.stderr.contains(&format!("The task {id} failed")), "{failed:?}");
    assert!(!failed.stderr.contains('\u{1b}'), "{failed:?}");
    let later = queued(&gateway.client(), &with(ask("later"), json!({"run_at": in_a_day()}))).await;
    act(&gateway.client(), &later, "cancel").await;
    assert_eq!(run(here(), &["task", "follow", &later]).await.code, 12);
    let unknown = "tsk_01900000000070008000000000000000";
    assert_eq!(run(here(), &["task", "follow", unknown]).await.code, 3);
    gateway.emulator.clear_scripts();
    let ran = run(here(), &["run", MINI, "--follow", "--input", "prompt=hello"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "You said: hello\n"), "{ran:?}");
}

#[tokio::test]
async fn a_broken_connection_loses_and_repeats_no_word() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(9).interval(Duration::from_millis(150))]);
    let id = queued(&gateway.client(), &ask("one two three four five six seven")).await;
    let (origin, connections) = breaking(gateway.address(), 3, 2_600);
    let followed = run(cli(&gateway, &origin), &["task", "follow", &id]).await;
    assert_eq!(followed.code, 0, "{followed:?}");
    assert_eq!(followed.stdout, "You said: one two three four five six seven\n", "{followed:?}");
    let took = connections.load(Ordering::SeqCst);
    assert!(took > 1 && followed.stderr.contains("Following again"), "{took}: {followed:?}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_interrupt_leaves_the_task_running_and_says_how_to_cancel_it() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, Duration::from_secs(2))]);
    let id = queued(&gateway.client(), &ask("one two three four")).await;
    let (followed, pid) = cli(&gateway, &gateway.origin).interruptible(&["task", "follow", &id]);
    until("the provider has it", async || !gateway.calls(OWN).is_empty()).await;
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    let left = tokio::task::spawn_blocking(followed).await.unwrap();
    assert_eq!(left.code, 130, "{left:?}");
    assert!(left.stderr.contains(&format!("tidegate task cancel {id}")), "{left:?}");
    let done = ended(&gateway.client(), &id).await;
    has(&done, json!({"status": 10, "/output/response": "You said: one two three four"}));
}
