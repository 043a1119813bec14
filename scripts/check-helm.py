#!/usr/bin/env python3
"""Lints and renders the Helm chart with values that users have, and checks the manifests, and packaging/kubernetes.yaml too."""

import pathlib
import re
import subprocess
import sys
import tempfile

import yaml
from helm_python import chart

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "packaging/helm/tidegate"
SHARED = {"replicas": 3, "masterKey": {"existingSecret": "key"}, "database": {"existingSecret": "db"}}

# Values by name, with the kinds that they make beyond those of every release.
RENDERED = {
    "default": ({}, []),
    "shared": (SHARED, ["PodDisruptionBudget"]),
    "no-volume": (SHARED | {"persistence": {"enabled": False}, "podDisruptionBudget": {"enabled": False}}, []),
    "claimed": ({"persistence": {"existingClaim": "mine"}, "serviceAccount": {"create": False, "name": "mine"}}, []),
    "everything": (
        SHARED
        | {
            "image": {"repository": "images.example/tidegate", "digest": "sha256:" + "0" * 64, "pullSecrets": ["pull"]},
            "settings": {"TIDEGATE_PUBLIC_URL": "https://gateway.example", "TIDEGATE_WORKERS": 4},
            "secretSettings": {"TIDEGATE_FILES_KEYS": {"secret": "files", "key": "keys"}},
            "persistence": {"storageClass": "fast", "size": "50Gi", "annotations": {"a": "b"}},
            "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
            "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
            "serviceAccount": {"annotations": {"a": "b"}},
            "networkPolicy": {
                "enabled": True,
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "postgres"}}}], "ports": [{"port": 5432}]}],
            },
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "priorityClassName": "high",
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "gateway", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "tidegate"}}}},
            ]}},
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "tidegate"}},
            }],
        },
        ["Ingress", "NetworkPolicy", "PodDisruptionBudget"],
    ),
}
# Values that are refused, with a part of the message.
REFUSED = [
    ({"replicas": 2}, "database.existingSecret"),
    ({"replicas": 2, "database": {"existingSecret": "db"}}, "masterKey.existingSecret"),
    (SHARED | {"persistence": {"existingClaim": "mine"}}, "existingClaim"),
    ({"persistence": {"enabled": False}}, "without a volume"),
    ({"settings": {"TIDEGATE_DATABASE_URL": "postgres://u:p@h/d"}}, "a secret"),
    ({"settings": {"TIDEGATE_MASTER_KEY": "a"}}, "a secret"),
    ({"settings": {"TIDEGATE_MASTER_KEY_FILE": "a"}}, "masterKey"),
    ({"settings": {"listen": "a"}}, "listen"),
    ({"replica": 2}, "replica"),
    ({"image": {"digest": "latest"}}, "digest"),
]

wrong = []


def check(holds, message):
    if not holds:
        wrong.append(message)


def hardened(name, pod):
    """What the restricted standard of Kubernetes requires, and a file system that can't be written."""
    inner, [container] = pod["securityContext"], pod["containers"]
    outer = container["securityContext"]
    check(inner["runAsNonRoot"] and inner["runAsUser"] == 65532, f"{name}: runs as root")
    check(inner["seccompProfile"] == {"type": "RuntimeDefault"}, f"{name}: no seccomp profile")
    check(outer == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, f"{name}: {outer}")
    check(pod["automountServiceAccountToken"] is False, f"{name}: has a token of the cluster")
    check(pod["terminationGracePeriodSeconds"] > 600, f"{name}: requests are cut off")
    paths = {probe: container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    check(paths == {"readinessProbe": "/health/ready", "livenessProbe": "/health/live"}, f"{name}: {paths}")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"]["defaultMode"] for volume in pod["volumes"] if "secret" in volume}
    check(mounted == {"data", "tmp"} | set(secrets), f"{name}: mounts {mounted}")
    check(set(secrets.values()) <= {0o400}, f"{name}: secrets that others can read: {secrets}")
    check(inner["fsGroupChangePolicy"] == "OnRootMismatch", f"{name}: each restart changes the modes of the files")
    for variable in container["env"]:
        is_secret = variable["name"] in ("TIDEGATE_DATABASE_URL", "TIDEGATE_FILES_KEYS")
        check(is_secret == ("valueFrom" in variable), f"{name}: {variable}")
    return {variable["name"] for variable in container["env"]}


def rendered(loaded, name, values, kinds, folder):
    files = loaded.render(values, name="gate", namespace="ai")
    objects = [one for path, text in sorted(files.items()) if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    account = [] if values.get("serviceAccount", {}).get("create") is False else ["ServiceAccount"]
    found = sorted(one["kind"] for one in objects)
    check(found == sorted(["Service", "Service", "StatefulSet", *account, *kinds]), f"{name}: {found}")
    [notes] = [text for path, text in files.items() if path.endswith("NOTES.txt")]
    check("kubectl --namespace ai logs gate-tidegate-0" in notes, f"{name}: {notes}")
    [workload] = [one for one in objects if one["kind"] == "StatefulSet"]
    pod = workload["spec"]["template"]
    settings = hardened(name, pod["spec"])
    shared = {"TIDEGATE_DATABASE_URL", "TIDEGATE_MASTER_KEY_FILE"}
    check(settings & shared == (shared if "database" in values else set()), f"{name}: {settings}")
    selector = workload["spec"]["selector"]["matchLabels"]
    check(selector.items() <= pod["metadata"]["labels"].items(), f"{name}: selects other pods")
    selectors = [one["spec"]["selector"] for one in objects if one["kind"] == "Service"]
    check(all(one == selector for one in selectors), f"{name}: a service selects {selectors}")
    data = [*workload["spec"].get("volumeClaimTemplates", []), *(v for v in pod["spec"]["volumes"] if v["name"] == "data")]
    check(len(data) == 1, f"{name}: {len(data)} volumes for the data")
    out = folder / f"{name}.yaml"
    out.write_text(yaml.safe_dump_all(objects))
    return out


def main():
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    with tempfile.TemporaryDirectory() as folder, chart.Chart.load(CHART) as loaded:
        check(loaded.metadata["appVersion"] == loaded.version == version, f"Chart.yaml: the versions are not {version}")
        report = chart.lint(CHART, strict=True)
        # Helm recommends an icon, which would be an address elsewhere.
        messages = [one for one in report["messages"] if "icon is recommended" not in one["error"]]
        check(not messages and report["total_charts_linted"] == 1, f"helm lint: {messages}")
        files = [rendered(loaded, name, *given, pathlib.Path(folder)) for name, given in RENDERED.items()]
        for values, message in REFUSED:
            try:
                loaded.render(values, name="gate", namespace="ai")
                wrong.append(f"{values} is taken")
            except Exception as error:
                check(message in str(error), f"{values}: {error}")
        plain = ROOT / "packaging/kubernetes.yaml"
        [pod] = [one["spec"]["template"]["spec"] for one in yaml.safe_load_all(plain.read_text()) if one["kind"] == "StatefulSet"]
        hardened(plain.name, pod)
        validate = pathlib.Path(sys.executable).with_name("kubernetes-validate")
        command = [validate, "--strict", "--quiet", plain, *files]
        result = subprocess.run(command, capture_output=True, text=True)
        check(result.returncode == 0, f"kubernetes-validate: {result.stdout}{result.stderr}")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(RENDERED)} renderings, {len(REFUSED)} refusals, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
