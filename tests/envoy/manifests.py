"""Checks manifests with the schemas that Kubernetes publishes, and those of an InferencePool and an HTTPRoute; names each by its kind.

The latter are `inferencepool.schema.json` and `httproute.schema.json`: types, patterns and bounds of the CustomResourceDefinitions of
the Gateway API Inference Extension v1.6.0 (`config/crd/bases/inference.networking.k8s.io_inferencepools.yaml`) and of the Gateway API
v1.6.1 (`config/crd/standard/gateway.networking.k8s.io_httproutes.yaml`), both Apache-2.0, without their descriptions, their status and
their rules in CEL, and closed for fields that they do not know, as the API server is in strict validation.
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml


def schema(name):
    text = pathlib.Path(__file__).with_name(f"{name}.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


# By the API's version and kind: what Kubernetes itself doesn't have.
SCHEMAS = {
    ("inference.networking.k8s.io/v1", "InferencePool"): schema("inferencepool"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): schema("httproute"),
}


def check(manifest):
    of = manifest["apiVersion"], manifest["kind"]
    if of in SCHEMAS:
        SCHEMAS[of].validate(manifest)
    else:
        assert manifest["apiVersion"].startswith(("v1", "apps/")), f"no schema of {of}"
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def refused(manifest):
    try:
        check(manifest)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return True
    return False


def main():
    manifests = [each for each in yaml.safe_load_all(open(sys.argv[1])) if each]
    for manifest in manifests:
        check(manifest)
        print(manifest["kind"], manifest["metadata"]["name"], "checked")
        if manifest["kind"] == "Deployment":
            print("arguments", json.dumps(manifest["spec"]["template"]["spec"]["containers"][0]["args"]))
    wrong = copy.deepcopy(manifests)
    for manifest in wrong:
        if manifest["kind"] == "InferencePool":
            manifest["spec"]["targetPorts"] = [{"number": 70000}]
            assert refused(manifest), "the schema of a pool finds nothing"
        if manifest["kind"] == "HTTPRoute":
            manifest["spec"]["rules"][0]["backendRefs"][0]["port"] = 70000
            assert refused(manifest), "the schema of a route finds nothing"
        if manifest["kind"] == "Deployment":
            manifest["spec"]["replicas"] = "two"
            assert refused(manifest), "the schemas of Kubernetes find nothing"


main()
