#!/usr/bin/env bash
# Keeps files in servers of S3 and Azure Blob on the loopback, and looks at what they hold. What it needs
# is installed when it is missing, apart from what `make test` installs.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-buckets
wanted=$({ cat tests/buckets/requirements.txt; python3 --version; } | cksum)
if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing tests/buckets/requirements.txt"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r tests/buckets/requirements.txt
    "$venv/bin/python" -m pip check --quiet
    printf '%s\n' "$wanted" >"$venv/.stamp"
fi

node=tests/buckets
wanted=$({ cat "$node/package-lock.json"; node --version; } | cksum)
if [ "$(cat "$node/node_modules/.stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing the server of Azure Blob"
    npm ci --prefix "$node" --silent --no-audit --no-fund
    printf '%s\n' "$wanted" >"$node/node_modules/.stamp"
fi

cargo build --locked -p tidegate --bins
"$venv/bin/python" tests/buckets/run.py "${CARGO_TARGET_DIR:-target}/debug/tidegate"
