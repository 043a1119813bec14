#!/bin/sh
# Builds the console into console/dist/app, from where it is embedded; `console.sh test` checks its types and runs its unit
# tests as well; `console.sh packages` only installs what both need. Each does nothing when nothing changed since it last passed.
set -eu
cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null; then
    echo "the console needs Node.js and npm (Debian: apt-get install nodejs npm)" >&2
    exit 1
fi
. scripts/node.sh
cd console

packages=$({ cat package-lock.json; node --version; } | cksum)
stamp=node_modules/.stamp
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$packages" ]; then
    npm ci --loglevel error --ignore-scripts --no-audit --no-fund >/dev/null
    printf '%s\n' "$packages" > "$stamp"
fi
[ "${1:-}" != packages ] || exit 0

sources=$({ printf '%s\n' "$packages" "${TIDEGATE_LANGUAGE:-}"; find src public texts index.html package.json ./*.ts ./*.js tsconfig.json -type f | LC_ALL=C sort | xargs cksum; } | cksum)
is_done() { [ -f "$1" ] && [ "$(cat "$1")" = "$sources" ]; }

# The build empties its folder first: a stamp there says that it ended well.
if ! is_done dist/app/.stamp; then
    npm run --silent build -- --logLevel warn
    printf '%s\n' "$sources" > dist/app/.stamp
fi
if [ "${1:-}" = test ] && ! is_done node_modules/.stamp-test; then
    npm run --silent check
    npm run --silent test
    printf '%s\n' "$sources" > node_modules/.stamp-test
fi
