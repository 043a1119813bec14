#!/usr/bin/env bash
# Runs the A2A protocol's own kit of tests, from a checkout of it in DIR, against an agent of a gateway on the loopback. Further
# words are categories of the kit. What the kit needs is installed when it is missing, apart from what `make test` installs.
# docs/agents.md says which of its tests can't hold.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -f "${1:-}/run_tck.py" ]; then
    echo "usage: scripts/a2a-tck.sh DIR [CATEGORY ...], where DIR is a checkout of https://github.com/a2aproject/a2a-tck" >&2
    exit 2
fi
kit=$(cd "$1" && pwd)
shift

venv=.venv-a2a
pins='import sys, tomllib; print("\n".join(tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"]))'
wanted=$({ cat "$kit/pyproject.toml"; python3 --version; } | cksum)
if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing what the kit needs"
    rm -rf "$venv"
    python3 -m venv "$venv"
    python3 -c "$pins" "$kit/pyproject.toml" >"$venv/requirements.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/requirements.txt"
    printf '%s\n' "$wanted" >"$venv/.stamp"
fi

cargo build --locked -p tidegate -p journeys --bins
"$venv/bin/python" tests/a2a/run.py "$kit" "$PWD/$venv/bin/python" "$@"
