#!/usr/bin/env bash
# Builds the gateway as it is shipped and the benchmark, installs nginx where it is missing, and measures.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nginx >/dev/null; then
    echo "installing nginx-light, the reference of the benchmark"
    root=(); [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -qq -y --no-install-recommends nginx-light >/dev/null ||
        echo "nginx could not be installed: there will be no ratios, and the run will end with an error" >&2
    # The package starts a server of its own where there is an init system; the benchmark starts its own.
fi

# A thousand streams are four thousand sockets between client, proxy and emulator.
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 8192 ]; then
    echo "at most $(ulimit -n) open files are allowed here; 8192 are needed (ulimit -Hn)" >&2
    exit 1
fi

cargo build --locked --profile make-run -p bench
case " $* " in
    *" --binary "*) ;; # a build of the caller's choice, such as target/make-run/tidegate
    *" --only "*) case "$*" in *us*) scripts/release.sh ;; esac ;;
    *) scripts/release.sh && cargo build --locked --release -p tidegate ;;
esac
exec target/make-run/bench "$@"
