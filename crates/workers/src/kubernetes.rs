//! Workers in a Kubernetes cluster, by `kubectl`.

use std::collections::BTreeMap;

use domain::Secret;
use serde_json::Value;

use crate::config::KubernetesConfig;
use crate::life::Life;
use crate::limits::LOG_READ_BYTES_MAX;
use crate::manifests::{LABEL, manifests, name_of};
use crate::process;
use crate::record::Handle;
use crate::spec::Pods;

async fn kubectl(kubernetes: &KubernetesConfig, words: &[&str], stdin: &[u8]) -> Result<String, String> {
    let program = kubernetes.kubectl.as_ref().ok_or(
        "The configuration names no kubectl: order the worker with dry_run=true, and apply the manifests yourself.",
    )?;
    let mut arguments = vec![format!("--namespace={}", kubernetes.namespace)];
    if let Some(kubeconfig) = &kubernetes.kubeconfig {
        arguments.push(format!("--kubeconfig={}", kubeconfig.display()));
    }
    if let Some(context) = &kubernetes.context {
        arguments.push(format!("--context={context}"));
    }
    arguments.extend(words.iter().map(|word| (*word).to_owned()));
    Ok(process::run(program, &arguments, stdin).await?.stdout)
}

pub(crate) async fn start(
    kubernetes: &KubernetesConfig,
    pods: &Pods,
    variables: &BTreeMap<String, Secret>,
    id: &str,
) -> Result<Handle, String> {
    let list = manifests(&kubernetes.namespace, id, pods, variables).to_string();
    kubectl(kubernetes, &["apply", "-f", "-"], list.as_bytes()).await?;
    Ok(Handle::Cluster)
}

pub(crate) async fn look(kubernetes: &KubernetesConfig, id: &str) -> Life {
    let name = name_of(id);
    let words = ["get", "deployment", &name, "--ignore-not-found", "-o", "json"];
    let found = match kubectl(kubernetes, &words, b"").await {
        Ok(found) => found,
        Err(why) => return Life::Unknown(why),
    };
    if found.trim().is_empty() {
        return Life::Ended("Its deployment is gone.".to_owned());
    }
    let Ok(deployment) = serde_json::from_str::<Value>(&found) else {
        return Life::Unknown("kubectl wrote something that isn't JSON.".to_owned());
    };
    let number = |path: &str| deployment.pointer(path).and_then(Value::as_u64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    match number("/status/readyReplicas") {
        Some(ready) if ready >= wanted => Life::Running,
        _ => Life::Starting,
    }
}

pub(crate) async fn log(kubernetes: &KubernetesConfig, id: &str) -> Result<String, String> {
    let (selector, bytes) =
        (format!("{LABEL}={}", name_of(id)), format!("--limit-bytes={LOG_READ_BYTES_MAX}"));
    let mut log = kubectl(kubernetes, &["logs", "-l", &selector, "--tail=500", &bytes], b"").await?;
    // Its end is cut off: a piece of a secret is none that is known.
    if log.len() >= LOG_READ_BYTES_MAX {
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
    }
    Ok(log)
}

pub(crate) async fn destroy(kubernetes: &KubernetesConfig, id: &str) -> Result<(), String> {
    let selector = format!("{LABEL}={}", name_of(id));
    let words =
        ["delete", "deployment,service,secret", "-l", &selector, "--ignore-not-found", "--wait=false"];
    kubectl(kubernetes, &words, b"").await.map(drop)
}
