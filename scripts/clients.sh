#!/usr/bin/env bash
# Plays real frameworks and command lines through a gateway on the loopback, and keeps what held in
# docs/proofs/clients.md. A word plays only the clients whose name has it, and keeps nothing. What it needs is
# installed when it is missing: a Python environment and Node packages of its own, apart from those of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# A Python environment with what a file of requirements pins, made anew when the file changes.
python_env() {
    local venv=$1 pinned=$2 wanted
    wanted=$({ cat "$pinned"; python3 --version; } | cksum)
    if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing $pinned"
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$pinned"
        "$venv/bin/python" -m pip check --quiet
        printf '%s\n' "$wanted" >"$venv/.stamp"
    fi
}

venv=.venv-clients
python_env "$venv" tests/clients/requirements.txt
# LiteLLM's proxy pins other versions of the same packages.
python_env .venv-proxy tests/clients/proxy.txt

node=tests/clients/node
wanted=$({ cat "$node/package-lock.json"; node --version; } | cksum)
if [ "$(cat "$node/node_modules/.stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing the Node clients"
    npm ci --prefix "$node" --silent --no-audit --no-fund
    printf '%s\n' "$wanted" >"$node/node_modules/.stamp"
fi

cargo build --locked -p tidegate -p journeys --bins

play=("$venv/bin/python" tests/clients/run.py "$@")
# Where the system lets anyone have a network of their own, the clients have one with nothing but its loopback.
alone() { unshare --user --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh "$@"; }
if alone true 2>/dev/null; then
    CLIENTS_CUT_OFF=1 alone "${play[@]}"
else
    "${play[@]}"
fi
