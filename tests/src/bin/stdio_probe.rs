//! An MCP server on standard input and output whose tools try what a sandbox must not let them.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::{env, fs, io, thread, time};

use serde_json::{Value, json};

const TOOLS: [&str; 13] = [
    "env", "read", "write", "list", "connect", "through", "spawn", "allocate", "long", "hang", "exit",
    "client", "python",
];

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    // Programs write what is no message as well.
    println!("listening");
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        line.clear();
        let Some(id) = message.get("id").cloned().filter(|_| message.get("method").is_some()) else {
            continue;
        };
        let params = field(&message, "params");
        let result = match field(&message, "method").as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": field(params, "protocolVersion"), "capabilities": {"tools": {}},
                "serverInfo": {"name": "probe", "version": "1"},
            }),
            "tools/list" => {
                let schema = json!({"type": "object"});
                let tool = |name: &str| json!({"name": name, "description": "Tries something.", "inputSchema": schema});
                json!({"tools": TOOLS.map(tool)})
            }
            "tools/call" => {
                let arguments = field(params, "arguments").clone();
                match field(params, "name").as_str().unwrap_or_default() {
                    "hang" => {
                        thread::sleep(time::Duration::from_secs(600));
                        continue;
                    }
                    "client" => answered(&client(&mut input)?),
                    name => answered(&tried(name, &arguments)),
                }
            }
            _ => json!({}),
        };
        say(&json!({"jsonrpc": "2.0", "id": id, "result": result}))?;
    }
    Ok(())
}

/// A field of an object, or null.
fn field<'a>(of: &'a Value, name: &str) -> &'a Value {
    of.get(name).unwrap_or(&Value::Null)
}

fn answered(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn say(message: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{message}")?;
    output.flush()
}

/// Asks the client something, and says what it answers.
fn client(input: &mut impl io::BufRead) -> io::Result<String> {
    let mut answers = String::new();
    for (id, method) in [(900, "ping"), (901, "sampling/createMessage")] {
        say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}))?;
        input.read_line(&mut answers)?;
    }
    Ok(answers)
}

fn tried(name: &str, arguments: &Value) -> String {
    let text = |name: &str| field(arguments, name).as_str().unwrap_or_default().to_owned();
    let number = |name: &str| field(arguments, name).as_u64().unwrap_or_default();
    let outcome: io::Result<String> = match name {
        "env" => Ok(env::vars().map(|(name, value)| format!("{name}={value}\n")).collect()),
        "read" => fs::read_to_string(text("path")),
        "write" => fs::write(text("path"), "x").map(|()| "written".to_owned()),
        "list" => fs::read_dir(text("path")).map(|found| {
            let names = found.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names.join(" ")
        }),
        "connect" => TcpStream::connect(text("to")).map(|_| "connected".to_owned()),
        "through" => through(&text("to")),
        "spawn" => Ok(spawn(number("count"))),
        "python" => Command::new("/usr/bin/python3").args(["-c", &text("code")]).output().map(|done| {
            let output = [done.stdout, done.stderr].concat();
            String::from_utf8_lossy(&output).trim().to_owned()
        }),
        "allocate" => {
            let bytes = usize::try_from(number("mib")).unwrap_or_default() * 1_024 * 1_024;
            let mut memory: Vec<u8> = Vec::new();
            memory
                .try_reserve_exact(bytes)
                .map(|()| {
                    memory.resize(bytes, 1);
                    format!("allocated {}", memory.len())
                })
                .map_err(io::Error::other)
        }
        "long" => Ok("long ".repeat(usize::try_from(number("bytes")).unwrap_or_default() / 5)),
        "exit" => {
            eprintln!("{}", text("words"));
            std::process::exit(3)
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    outcome.unwrap_or_else(|error| format!("error: {error}"))
}

/// What the proxy answers to CONNECT, and what the other end says then.
fn through(to: &str) -> io::Result<String> {
    let proxy = env::var("HTTPS_PROXY").map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(proxy.trim_start_matches("http://"))?;
    write!(stream, "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n")?;
    let mut answer = String::new();
    stream.set_read_timeout(Some(time::Duration::from_secs(20)))?;
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How many processes could be started at once.
fn spawn(count: u64) -> String {
    let mut running = Vec::new();
    let mut failure = String::new();
    for _ in 0..count {
        match Command::new("sleep").arg("600").stdin(Stdio::null()).spawn() {
            Ok(child) => running.push(child),
            Err(error) => {
                failure = error.to_string();
                break;
            }
        }
    }
    let started = running.len();
    for child in &mut running {
        let _ = child.kill();
        let _ = child.wait();
    }
    format!("started {started} {failure}")
}
