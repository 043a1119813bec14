//! Files that clients upload: by the published clients, in parts, past kills and full disks, and by people who mean ill.

use std::path::{Path, PathBuf};

use harness::client::{Answer, Client};
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::WITHIN;
use crate::ask::{MINI, until_status};
use crate::canary::holds;
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, driver, id_of};
use crate::sdk::drive;
use crate::wait::until;

const PIECE: usize = 4 * 1024 * 1024;
const CANARY: &str = "canary-5e1f7c";

/// A file that waits for its content.
async fn made(client: &Client, file: Value) -> Value {
    client.post("/files", &json!({"files": [file]})).await.unwrap().must_be(200).json()["data"][0].clone()
}

/// Sends content to the address that a file has for it, without any key.
async fn put(gateway: &Gateway, file: &Value, range: Option<&str>, bytes: &[u8]) -> Answer {
    let url = file["upload_url"].as_str().unwrap();
    let path = url.strip_prefix(gateway.origin.as_str()).unwrap_or_else(|| {
        // After a restart the gateway listens at another port.
        url.split_once("/files/").map(|(origin, _)| &url[origin.len()..]).unwrap()
    });
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(range.map(|range| ("content-range", range)));
    Client::new(&gateway.origin).call(Method::PUT, path, &headers, bytes.to_vec()).await.unwrap()
}

async fn uploaded(gateway: &Gateway, client: &Client, name: &str, kind: &str, bytes: &[u8]) -> Value {
    let file = made(client, json!({"filename": name, "content_type": kind, "size": bytes.len()})).await;
    put(gateway, &file, None, bytes).await.must_be(200);
    file
}

async fn content(client: &Client, file: &Value) -> Answer {
    client.get(&format!("/files/{}/content", id_of(file))).await.unwrap()
}

/// Checks a refusal of the files' API: its status, and the code at the end of its type.
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let kind = answer.json()["type"].as_str().unwrap_or_default().to_owned();
    assert_eq!(kind.rsplit('/').next(), Some(code), "{}", answer.text());
}

/// What its client makes of a run that reads this document.
async fn run(client: &Client, document: &Value) -> Answer {
    let run = json!({"app": MINI, "input": {"prompt": "p", "document": document}});
    client.post("/v1/run", &run).await.unwrap()
}

/// Everything that is stored below the directory of files.
fn objects(gateway: &Gateway) -> Vec<Vec<u8>> {
    fn below(path: &Path) -> Vec<Vec<u8>> {
        let paths = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let found =
            |path: PathBuf| if path.is_dir() { below(&path) } else { vec![std::fs::read(path).unwrap()] };
        paths.flat_map(found).collect()
    }
    below(&gateway.data().join("files"))
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_published_clients_upload_and_run() {
    let gateway = Gateway::with_own().await;
    let (python, script) = driver("uploads.py");
    assert_eq!(drive(python, script, &gateway).await.held, 10);
    assert_eq!(drive("node".into(), workspace().join("tests/node/uploads.mjs"), &gateway).await.held, 12);
    let sent = gateway.calls(OWN);
    let sent = String::from_utf8(sent[0].body.to_vec()).unwrap();
    assert!(sent.contains("Revenue rose"), "{sent}");
}

#[tokio::test]
async fn each_envelope_has_its_files() {
    let gateway = Gateway::with_own().await;
    let body = json!({"files": [{"filename": "a.txt", "public": true}]});
    let post = async |version: &str| {
        let client = gateway.client().header("x-api-version", version);
        client.post("/files", &body).await.unwrap().json()
    };
    let newest = gateway.client().post("/v1/files", &body).await.unwrap().json();
    assert_eq!(newest["messages"][0]["code"], "file_not_public", "{newest}");
    assert_eq!(newest["success"], true);
    assert_eq!((&post("1").await["success"], post("2").await.is_array()), (&json!(true), true));
    let file = &newest["data"][0];
    assert_eq!((&file["status"], &file["filename"]), (&json!("uploading"), &json!("a.txt")), "{file}");
    refused(&content(&gateway.client(), file).await, 409, "file_incomplete");
}

#[tokio::test]
async fn content_is_sealed_where_it_lies_and_deleted_with_its_file() {
    let (gateway, client) = Gateway::with_own().await.and_client();
    let text = format!("{CANARY} ").repeat(600_000);
    let file = uploaded(&gateway, &client, &format!("{CANARY}.txt"), "text/plain", text.as_bytes()).await;
    let read = content(&client, &file).await.must_be(200);
    assert!(read.body == text.as_bytes(), "{} of {} bytes", read.body.len(), text.len());
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    assert!(read.header("content-disposition").unwrap().starts_with("attachment;"));
    let stored = objects(&gateway);
    assert_eq!(stored.len(), text.len().div_ceil(PIECE), "a piece is an object");
    let has = |bytes: &[u8]| holds(bytes, CANARY);
    assert!(!stored.iter().any(|object| has(object)));
    for name in ["tidegate.db", "tidegate.db-wal"] {
        let bytes = std::fs::read(gateway.data().join(name)).unwrap_or_default();
        assert!(!has(&bytes), "{name} names the file");
    }
    let gone = client.delete(&format!("/files/{}", id_of(&file))).await.unwrap();
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    content(&client, &file).await.must_be(404);
    assert_eq!(objects(&gateway), Vec::<Vec<u8>>::new());
    let answer = run(&client, &file["uri"]).await;
    refused(&answer, 404, "file_not_found");
    assert_eq!(answer.json()["param"], "input.document", "{}", answer.text());
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_address_takes_what_its_file_says_once_and_tenants_never_meet() {
    let (gateway, client) = Gateway::with_own().await.and_client();
    let file = uploaded(&gateway, &client, "a.txt", "text/plain", b"once").await;
    let at = |path: &str| json!({"upload_url": format!("{}{path}", gateway.origin)});
    let path = format!("/files/{}", id_of(&file));
    for (other, why) in [
        (file.clone(), "its second use"),
        (at(&format!("{path}/upload/guessed")), "a guess"),
        (at(&path), "no token"),
        (at("/files/x/upload/y"), "no file"),
    ] {
        let answer = put(&gateway, &other, None, b"twice").await;
        assert_eq!(answer.status, 404, "{why}");
        refused(&answer, 404, "upload_not_found");
    }
    assert_eq!(content(&client, &file).await.text(), "once");
    let shown = client.get(&format!("/files/{}", id_of(&file))).await.unwrap().json();
    assert_eq!(shown["data"]["upload_url"], "", "it is told once");
    let token = file["upload_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let database = std::fs::read(gateway.data().join("tidegate.db-wal")).unwrap();
    assert!(!holds(&database, token));
    // A file is what it says it is.
    for (kind, bytes) in [
        ("image/png", b"\xff\xd8\xff\xe0 a picture of another kind".as_slice()),
        ("text/plain", b"\x7fELF\x02\x01\x01 a program"),
        ("application/pdf", b"PK\x03\x04 an archive"),
    ] {
        let file = made(&client, json!({"content_type": kind, "size": bytes.len()})).await;
        refused(&put(&gateway, &file, None, bytes).await, 415, "file_type_mismatch");
        assert_eq!(client.get(&format!("/files/{}", id_of(&file))).await.unwrap().status, 404, "{kind}");
    }
    // Forty megabytes of zeros as an archive: it is kept as it is, and nothing unpacks it.
    let bomb = [b"PK\x03\x04".as_slice(), &[0; 40_000]].concat();
    let file = uploaded(&gateway, &client, "bomb.zip", "", &bomb).await;
    let read = content(&client, &file).await;
    assert_eq!((read.header("content-type"), read.body.len()), (Some("application/zip"), bomb.len()));
    run(&client, &file["uri"]).await.must_be(422);
    // Tenants never meet.
    let file = uploaded(&gateway, &client, "mine.txt", "text/plain", CANARY.as_bytes()).await;
    let beside = gateway.other_project().await;
    let path = format!("/files/{}", id_of(&file));
    for answer in [
        beside.get(&path).await.unwrap(),
        beside.get(&format!("{path}/content")).await.unwrap(),
        beside.delete(&path).await.unwrap(),
    ] {
        refused(&answer, 404, "file_not_found");
    }
    assert_eq!(beside.post("/files/list", &json!({})).await.unwrap().json()["data"]["items"], json!([]));
    for document in [&file["uri"], &file["id"]] {
        run(&beside, document).await.must_be(404);
    }
    assert!(gateway.calls(OWN).is_empty());
    assert_eq!(content(&client, &file).await.text(), CANARY);
    Client::new(&gateway.origin).get(&path).await.unwrap().must_be(401);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn parts_go_on_where_the_last_one_ended_also_past_a_kill() {
    let mut gateway = Gateway::with_own().await;
    let size = 2 * PIECE + 1_000;
    let text: Vec<u8> = (0..size).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    let file = made(&gateway.client(), json!({"content_type": "text/plain", "size": size})).await;
    let none = put(&gateway, &file, Some(&format!("bytes */{size}")), b"").await;
    assert_eq!((none.status, none.header("range")), (308, None), "{}", none.text());
    let end = PIECE + 10;
    let part = put(&gateway, &file, Some(&format!("bytes 0-{}/{size}", end - 1)), &text[..end]).await;
    assert_eq!((part.status, part.header("range")), (308, Some(format!("bytes=0-{}", end - 1).as_str())));
    // Half of the next part, and then nothing: the gateway is killed while it receives.
    let url = file["upload_url"].as_str().unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ncontent-range: bytes {end}-{}/{size}\r\n\r\n",
        &url[url.find("/files/").unwrap()..],
        size - end,
        size - 1
    );
    let mut socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&text[end..end + 100_000]).await.unwrap();
    gateway.crash().await;
    for (range, bytes) in [
        (format!("bytes 0-9/{size}"), &text[..10]),
        (format!("bytes {}-{}/{size}", end + 1, end + 10), &text[end + 1..end + 11]),
    ] {
        let answer = put(&gateway, &file, Some(&range), bytes).await;
        assert_eq!(answer.status, 409, "{range}");
        refused(&answer, 409, "upload_offset");
    }
    let known = put(&gateway, &file, Some("bytes */*"), b"").await;
    assert_eq!(known.header("range"), Some(format!("bytes=0-{}", end - 1).as_str()));
    put(&gateway, &file, Some(&format!("bytes {end}-{}/{size}", size - 1)), &text[end..]).await.must_be(200);
    let read = content(&gateway.client(), &file).await;
    assert!(read.body == text, "{} of {size} bytes", read.body.len());
}

/// Waits until as much of a file has arrived.
async fn received(gateway: &Gateway, file: &Value, range: Option<&str>) {
    until("as much has arrived", async || {
        put(gateway, file, Some("bytes */*"), b"").await.header("range") == range
    })
    .await;
}

/// The first has sent as many bytes as the second when it goes on.
#[cfg(feature = "flows")]
#[tokio::test]
async fn two_uploads_of_one_file_are_never_mixed() {
    let gateway = Gateway::with_own().await;
    let size = 2 * PIECE;
    let file = made(&gateway.client(), json!({"filename": "a.bin", "size": size})).await;
    let url = file["upload_url"].as_str().unwrap();
    let path = &url[url.find("/files/").unwrap()..];
    let head =
        format!("PUT {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
    // What waits to be stored until more follows is a whole piece.
    let piece = format!("bytes=0-{}", PIECE - 1);
    let mut sockets = Vec::new();
    for letter in [b'A', b'B'] {
        let mut socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        received(&gateway, &file, None).await;
        socket.write_all(&vec![letter; PIECE + 10]).await.unwrap();
        received(&gateway, &file, Some(&piece)).await;
        sockets.push(socket);
    }
    let mut answers = Vec::new();
    for (socket, letter) in sockets.iter_mut().zip([b'A', b'B']) {
        socket.write_all(&vec![letter; PIECE - 10]).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        answers.push(String::from_utf8_lossy(&answer).into_owned());
    }
    let superseded = answers[0].starts_with("HTTP/1.1 409") && answers[0].contains("upload_superseded");
    assert!(superseded, "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 200"), "{}", answers[1]);
    let read = content(&gateway.client(), &file).await;
    assert_eq!(read.body.len(), size);
    assert!(read.body.iter().all(|byte| *byte == b'B'));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn no_more_is_taken_than_was_declared_or_may_be() {
    let mut gateway = Gateway::with_own().await;
    gateway.set("TIDEGATE_FILES_BYTES_MAX", "100000");
    gateway.set("TIDEGATE_FILES_PROJECT_BYTES_MAX", "150000");
    gateway.crash().await;
    let client = gateway.client();
    let over = client.post("/files", &json!({"files": [{"size": 100_001}]})).await.unwrap();
    refused(&over, 413, "file_too_large");
    let file = made(&client, json!({"size": 10})).await;
    refused(&put(&gateway, &file, None, b"eleven byte").await, 413, "file_too_large");
    refused(&put(&gateway, &file, None, b"nine byte").await, 400, "file_incomplete");
    refused(&put(&gateway, &file, Some("bytes 0-2/10"), b"ten").await, 400, "upload_part_too_small");
    refused(&put(&gateway, &file, Some("bytes 0-2/11"), b"ten").await, 400, "invalid_range");
    put(&gateway, &file, None, b"ten bytes!").await.must_be(200);
    // Of undeclared files what has arrived counts.
    let first = made(&client, json!({})).await;
    put(&gateway, &first, None, &[b'a'; 90_000]).await.must_be(200);
    let second = made(&client, json!({})).await;
    refused(&put(&gateway, &second, None, &[b'a'; 90_000]).await, 429, "too_many_files");
    assert_eq!(client.delete(&format!("/files/{}", id_of(&first))).await.unwrap().status, 204);
    put(&gateway, &second, None, &[b'a'; 90_000]).await.must_be(200);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let mut gateway = Gateway::with_own().await;
    let file = made(&gateway.client(), json!({"content_type": "text/plain"})).await;
    let leave = |gateway: &mut Gateway, bytes: Option<u64>| {
        let pid = Pid::from_raw(gateway.process().pid().cast_signed()).unwrap();
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    leave(&mut gateway, Some(1_000_000));
    let text = "x".repeat(2_000_000);
    refused(&put(&gateway, &file, None, text.as_bytes()).await, 503, "file_store_unavailable");
    leave(&mut gateway, None);
    put(&gateway, &file, None, text.as_bytes()).await.must_be(200);
    assert_eq!(content(&gateway.client(), &file).await.body.len(), text.len());
    assert_eq!(objects(&gateway).len(), 1, "what did not fit is gone");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_purge_removes_files_and_a_hold_keeps_them() {
    let (gateway, client) = Gateway::with_own().await.and_client();
    let file = uploaded(&gateway, &client, "a.txt", "text/plain", CANARY.as_bytes()).await;
    let hold = gateway.make("/v2/legal-holds", json!({"workspace": true, "reason": "case 7"})).await;
    let path = format!("/files/{}", id_of(&file));
    until("the hold", async || client.delete(&path).await.unwrap().status == 409).await;
    assert_eq!(content(&client, &file).await.text(), CANARY);
    gateway.remove(&format!("/v2/legal-holds/{}", id_of(&hold))).await;
    let job = gateway.make("/v2/purge-jobs", json!({"workspace": true})).await;
    until_status(&gateway.admin(), &format!("/v2/purge-jobs/{}", id_of(&job)), "completed").await;
    content(&client, &file).await.must_be(404);
    assert_eq!(objects(&gateway), Vec::<Vec<u8>>::new());
}

/// A file of OpenAI's API, where the project has no credential that keeps files.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn openais_client_keeps_files_here() {
    let gateway = Gateway::start().await;
    let (python, script) = driver("kept_files.py");
    assert_eq!(drive(python, script, &gateway).await.held, 5);
    // Both APIs have the same files, and a run reads either name.
    let client = gateway.client();
    let rest = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nRevenue rose.\r\n\
                --b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--b--\r\n";
    let form = [("content-type", "multipart/form-data; boundary=b")];
    let made = client.call(Method::POST, "/v1/files", &form, rest).await.unwrap().must_be(200);
    assert_eq!(made.header("agent-batch-execution"), Some("gateway"), "{}", made.text());
    let id = id_of(&made.json());
    let other = id.replace("file-tg_", "fil_");
    assert_eq!(client.get(&format!("/files/{other}")).await.unwrap().json()["data"]["filename"], "a.txt");
    assert_eq!(client.get(&format!("/v1/files/{other}/content")).await.unwrap().text(), "Revenue rose.");
    gateway.credential("openai", OWN).await;
    for document in [&id, &other] {
        run(&client, &json!(document)).await.must_be(200);
    }
    let sent = String::from_utf8(gateway.calls(OWN)[1].body.to_vec()).unwrap();
    assert!(sent.contains("Revenue rose."), "{sent}");
    // With a credential that keeps files, they go to its provider as ever.
    let at_provider = client.call(Method::POST, "/v1/files", &form, rest).await.unwrap();
    assert_eq!(at_provider.header("agent-execution-profile"), Some("byok"), "{}", at_provider.text());
    let page = async |path: &str| client.get(path).await.unwrap().json();
    let listed = page("/v1/files?limit=1").await;
    assert_eq!((&listed["data"][0]["id"], &listed["has_more"]), (&at_provider.json()["id"], &json!(true)));
    let after = format!("/v1/files?limit=1&after={}", id_of(&at_provider.json()));
    assert_eq!(page(&after).await["data"][0]["id"], id.as_str(), "a list has both");
    let after = format!("/v1/files?limit=1&order=asc&after={id}");
    assert_eq!(page(&after).await["data"][0]["id"], at_provider.json()["id"]);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_command_line_puts_and_gets_files() {
    let gateway = Gateway::with_own().await;
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("large.bin"), directory.path().join("copy.bin"));
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    std::fs::write(&path, &bytes).unwrap();
    let (path, copy) = (path.display().to_string(), copy.display().to_string());
    let cli = gateway.cli();
    let put = cli.run(&["file", "put", &path, "--project", &gateway.founded.project_id, "--json"]).json();
    assert_eq!(put["filename"], "large.bin");
    assert_eq!(put["bytes"], json!(bytes.len()));
    assert_eq!(put["status"], "uploaded");
    let id = id_of(&put);
    assert!(cli.run(&["file", "list"]).ok().contains(&id));
    assert_eq!(cli.run(&["file", "show", &id, "--json"]).json()["id"], id.as_str());
    cli.run(&["file", "get", &id, "--to", &copy]).ok();
    assert!(std::fs::read(&copy).unwrap() == bytes);
    let audit = gateway.get("/v2/audit?limit=50").await;
    let has = |action: &str| audit["data"].as_array().unwrap().iter().any(|row| row["action"] == action);
    assert!(has("file.read"), "{audit}");
    cli.run(&["file", "delete", &id, "--yes"]).ok();
    assert_eq!(gateway.get("/v2/files").await["data"], json!([]));
    assert_eq!(objects(&gateway), Vec::<Vec<u8>>::new());
}

/// A bucket that fails: what it did not take is told, and what it did not delete goes later.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_bucket_that_fails_is_told_and_nothing_is_lost() {
    let mut gateway = Gateway::with_own().await;
    gateway.set("TIDEGATE_FILES_STORE", "s3://files/tidegate");
    gateway.set("TIDEGATE_FILES_ENDPOINT", "http://127.0.0.1:9");
    gateway.set("TIDEGATE_FILES_KEYS", r#"{"access_key_id": "id", "secret_access_key": "canary-secret"}"#);
    gateway.crash().await;
    let client = gateway.client();
    let file = made(&client, json!({"content_type": "text/plain"})).await;
    refused(&put(&gateway, &file, None, b"some text").await, 503, "file_store_unavailable");
    gateway.process().wait_text("could not be kept", WITHIN).await.unwrap();
    let log = gateway.process().stderr();
    assert!(!log.contains("canary-secret"), "{log}");
    let token = file["upload_url"].as_str().unwrap().rsplit('/').next().unwrap();
    assert!(!log.contains(token), "{log}");
    // The gateway serves on, and the file can be sent once its store is there.
    gateway.set("TIDEGATE_FILES_STORE", "");
    gateway.crash().await;
    put(&gateway, &file, None, b"some text").await.must_be(200);
}
