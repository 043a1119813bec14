//! `tidegate login`, `logout`, `whoami`: a key for this machine, approved by a person in their browser.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, at, field};
use crate::contexts::{Context, Contexts, DEFAULT};
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Prints a link that signs a person in to the console; it works once, within ten minutes.
    #[arg(long)]
    link: bool,
    /// The member to sign in; by default the first owner.
    #[arg(long, requires = "link")]
    email: Option<String>,
    /// Creates the link in this data directory, on the machine that runs the gateway; needs no key.
    #[arg(long, requires = "link", conflicts_with = "email")]
    data_dir: Option<PathBuf>,
}

impl Options {
    /// The data directory of a gateway on this machine, in which the link is made without a key.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    if options.link { link_by_key(shared, options.email.as_deref()) } else { sign_in(shared) }
}

fn sign_in(shared: &Shared) -> Result<(), Failure> {
    let url = shared.address()?;
    let api = Api::without_key(&url)?;
    let device = api.post("/v2/device", &json!({"client_name": format!("tidegate on {}", machine())}))?;
    eprintln!(
        "Open {} and confirm the code {}",
        field(&device, "verification_url"),
        field(&device, "user_code")
    );
    let granted = wait(&api, &device)?;
    let name = shared.context.clone().unwrap_or_else(|| DEFAULT.to_owned());
    let context =
        Context { url, workspace_id: field(&granted, "workspace_id"), api_key: field(&granted, "api_key") };
    let summary = json!({
        "context": name,
        "url": context.url,
        "workspace_id": context.workspace_id,
        "expires_at": granted.get("expires_at"),
    });
    let mut contexts = Contexts::read()?;
    contexts.contexts.insert(name.clone(), context);
    contexts.current = Some(name);
    contexts.write()?;
    output::object(shared, &summary);
    Ok(())
}

/// Polls at the interval that the gateway sets, until a person has answered or the code has expired.
fn wait(api: &Api, device: &Value) -> Result<Value, Failure> {
    let seconds = |name| device.get(name).and_then(Value::as_u64).unwrap_or(5);
    let mut interval = Duration::from_secs(seconds("interval_s"));
    let deadline = Instant::now() + Duration::from_secs(seconds("expires_in_s"));
    let question = json!({"device_code": device.get("device_code")});
    while Instant::now() < deadline {
        api.pause(interval);
        let refused = match api.post("/v2/device/token", &question) {
            Ok(granted) => return Ok(granted),
            Err(refused) => refused,
        };
        match refused.problem() {
            Some("authorization_pending") => {}
            Some("slow_down") => interval += Duration::from_secs(1),
            Some("access_denied") => return Err(Failure { code: output::FORBIDDEN, ..refused }),
            // Transient errors are retried as long as the code is valid.
            None if refused.code == output::UNAVAILABLE => {}
            _ => return Err(refused),
        }
    }
    Err(Failure::new(
        output::AUTHENTICATION,
        "Nobody confirmed the code in time. Run `tidegate login` again.",
    ))
}

fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "a machine".to_owned() } else { name }
}

fn link_by_key(shared: &Shared, email: Option<&str>) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let member = match email {
        Some(email) => email.to_owned(),
        None => first_owner(&api)?,
    };
    let made = api.post(&format!("{}/link", at("/v2/members", &member)), &json!({}))?;
    show_link(shared, &made);
    Ok(())
}

fn first_owner(api: &Api) -> Result<String, Failure> {
    let members = api.get_all("/v2/members")?;
    let is_owner = |row: &&Value| field(row, "role") == "owner" && field(row, "status") == "active";
    members.iter().find(is_owner).map(|row| field(row, "id")).ok_or_else(|| {
        Failure::new(
            output::NOT_FOUND,
            "This workspace has no owner yet: `tidegate member invite EMAIL --role owner`.",
        )
    })
}

/// Prints a link that signs a person in.
pub fn show_link(shared: &Shared, made: &Value) {
    if shared.json { println!("{made}") } else { println!("{}", field(made, "sign_in_link")) }
}

/// Revokes this machine's key and removes it from the contexts.
pub fn out(shared: &Shared) -> Result<(), Failure> {
    let mut contexts = Contexts::read()?;
    let chosen = contexts.choose(shared.context.as_deref())?;
    let (name, context) = chosen
        .map(|(name, context)| (name.to_owned(), context.clone()))
        .ok_or_else(|| Failure::new(output::AUTHENTICATION, "Nobody is signed in on this machine."))?;
    match Api::with_key(&context.url, &context.api_key)?.post("/v2/sign-out", &json!({})) {
        Ok(_) => {}
        // The key is gone already, or is not one that sign-out can revoke: there is nothing left to do.
        Err(refused) if matches!(refused.code, output::AUTHENTICATION | output::CONFLICT) => {}
        Err(refused) => return Err(refused),
    }
    contexts.contexts.remove(&name);
    contexts.current = contexts.current.filter(|current| *current != name);
    contexts.write()?;
    shared.report(&format!("Signed out of {}.", context.url));
    Ok(())
}

pub fn whoami(shared: &Shared) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let me = api.get("/v2/me")?;
    if shared.json {
        println!("{me}");
        return Ok(());
    }
    let key = me.get("key").unwrap_or(&Value::Null);
    output::object(
        shared,
        &json!({
            "gateway": api.address(),
            "workspace": me.get("workspace_id"),
            "key": key.get("id"),
            "name": key.get("name"),
            "scopes": output::cell(key, "scopes"),
        }),
    );
    Ok(())
}
