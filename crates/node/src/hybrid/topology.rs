//! Where a node's requests may be answered: the settings of its command and its configuration file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::Secret;
use egress::{Client, EgressSettings, TargetKind, check_base_url};
use http::Uri;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::backend::Backend;
use crate::limits::{BACKEND_ID_BYTES_MAX, BACKENDS_MAX, KEY_FILE_BYTES_MAX};
use crate::mode::Mode;

const ALLOWED: &str = "INFERENCE_ALLOWED_PROVIDERS";
/// This machine, among the providers that are allowed.
const LOCAL: &str = "local";
/// The bits that let others than the owner use a file.
const OTHERS: u32 = 0o077;
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// Where the requests of a node may be answered.
#[derive(Clone)]
pub struct Topology {
    /// Nothing leaves, whatever a request says.
    pub is_strict: bool,
    hybrid: Option<Arc<Hybrid>>,
}

/// What a topology is read from.
pub struct TopologySources<'a> {
    /// `--runtime-local-only-strict`.
    pub is_strict: bool,
    /// The value of `INFERENCE_ALLOWED_PROVIDERS`.
    pub allowed: Option<&'a str>,
    /// The configuration file.
    pub config: Option<&'a Path>,
    /// The base URL of the gateway that the node has joined.
    pub gateway: Option<&'a str>,
    /// Reads an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    pub egress: EgressSettings,
}

/// The backends of a node that may send requests to them.
pub(crate) struct Hybrid {
    pub backends: Vec<Backend>,
    /// The mode of requests that name none.
    pub default_mode: Mode,
    /// The longest wait in the queue here.
    pub queue_wait: Duration,
    egress: Arc<EgressSettings>,
}

/// The configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    hybrid: Option<Section>,
    /// Read by `read_workers`.
    #[serde(rename = "workers")]
    _workers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    #[serde(default)]
    cloud_endpoints: Vec<String>,
    #[serde(default)]
    backends: Vec<BackendTable>,
    #[serde(default)]
    default_mode: DefaultMode,
    queue_wait_ms: Option<u64>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum DefaultMode {
    #[default]
    Local,
    Hybrid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendTable {
    id: String,
    base_url: Option<String>,
    #[serde(default)]
    gateway: bool,
    key_file: Option<PathBuf>,
    key_env: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    model_map: BTreeMap<String, String>,
    #[serde(default)]
    adapters: Vec<String>,
}

impl Default for Topology {
    /// Strictly local.
    fn default() -> Self {
        Self { is_strict: true, hybrid: None }
    }
}

impl Topology {
    /// # Errors
    /// The configuration can't be read, a key is missing or readable by others, or two of the sources contradict each
    /// other.
    pub fn read(sources: &TopologySources<'_>) -> Result<Self, String> {
        let section = sources.config.map(read_section).transpose()?.flatten();
        let allowed = sources.allowed.map(providers);
        // A setting of the machine's owner for every program on it is stronger than a file that came with one.
        let is_strict = sources.is_strict || allowed.as_deref() == Some(&[LOCAL][..]);
        let Some(section) = section else {
            check_allowed(allowed.as_deref(), &[])?;
            return Ok(Self { is_strict, hybrid: None });
        };
        let ids: Vec<String> = backend_ids(&section)?;
        check_allowed(allowed.as_deref(), &ids)?;
        let default_mode = match section.default_mode {
            DefaultMode::Local => Mode::Local,
            DefaultMode::Hybrid => Mode::Hybrid,
        };
        let queue_wait = section.queue_wait_ms.map_or(QUEUE_WAIT, Duration::from_millis);
        let mut backends = Vec::with_capacity(ids.len());
        for endpoint in &section.cloud_endpoints {
            backends.push(endpoint_backend(endpoint, sources)?);
        }
        for table in section.backends {
            backends.push(table_backend(table, sources)?);
        }
        let egress = Arc::new(sources.egress.clone());
        let hybrid = Hybrid { backends, default_mode, queue_wait, egress };
        Ok(Self { is_strict, hybrid: Some(Arc::new(hybrid)) })
    }

    /// The backends that requests may leave to; `None` if nothing leaves.
    pub(crate) fn hybrid(&self) -> Option<&Hybrid> {
        self.hybrid.as_deref().filter(|_| !self.is_strict)
    }

    /// The ids of the backends that requests may leave to.
    pub fn backends(&self) -> Vec<String> {
        self.all().iter().map(|backend| backend.id.clone()).collect()
    }

    /// The ids of the backends that take a model with this adapter.
    pub(crate) fn backends_of(&self, model: &str, adapter: Option<&str>) -> Vec<String> {
        let taking = self.all().iter().filter(|backend| backend.takes(model, adapter));
        taking.map(|backend| backend.id.clone()).collect()
    }

    fn all(&self) -> &[Backend] {
        self.hybrid().map(|hybrid| hybrid.backends.as_slice()).unwrap_or_default()
    }

    /// A client for requests to backends, on the serving thread that calls this.
    ///
    /// # Errors
    /// The TLS root certificates can't be read.
    pub(crate) fn client(&self) -> std::io::Result<Option<Client>> {
        self.hybrid().map(|hybrid| Client::new(Arc::clone(&hybrid.egress))).transpose()
    }

    /// How many backends the configuration has that are not used, because the node is strictly local.
    pub fn unused_backends(&self) -> usize {
        self.hybrid.as_ref().filter(|_| self.is_strict).map_or(0, |hybrid| hybrid.backends.len())
    }
}

fn read_section(path: &Path) -> Result<Option<Section>, String> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place} can't be read: {error}."))?;
    // Without the lines that toml shows: one may hold a key.
    let wrong = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("{place} is wrong in line {}: {}.", before.lines().count().max(1), error.message())
    };
    let config: Config = toml::from_str(&text).map_err(wrong)?;
    Ok(config.hybrid)
}

/// The providers of a list with commas.
fn providers(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|provider| !provider.is_empty()).collect()
}

fn check_allowed(allowed: Option<&[&str]>, ids: &[String]) -> Result<(), String> {
    let Some(allowed) = allowed.filter(|allowed| !allowed.is_empty()) else { return Ok(()) };
    let is_known = |provider: &&&str| **provider == LOCAL || ids.iter().any(|id| id == **provider);
    if let Some(unknown) = allowed.iter().find(|provider| !is_known(provider)) {
        let known: Vec<&str> = std::iter::once(LOCAL).chain(ids.iter().map(String::as_str)).collect();
        return Err(format!(
            "{ALLOWED} names {unknown}, which is unknown here. Known are: {}.",
            known.join(", ")
        ));
    }
    if !allowed.contains(&LOCAL) {
        return Err(format!("{ALLOWED} leaves {LOCAL} out, and a node always serves its own model. Add it."));
    }
    match ids.iter().find(|id| !allowed.contains(&id.as_str())) {
        None => Ok(()),
        Some(_) if allowed.len() == 1 => Ok(()),
        Some(id) => Err(format!(
            "{ALLOWED} does not name the backend {id} of the configuration. Add it to {ALLOWED}, or remove the backend from the \
             file of --config."
        )),
    }
}

/// The ids of all backends.
fn backend_ids(section: &Section) -> Result<Vec<String>, String> {
    let mut ids = section.cloud_endpoints.iter().map(|url| authority(url)).collect::<Result<Vec<_>, _>>()?;
    ids.extend(section.backends.iter().map(|table| table.id.clone()));
    if ids.is_empty() {
        return Err(
            "[hybrid] has no backend. Name one in cloud_endpoints or as [[hybrid.backends]].".to_owned()
        );
    }
    if ids.len() > BACKENDS_MAX {
        return Err(format!("[hybrid] has {} backends, and {BACKENDS_MAX} may be.", ids.len()));
    }
    for (at, id) in ids.iter().enumerate() {
        check_id(id)?;
        if ids.iter().take(at).any(|other| other == id) {
            return Err(format!("Two backends have the id {id}. Give each its own."));
        }
    }
    Ok(ids)
}

fn check_id(id: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-[]".contains(&byte);
    if id.is_empty() || id.len() > BACKEND_ID_BYTES_MAX || !id.bytes().all(is_plain) {
        return Err(format!(
            "The backend id \"{id}\" is not 1 to {BACKEND_ID_BYTES_MAX} letters, digits, dots, colons and hyphens."
        ));
    }
    if id == LOCAL {
        return Err(format!("A backend can't have the id {LOCAL}, which is this machine."));
    }
    Ok(())
}

fn authority(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|_| format!("cloud_endpoints has \"{url}\", which is not a URL."))?;
    uri.authority()
        .map(ToString::to_string)
        .ok_or_else(|| format!("cloud_endpoints has \"{url}\", which names no host."))
}

/// A base URL that ends in `/v1`; a bare address gets it.
fn base_url(url: &str, id: &str, egress: &EgressSettings) -> Result<String, String> {
    check_base_url(url, egress, TargetKind::System)
        .map_err(|fault| format!("The address {url} of the backend {id} can't be used: {}", fault.message))?;
    let url = url.trim_end_matches('/');
    let has_path = url.splitn(4, '/').nth(3).is_some();
    Ok(if has_path { url.to_owned() } else { format!("{url}/v1") })
}

fn endpoint_backend(url: &str, sources: &TopologySources<'_>) -> Result<Backend, String> {
    let id = authority(url)?;
    Ok(Backend {
        base_url: base_url(url, &id, &sources.egress)?,
        id,
        key: None,
        is_gateway: false,
        is_joined: false,
        models: Vec::new(),
        model_map: BTreeMap::new(),
        adapters: Vec::new(),
    })
}

fn table_backend(table: BackendTable, sources: &TopologySources<'_>) -> Result<Backend, String> {
    let BackendTable { id, base_url: url, gateway, key_file, key_env, models, model_map, adapters } = table;
    let url = match (url, gateway, sources.gateway) {
        (Some(url), ..) => url,
        (None, true, Some(control)) => control.to_owned(),
        (None, true, None) => {
            return Err(format!(
                "The backend {id} is the gateway that this node has joined, and it has joined none. Run `tidegate node join` first, \
                 or give the base_url of the gateway."
            ));
        }
        (None, false, _) => {
            return Err(format!("The backend {id} has no address. Give base_url, or gateway = true."));
        }
    };
    let key = match (key_file, key_env) {
        (Some(_), Some(_)) => {
            return Err(format!("The backend {id} has both key_file and key_env. Leave one out."));
        }
        (Some(path), None) => Some(key_of_file(&path)?),
        (None, Some(name)) => Some(key_of_environment(&id, &name, sources.environment)?),
        (None, None) if gateway => {
            return Err(format!(
                "The backend {id} needs one of the gateway's inference keys. Give it as key_file or key_env."
            ));
        }
        (None, None) => None,
    };
    let egress = &sources.egress;
    let base_url = base_url(&url, &id, egress)?;
    let joined = sources.gateway.filter(|_| gateway).map(|control| self::base_url(control, &id, egress));
    let is_joined = joined.transpose()?.is_some_and(|joined| joined == base_url);
    Ok(Backend { id, base_url, key, is_gateway: gateway, is_joined, models, model_map, adapters })
}

/// A key in a file that only its owner can read. It is read once.
fn key_of_file(path: &Path) -> Result<Secret, String> {
    let place = path.display();
    let unread = |error: std::io::Error| format!("The key file {place} can't be read: {error}.");
    let file = File::open(path).map_err(unread)?;
    if file.metadata().map_err(unread)?.permissions().mode() & OTHERS != 0 {
        return Err(format!(
            "Others than its owner can read the key file {place}. Run `chmod 600 {place}`, and replace the key."
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
    secret(&text).ok_or_else(|| format!("The key file {place} has no key on its only line."))
}

fn key_of_environment(
    id: &str,
    name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, String> {
    let value = environment(name);
    let key = value.as_deref().and_then(secret);
    key.ok_or_else(|| format!("The backend {id} takes its key from {name}, which is not set or has no key."))
}

fn secret(text: &str) -> Option<Secret> {
    let key = text.trim();
    (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()))
        .then(|| Secret::from_text(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.path().join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.create(true).write(true).truncate(true).mode(mode).open(&path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            path
        }
    }

    fn read(config: &str, allowed: Option<&str>, gateway: Option<&str>) -> Result<Topology, String> {
        let files = Files(tempfile::tempdir().unwrap());
        let path = files.write("node.toml", config, 0o644);
        files.write("key", "sk-owner\n", 0o600);
        files.write("open", "sk-open\n", 0o640);
        files.write("empty", "\n", 0o600);
        let config = config.replace("DIR", &files.0.path().display().to_string());
        std::fs::write(&path, config).unwrap();
        let environment = |name: &str| (name == "KEY").then(|| "sk-environment".to_owned());
        let egress = EgressSettings { allow_private: true, ..EgressSettings::default() };
        let (is_strict, config) = (false, Some(path.as_path()));
        Topology::read(&TopologySources {
            is_strict,
            allowed,
            config,
            gateway,
            environment: &environment,
            egress,
        })
    }

    #[test]
    fn backends_are_read_with_their_keys_and_names() {
        let config = r#"
            [hybrid]
            cloud_endpoints = ["http://127.0.0.1:9000", "http://127.0.0.1:9001/v1/"]
            default_mode = "hybrid"
            queue_wait_ms = 250
            [[hybrid.backends]]
            id = "cloud"
            base_url = "https://api.example/v1"
            key_file = "DIR/key"
            models = ["one"]
            model_map = {two = "publisher/two"}
            adapters = ["law"]
            [[hybrid.backends]]
            id = "home"
            gateway = true
            key_env = "KEY"
            [[hybrid.backends]]
            id = "head"
            gateway = true
            base_url = "https://gateway.example"
            key_env = "KEY"
        "#;
        let allowed = "local, cloud,home,head,127.0.0.1:9000,127.0.0.1:9001";
        let topology = read(config, Some(allowed), Some("http://127.0.0.1:7")).unwrap();
        assert_eq!(topology.backends(), ["127.0.0.1:9000", "127.0.0.1:9001", "cloud", "home", "head"]);
        let hybrid = topology.hybrid().unwrap();
        assert_eq!((hybrid.default_mode, hybrid.queue_wait.as_millis()), (Mode::Hybrid, 250));
        let urls: Vec<&str> = hybrid.backends.iter().map(|backend| backend.base_url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "http://127.0.0.1:9000/v1",
                "http://127.0.0.1:9001/v1",
                "https://api.example/v1",
                "http://127.0.0.1:7/v1",
                "https://gateway.example/v1"
            ]
        );
        let gateways: Vec<(bool, bool)> =
            hybrid.backends.iter().map(|backend| (backend.is_gateway, backend.is_joined)).collect();
        assert_eq!(
            gateways,
            [(false, false), (false, false), (false, false), (true, true), (true, false)],
            "what another gateway answers is not booked by the one that was joined"
        );
        let keys: Vec<Option<&str>> = hybrid
            .backends
            .iter()
            .map(|backend| backend.key.as_ref().and_then(Secret::expose_text))
            .collect();
        let environment = Some("sk-environment");
        assert_eq!(keys, [None, None, Some("sk-owner"), environment, environment]);
        assert_eq!(hybrid.backends[2].name_of("two"), Some("publisher/two"));
        let strict = Topology { is_strict: true, ..topology };
        assert!(strict.hybrid().is_none() && strict.backends().is_empty());
        assert_eq!(strict.unused_backends(), 5);
    }

    #[test]
    fn without_a_section_nothing_leaves() {
        for (config, allowed) in [("", None), ("", Some("local")), ("", Some(" "))] {
            let topology = read(config, allowed, None).unwrap();
            assert!(topology.hybrid().is_none() && topology.unused_backends() == 0);
        }
    }

    #[test]
    fn this_machine_alone_is_stronger_than_the_backends_of_a_file() {
        let config = "[hybrid]\ndefault_mode = \"hybrid\"\ncloud_endpoints = [\"http://127.0.0.1:9000\"]";
        let topology = read(config, Some(" local "), None).unwrap();
        assert!(topology.is_strict && topology.hybrid().is_none());
        assert_eq!((topology.backends().len(), topology.unused_backends()), (0, 1));
        assert!(read(config, None, None).unwrap().hybrid().is_some());
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_to_do() {
        let one = "[[hybrid.backends]]\nid = \"b\"\n";
        let with = |line: &str| format!("{one}base_url = \"https://b.example/v1\"\n{line}");
        for (config, allowed, expected) in [
            ("[hybrid]".to_owned(), None, "has no backend"),
            ("[hybrid]\ncloud_endpoint = []".to_owned(), None, "unknown field `cloud_endpoint`"),
            ("[hybrd]".to_owned(), None, "unknown field `hybrd`"),
            (
                "[hybrid]\ncloud_endpoints = [\"b\"]\ndefault_mode = \"cloud\"".to_owned(),
                None,
                "unknown variant `cloud`",
            ),
            ("[hybrid]\ncloud_endpoints = [\"/v1\"]".to_owned(), None, "names no host"),
            ("[hybrid]\ncloud_endpoints = [\"ftp://b.example\"]".to_owned(), None, "can't be used"),
            (one.to_owned(), None, "no address"),
            (format!("{one}gateway = true\nkey_env = \"KEY\""), None, "joined none"),
            (with("gateway = true"), None, "inference keys"),
            (with("key_env = \"KEY\"\nkey_file = \"DIR/key\""), None, "both key_file and key_env"),
            (with("key_env = \"OTHER\""), None, "takes its key from OTHER"),
            (with("key_file = \"DIR/open\""), None, "chmod 600"),
            (with("key_file = \"DIR/empty\""), None, "has no key"),
            (with("key_file = \"DIR/none\""), None, "can't be read"),
            (with("key = \"sk-1\""), None, "unknown field `key`"),
            (with("").replace("\"b\"", "\"local\""), None, "this machine"),
            (with("").replace("\"b\"", "\"a b\""), None, "letters, digits"),
            (format!("{0}\n{0}", with("")), None, "Two backends"),
            (with(""), Some("b"), "leaves local out"),
            (with(""), Some("local, moon"), "names moon, which is unknown here. Known are: local, b."),
            (String::new(), Some("moon"), "Known are: local."),
            (
                format!("[hybrid]\ncloud_endpoints = [\"http://c.example\"]\n{}", with("")),
                Some("local,b"),
                "does not name the backend c.example",
            ),
        ] {
            let error = read(&config, allowed, None).err().unwrap_or_else(|| panic!("{config} is taken"));
            assert!(error.contains(expected), "{config}: {error}");
            assert!(!error.contains("sk-"), "{error}");
        }
        let gateway = read(&format!("{one}gateway = true"), None, Some("https://g.example")).err().unwrap();
        assert!(gateway.contains("inference keys"), "{gateway}");
    }
}
