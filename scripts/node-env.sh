#!/bin/sh
# Installs the locked Node packages of tests/node; does nothing when they are up to date.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh
cd tests/node

wanted=$({ cat package-lock.json; node --version; } | cksum)
stamp=node_modules/.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
npm ci --silent --no-audit --no-fund
printf '%s\n' "$wanted" > "$stamp"
