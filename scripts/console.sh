#!/bin/sh
# Builds the console into console/dist/app, from where it is embedded; does nothing when nothing changed.
set -eu
cd "$(dirname "$0")/../console"

if ! command -v npm >/dev/null; then
    echo "the console needs Node.js 20 or later, and npm (Debian: apt-get install nodejs npm)" >&2
    exit 1
fi

packages=$({ cat package-lock.json; node --version; } | cksum)
stamp=node_modules/.stamp
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$packages" ]; then
    npm ci --silent --ignore-scripts --no-audit --no-fund
    printf '%s\n' "$packages" > "$stamp"
fi

# What the result depends on; a built console without this stamp is built anew.
sources=$({ printf '%s\n' "$packages"; find src public index.html package.json ./*.ts ./*.js tsconfig.json -type f | LC_ALL=C sort | xargs cksum; } | cksum)
stamp=dist/app/.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sources" ]; then
    exit 0
fi
npm run --silent build -- --logLevel warn
printf '%s\n' "$sources" > "$stamp"
