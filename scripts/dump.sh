#!/usr/bin/env bash
# dump.sh SCHEMA|COMMIT: keeps an installation of the last version whose newest migration has that number, or of that of a commit, in tests/dumps, on
# each database. Every later version opens it in `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    echo 'which version? make dump SCHEMA=0066, or SCHEMA=COMMIT; scripts/version-of-schema.sh lists the schemas' >&2
    exit 2
fi
TIDEGATE_BIN_BEFORE=$(scripts/older.sh "$1")
export TIDEGATE_BIN_BEFORE
chosen=$(cargo xtask affected core 2>/dev/null)
eval "$chosen"
# shellcheck disable=SC2154,SC2086 # `affected` printed it, and each of its words is an argument
cargo nextest run --locked $selection --lib --bins --tests --profile prove -E 'package(journeys) & test(/^upgrade::an_installation/)'
ls -l tests/dumps
