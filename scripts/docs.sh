#!/bin/sh
# Renders the documentation into console/dist/docs, from where the next build embeds it: the gateway serves it under /docs.
set -eu
cd "$(dirname "$0")/.."
cargo run --locked --quiet -p xtask -- site
