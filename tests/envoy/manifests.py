"""Checks manifests with the schemas that Kubernetes publishes, and that of an InferencePool; names each by its kind.

The latter is `inferencepool.schema.json`: types, patterns and bounds of the CustomResourceDefinition of the Gateway API Inference
Extension v1.6.0 (`config/crd/bases/inference.networking.k8s.io_inferencepools.yaml`, Apache-2.0), without its descriptions, its
status and its rules in CEL, and closed for fields that it does not know, as the API server is in strict validation.
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

POOL = json.loads(pathlib.Path(__file__).with_name("inferencepool.schema.json").read_text())


def check(manifest):
    kind = manifest["kind"]
    if kind == "InferencePool":
        assert manifest["apiVersion"] == "inference.networking.k8s.io/v1", manifest["apiVersion"]
        jsonschema.Draft202012Validator(POOL).validate(manifest)
        return "checked"
    if manifest["apiVersion"].startswith(("v1", "apps/")):
        kubernetes_validate.validate(manifest, "1.31", strict=True)
        return "checked"
    # Of another API, whose schema is not here.
    return "unchecked"


def refused(manifest):
    try:
        check(manifest)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return True
    return False


def main():
    manifests = [each for each in yaml.safe_load_all(open(sys.argv[1])) if each]
    for manifest in manifests:
        print(manifest["kind"], manifest["metadata"]["name"], check(manifest))
        if manifest["kind"] == "Deployment":
            print("arguments", json.dumps(manifest["spec"]["template"]["spec"]["containers"][0]["args"]))
    wrong = copy.deepcopy(manifests)
    for manifest in wrong:
        if manifest["kind"] == "InferencePool":
            manifest["spec"]["targetPorts"] = [{"number": 70000}]
            assert refused(manifest), "the schema of a pool finds nothing"
        if manifest["kind"] == "Deployment":
            manifest["spec"]["replicas"] = "two"
            assert refused(manifest), "the schemas of Kubernetes find nothing"


main()
