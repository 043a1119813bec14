#!/bin/sh
# Renders the documentation into console/dist/docs, from where the next build embeds it: the gateway serves it under /docs. It does
# nothing when nothing changed since it last did. `docs.sh make-run` compiles what renders for the build of `make run`, which then has
# most of its packages already; `docs.sh PROGRAM` takes the checks as they were built.
set -eu
cd "$(dirname "$0")/.."

# The renderer writes an empty stamp when all pages are there.
stamp=console/dist/docs/.stamp
sources=$(find docs xtask/src/site xtask/src/site.rs xtask/src/tree.rs console/src/lib/find-docs.js ./*.md -type f | LC_ALL=C sort | xargs cksum | cksum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$sources" ]; then
    case ${1:-} in
        make-run)
            # Both packages, so that those which they share have the same features.
            cargo build --locked --quiet --profile make-run -p tidegate -p xtask --bin xtask
            target/make-run/xtask site
            ;;
        '') cargo run --locked --quiet -p xtask -- site ;;
        *) "$1" site ;;
    esac
    printf '%s\n' "$sources" > "$stamp"
fi
