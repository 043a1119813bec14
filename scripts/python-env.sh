#!/bin/sh
# Makes .venv with the pinned Python packages of tests/requirements.txt; does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

# The environment depends on the list and on the interpreter it was built with.
wanted=$({ cat tests/requirements.txt; python3 --version; } | cksum)
stamp=.venv/.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
rm -rf .venv
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements.txt
.venv/bin/python -m pip check --quiet
printf '%s\n' "$wanted" > "$stamp"
