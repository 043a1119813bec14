//! What a credential says of its account: fields as data, so that the form, the check and the documentation are one.

use domain::hosting::{API_VERSION, DEPLOYMENTS};
use serde::Deserialize;

use crate::files::ConfigRow;

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigForm {
    /// The account's own name of each model, by the model's name.
    Names,
    /// A day, `-preview` after it where it is one.
    Version,
}

/// One field of a `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigField {
    pub name: String,
    pub title: String,
    pub says: String,
    pub form: ConfigForm,
    pub required: bool,
    pub example: String,
}

/// What the rooms read of a `config`.
const KNOWN: [(&str, ConfigForm); 2] = [(DEPLOYMENTS, ConfigForm::Names), (API_VERSION, ConfigForm::Version)];

impl ConfigField {
    /// `None` where no room would read it.
    pub(crate) fn of(name: String, row: ConfigRow) -> Option<Self> {
        let ConfigRow { title, says, form, required, example } = row;
        KNOWN.contains(&(name.as_str(), form)).then_some(Self { name, title, says, form, required, example })
    }
}
