//! BYOC nodes.

use domain::{ProbeResult, ServerFeature};
use snapshot::NodeState;
use store::{NodeObservation, NodeRow};

use crate::samples::{Fresh, act, conflict, node, secret};

fn seen(unix_ms: u64, models: &[&str]) -> NodeObservation {
    let models = Some(models.iter().map(ToString::to_string).collect());
    NodeObservation { unix_ms, reachable: true, models, error: None }
}

pub async fn a_node_is_made_observed_and_changed(fresh: &Fresh) {
    let (nodes, workspace) = (fresh.store.nodes(), fresh.founding.workspace.id);
    let made = nodes.create(node(workspace, 5), act()).await.unwrap().row;
    assert_eq!(nodes.get(workspace, made.id).await.unwrap(), made);
    let same_name = NodeRow { name: made.name.clone(), ..node(workspace, 6) };
    conflict(nodes.create(same_name, act()).await, "name_taken");
    let observe = |found| nodes.record_observation(workspace, made.id, made.base_url.clone(), found);
    let learned = observe(seen(5, &["qwen3"])).await.unwrap();
    assert!(learned.version > made.version);
    assert_eq!(learned.row.models(), ["qwen3"]);
    let same = observe(seen(6, &["qwen3"])).await.unwrap();
    assert_eq!((same.version, same.row.last_seen_unix_ms), (learned.version, Some(6)), "only the time");
    let away = NodeObservation { unix_ms: 7, reachable: false, models: None, error: Some("refused".into()) };
    let away = observe(away).await.unwrap().row;
    assert_eq!((away.state(), away.last_seen_unix_ms), (NodeState::Unreachable, Some(6)));
    assert_eq!(away.models(), ["qwen3"], "what it serves is not forgotten");
    let drained = NodeRow { draining: true, declared_models: Some(vec!["mine".into()]), ..away };
    let drained = nodes.replace((drained, None), None, act()).await.unwrap().row;
    assert_eq!((drained.state(), drained.models()), (NodeState::Draining, ["mine".to_owned()].as_slice()));
    assert_eq!(nodes.list_all(Default::default()).await.unwrap().rows, [drained]);
}

pub async fn what_a_node_takes_is_kept_and_reaches_the_snapshot(fresh: &Fresh) {
    let (nodes, workspace) = (fresh.store.nodes(), fresh.founding.workspace.id);
    let made = nodes.create(node(workspace, 5), act()).await.unwrap().row;
    let findings = vec![ServerFeature::NullContent.is(false, 3)];
    let probed = ProbeResult { unix_ms: 3, model: None, error: None, findings };
    let written =
        nodes.record_probe(workspace, made.id, made.base_url.clone(), probed.clone(), act()).await.unwrap();
    assert_eq!(written.row.server.probed.as_ref(), Some(&probed));
    assert_eq!(nodes.get(workspace, made.id).await.unwrap(), written.row);
    assert!(fresh.entry().await.nodes[0].quirks.lacks(ServerFeature::NullContent));
    let moved = NodeRow { base_url: "http://127.0.0.9/v1".into(), ..written.row };
    let moved = nodes.replace((moved, Some(None)), None, act()).await.unwrap().row;
    assert_eq!(moved.server.probed, None);
    let late = nodes.record_probe(workspace, made.id, made.base_url, probed, act()).await.unwrap().row;
    assert_eq!(late, moved);
}

pub async fn a_removed_secret_does_not_come_back_under_its_version(fresh: &Fresh) {
    let (nodes, workspace) = (fresh.store.nodes(), fresh.founding.workspace.id);
    let made = nodes.create(node(workspace, 5), act()).await.unwrap().row;
    let moved = NodeRow { base_url: "http://127.0.0.2/v1".into(), ..made };
    conflict(nodes.replace((moved.clone(), None), None, act()).await, "base_url_needs_secret");
    let bare = nodes.replace((moved, Some(None)), None, act()).await.unwrap().row;
    assert_eq!((&bare.secret, bare.secret_version_last), (&None, 1));
    assert!(nodes.replace((bare.clone(), Some(Some(secret(1)))), None, act()).await.is_err());
    let sealed = nodes.replace((bare, Some(Some(secret(2)))), None, act()).await.unwrap().row;
    assert_eq!(nodes.get(workspace, sealed.id).await.unwrap().secret, Some(secret(2)));
}
