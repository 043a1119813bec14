#!/bin/sh
# python-env.sh [core]: makes .venv with the pinned Python packages of tests/requirements.txt, or with those that every run of the tests needs, which are
# marked there; does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

# The environment depends on the list and on the interpreter it was built with.
wanted=$({ cat tests/requirements.txt; python3 --version; } | cksum)
stamp=.venv/.stamp
is_there() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $1" ]; }
if is_there whole || { [ "${1:-}" = core ] && is_there core; }; then
    exit 0
fi
# What every run has stays; another list makes it anew.
is_there core || { rm -rf .venv && python3 -m venv .venv; }
if [ "${1:-}" = core ]; then
    sed -n 's/ *# every run$//p' tests/requirements.txt > .venv/wanted.txt
else
    cp tests/requirements.txt .venv/wanted.txt
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r .venv/wanted.txt
.venv/bin/python -m pip check --quiet
printf '%s\n' "$wanted ${1:-whole}" > "$stamp"
