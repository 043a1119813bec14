//! The manifests of a worker in a cluster: a deployment, its service, and a secret with its variables.

use std::collections::BTreeMap;

use domain::Secret;
use serde_json::{Value, json};

use crate::spec::Pods;

const PORT: u16 = 8080;
/// By which the objects of a worker are found.
pub(crate) const LABEL: &str = "tidegate.dev/worker";

/// The name of a worker's objects: what Kubernetes allows, in lower case.
pub(crate) fn name_of(id: &str) -> String {
    id.to_ascii_lowercase().replace('_', "-")
}

/// What the variables are shown as where they are only rehearsed.
pub(crate) fn hidden(variables: &BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
    variables.keys().map(|name| (name.clone(), Secret::from_text(format!("[{name}]")))).collect()
}

/// A list of manifests, as `kubectl apply` takes it.
pub(crate) fn manifests(
    namespace: &str,
    id: &str,
    pods: &Pods,
    variables: &BTreeMap<String, Secret>,
) -> Value {
    let name = name_of(id);
    let labels = json!({"app.kubernetes.io/name": "tidegate-node", "app.kubernetes.io/managed-by": "tidegate", LABEL: name});
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    let values: BTreeMap<&String, &str> =
        variables.iter().map(|(name, value)| (name, value.expose_text().unwrap_or_default())).collect();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": values});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            "replicas": pods.replicas,
            "selector": {"matchLabels": {LABEL: name}},
            "template": {"metadata": {"labels": labels}, "spec": pod(&name, pods)},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": {LABEL: name}, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [secret, deployment, service]})
}

fn pod(name: &str, pods: &Pods) -> Value {
    let listen = format!("0.0.0.0:{PORT}");
    let first = ["node", "--model", &pods.model, "--listen", &listen, "--data-dir", "/data"];
    let arguments: Vec<&str> = first.into_iter().chain(pods.arguments.iter().map(String::as_str)).collect();
    let mut limits = serde_json::Map::new();
    if pods.gpus > 0 {
        limits.insert("nvidia.com/gpu".to_owned(), pods.gpus.to_string().into());
    }
    if let Some(memory_mib) = pods.memory_mib {
        limits.insert("memory".to_owned(), format!("{memory_mib}Mi").into());
    }
    if let Some(cpu_millis) = pods.cpu_millis {
        limits.insert("cpu".to_owned(), format!("{cpu_millis}m").into());
    }
    let probe = json!({"httpGet": {"path": "/v1/health", "port": "http"}, "periodSeconds": 5});
    let container = json!({
        "name": "node", "image": pods.image, "args": arguments,
        "envFrom": [{"secretRef": {"name": name}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": probe,
        "resources": {"limits": limits},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    json!({
        "automountServiceAccountToken": false,
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    })
}
