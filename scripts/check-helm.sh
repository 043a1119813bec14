#!/bin/sh
# Renders the Helm chart with the Helm library, and validates the manifests; PyPI's helm-python-sdk has the library, so no `helm` is needed.
set -eu
cd "$(dirname "$0")/.."
sh scripts/python-env.sh
exec .venv/bin/python scripts/check-helm.py "$@"
