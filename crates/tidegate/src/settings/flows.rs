//! Which engine drives runs of flows, and where it is.

use super::{Layers, SettingsError, address};

/// The engine of new runs, and the server that drives those of Restate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowEngineSettings {
    pub is_restate: bool,
    /// Set where its addresses are, whichever engine new runs have.
    #[cfg(feature = "restate")]
    pub restate: Option<restate::RestateSettings>,
}

const URL: &str = "an address such as http://restate:8080";

impl Layers {
    pub(super) fn flows(&self) -> Result<FlowEngineSettings, SettingsError> {
        let is_restate = self.parsed("flows.engine", "queue or restate", |text| match text {
            "queue" => Some(false),
            "restate" => Some(true),
            _ => None,
        })?;
        let ingress = self.parsed("flows.restate.ingress_url", URL, address)?;
        let admin = self.parsed("flows.restate.admin_url", URL, address)?;
        if is_restate && (ingress.is_none() || admin.is_none()) {
            let message = "flows.engine is restate, so flows.restate.ingress_url and flows.restate.admin_url must say where it is.";
            return Err(SettingsError(message.to_owned()));
        }
        self.engine(is_restate, ingress.zip(admin))
    }

    #[cfg(feature = "restate")]
    fn engine(
        &self,
        is_restate: bool,
        server: Option<(String, String)>,
    ) -> Result<FlowEngineSettings, SettingsError> {
        let listen: std::net::SocketAddr =
            self.parsed("flows.restate.listen", "an address and port such as 127.0.0.1:9080", |text| {
                text.parse().ok()
            })?;
        let advertised = self.parsed("flows.restate.advertise_url", URL, address)?;
        let identity_key = self.given("flows.restate.identity_key").map(str::to_owned);
        if server.is_some() && identity_key.is_none() && !listen.ip().is_loopback() {
            let message = "flows.restate.listen can be reached from other machines, so flows.restate.identity_key must say whose \
                           calls are taken.";
            return Err(SettingsError(message.to_owned()));
        }
        let restate = server.map(|(ingress_url, admin_url)| restate::RestateSettings {
            ingress_url,
            admin_url,
            listen,
            advertise_url: advertised.unwrap_or_else(|| format!("http://{listen}")),
            identity_key,
        });
        Ok(FlowEngineSettings { is_restate, restate })
    }

    #[cfg(not(feature = "restate"))]
    #[expect(clippy::unused_self, clippy::needless_pass_by_value, reason = "with the feature it reads more")]
    fn engine(
        &self,
        is_restate: bool,
        server: Option<(String, String)>,
    ) -> Result<FlowEngineSettings, SettingsError> {
        if is_restate || server.is_some() {
            let message =
                "flows.engine can't be restate: this build has no Restate. Build with the feature `restate`.";
            return Err(SettingsError(message.to_owned()));
        }
        Ok(FlowEngineSettings { is_restate })
    }
}
