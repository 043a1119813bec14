#!/bin/sh
# node-env.sh [core]: installs the locked Node packages of tests/node, or those that every run of the tests needs (the others are development packages);
# does nothing when they are up to date.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh
cd tests/node

wanted=$({ cat package-lock.json; node --version; } | cksum)
stamp=node_modules/.stamp
is_there() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $1" ]; }
if is_there whole || { [ "${1:-}" = core ] && is_there core; }; then
    exit 0
fi
if [ "${1:-}" = core ]; then
    npm ci --loglevel error --no-audit --no-fund --omit=dev >/dev/null
    printf '%s\n' "$wanted core" > "$stamp"
else
    npm ci --loglevel error --no-audit --no-fund >/dev/null
    printf '%s\n' "$wanted whole" > "$stamp"
fi
