#!/usr/bin/env bash
# Builds the gateway as `make run` does, and counts the instructions of a request in its whole process; minutes, beside any load of the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v callgrind_control >/dev/null; then
    echo "valgrind is missing, which counts instructions: make setup installs it" >&2
    exit 1
fi
# Each by itself, as `make run` builds the gateway: together, it would have features that only the benchmark needs.
cargo build --locked --profile make-run -p bench
case " $* " in
    *" --binary "*) ;;
    *) cargo build --locked --profile make-run -p tidegate ;;
esac
exec target/make-run/bench count "$@"
