//! The settings files of tools: one value after another is set, and the rest stays as it is.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use clients::{Client, Format, Place, SettingsFile};
use serde_json::Value;
use toml_edit::{DocumentMut, Item};

use crate::output::{self, Failure};
use crate::private_file;

/// A tool's settings file on this machine.
pub struct File<'a> {
    settings: &'a SettingsFile,
    path: PathBuf,
}

/// Whether a setting refers to a variable by its name: its value is read from the environment.
pub fn names(client: &Client, variable: &str) -> bool {
    let refers =
        |settings: &SettingsFile| settings.set.iter().any(|setting| setting.value.as_str() == Some(variable));
    client.settings.as_ref().is_some_and(refers)
}

impl<'a> File<'a> {
    pub fn of(client: &'a Client) -> Result<Self, Failure> {
        let settings = client.settings.as_ref().ok_or_else(|| {
            Failure::new(
                output::USAGE,
                format!("{} has no settings file that could be written.", client.name),
            )
            .fix(format!("Run `tidegate connect {}` and copy what it prints.", client.id))
        })?;
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = match settings.path.strip_prefix("~/") {
            None => PathBuf::from(&settings.path),
            Some(below) => match settings.folder_env.as_deref().and_then(variable) {
                Some(folder) => {
                    let name = below.rsplit_once('/').map_or(below, |(_, name)| name);
                    folder.join(name)
                }
                None => variable("HOME").map(|home| home.join(below)).ok_or_else(|| {
                    Failure::new(
                        output::FAILED,
                        format!("HOME is not set: {} can't be found.", settings.path),
                    )
                })?,
            },
        };
        Ok(Self { settings, path })
    }

    pub fn display(&self) -> String {
        self.path.display().to_string()
    }

    /// Sets the tool's values, and leaves the others as they are.
    pub fn write(&self, client: &Client, place: &Place<'_>) -> Result<(), Failure> {
        let old = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.unusable(client, &error.to_string())),
        };
        let text = changed(self.settings, &old, place).map_err(|why| self.unusable(client, &why))?;
        // A link, such as one into a folder of dotfiles, stays one.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(private_file::replace(&path, &text)?)
    }

    fn unusable(&self, client: &Client, why: &str) -> Failure {
        Failure::new(
            output::FAILED,
            format!("{} can't be changed: {}.", self.display(), output::printable(why)),
        )
        .fix(format!("Run `tidegate connect {}` without --write and copy what it prints.", client.id))
    }
}

fn changed(settings: &SettingsFile, old: &str, place: &Place<'_>) -> Result<String, String> {
    match settings.format {
        Format::Json => changed_json(settings, old, place),
        Format::Toml => changed_toml(settings, old, place),
    }
}

fn changed_json(settings: &SettingsFile, old: &str, place: &Place<'_>) -> Result<String, String> {
    // The parser's message would quote the line, which may hold a key.
    let mut document: Value = if old.trim().is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_str(old).map_err(|error| format!("line {} is not JSON", error.line()))?
    };
    for setting in &settings.set {
        let value = serde_json::to_value(&setting.value).map_err(|error| error.to_string())?;
        let mut at = &mut document;
        for name in &setting.path {
            let name = place.fill(name);
            let Some(members) = at.as_object_mut() else {
                return Err(format!("\"{name}\" is to be set inside a value that is not an object"));
            };
            at = members.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        *at = match value {
            Value::String(text) => Value::String(place.fill(&text)),
            other => other,
        };
    }
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

fn changed_toml(settings: &SettingsFile, old: &str, place: &Place<'_>) -> Result<String, String> {
    let mut document: DocumentMut = old.parse().map_err(|_| "it is not TOML".to_owned())?;
    for setting in &settings.set {
        let Some((last, tables)) = setting.path.split_last() else { continue };
        let last = place.fill(last);
        let mut at = document.as_table_mut();
        for name in tables {
            let entry = at.entry(&place.fill(name)).or_insert_with(|| {
                let mut table = toml_edit::Table::new();
                // Only what has values is printed.
                table.set_implicit(true);
                Item::Table(table)
            });
            at = entry.as_table_mut().ok_or_else(|| format!("\"{name}\" is to be a table"))?;
        }
        let mut value = match &setting.value {
            toml::Value::String(text) => toml_edit::value(place.fill(text)),
            toml::Value::Boolean(flag) => toml_edit::value(*flag),
            toml::Value::Integer(number) => toml_edit::value(*number),
            _ => return Err(format!("\"{last}\" has a value of another kind")),
        };
        // Comments belong to what stands there.
        match at.get_mut(&last) {
            Some(item) => {
                if let (Some(old), Some(new)) = (item.as_value(), value.as_value_mut()) {
                    *new.decor_mut() = old.decor().clone();
                }
                *item = value;
            }
            None => {
                at.insert(&last, value);
            }
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { url: "http://127.0.0.1:8787", key: "tg_live_x", model: "openai/gpt-5-mini" };

    fn settings(id: &str) -> SettingsFile {
        let table = clients::clients().unwrap();
        table.clients.into_iter().find(|client| client.id == id).unwrap().settings.unwrap()
    }

    #[test]
    fn json_keeps_what_else_is_set() {
        let old = r#"{"theme": "dark", "env": {"ANTHROPIC_BASE_URL": "https://old", "DEBUG": "1"}}"#;
        let new: Value =
            serde_json::from_str(&changed(&settings("claude-code"), old, &PLACE).unwrap()).unwrap();
        assert_eq!((&new["theme"], &new["env"]["DEBUG"]), (&"dark".into(), &"1".into()));
        assert_eq!(new["env"]["ANTHROPIC_BASE_URL"], PLACE.url);
        assert_eq!(new["env"]["ANTHROPIC_AUTH_TOKEN"], PLACE.key);
        let new: Value = serde_json::from_str(&changed(&settings("opencode"), "", &PLACE).unwrap()).unwrap();
        assert!(new["provider"]["tidegate"]["models"]["openai/gpt-5-mini"].is_object(), "{new}");
        assert!(changed(&settings("claude-code"), "[]", &PLACE).is_err());
        let broken = "{\n\"key\": \"tg_live_secret\"";
        assert!(!changed(&settings("claude-code"), broken, &PLACE).unwrap_err().contains("tg_live_secret"));
    }

    #[test]
    fn toml_keeps_comments_and_what_else_is_set() {
        let old = "# mine\nmodel = \"o3\" # for now\napproval = \"never\"\n\n[features]\nplugins = false\n";
        let new = changed(&settings("codex"), old, &PLACE).unwrap();
        assert!(new.starts_with("# mine\nmodel = \"openai/gpt-5-mini\""), "{new}");
        let read: toml::Table = new.parse().unwrap();
        assert_eq!(read["approval"].as_str(), Some("never"));
        assert_eq!(read["features"]["plugins"].as_bool(), Some(false));
        assert_eq!(
            read["model_providers"]["tidegate"]["base_url"].as_str(),
            Some("http://127.0.0.1:8787/v1")
        );
        // A second time changes nothing.
        assert_eq!(changed(&settings("codex"), &new, &PLACE).unwrap(), new);
        assert!(changed(&settings("codex"), "model = ", &PLACE).is_err());
    }
}
