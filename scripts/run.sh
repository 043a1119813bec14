#!/usr/bin/env bash
# Builds Tidegate and starts all of it on this machine with `tidegate up`: the gateway with its console as soon as it is built, and the demo node when the
# engine is. TIDEGATE_DATA_DIR chooses the data directory (./data).
set -euo pipefail
cd "$(dirname "$0")/.."

binary=target/make-run/tidegate
gateway=target/make-run/gateway
node=target/make-run/node
build_log=target/make-run.log
docs_log=target/docs.log
building= serving=

say() { printf '%s\n' "$*"; }

# Asked before minutes of building, unless a settings file may say another address.
listen=${TIDEGATE_LISTEN:-127.0.0.1:8787}
if [ ! -e "${TIDEGATE_CONFIG:-${TIDEGATE_DATA_DIR:-./data}/tidegate.toml}" ] && (: <>"/dev/tcp/${listen%:*}/${listen##*:}") 2>/dev/null; then
    say "$listen is in use by another process (\`ss -ltnp\` shows which). Stop it, or choose another address: TIDEGATE_LISTEN=127.0.0.1:8788 make run" >&2
    exit 1
fi

end() {
    trap - EXIT
    [ -z "$building$serving" ] || kill -TERM $building $serving 2>/dev/null || true
    wait || true
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

duration() { # duration SECONDS
    if [ "$1" -lt 90 ]; then printf '%d s' "$1"; else printf '%d min' $((($1 + 30) / 60)); fi
}

# A crate of ours takes about as long as four of others; cargo -v names each once, as fresh or compiling.
weights() { awk '/^ *(Fresh|Compiling) / { of += / \(\// ? 4 : 1; n++ } END { print n + 0, of + 0 }' "$1"; }
weights_of_all() { # weights_of_all FLAG...: crates, and their weight, of that build
    cargo tree --locked -p tidegate "$@" -e normal,build --prefix none 2>/dev/null | awk '!/\(\*\)$/ && !seen[$1 $2]++ { of += / \(\// ? 4 : 1; n++ } END { print n + 0, of + 0 }'
}

progress() { # progress SECONDS CRATES WEIGHT
    local crates done_weight left
    read -r crates done_weight < <(weights "$build_log")
    [ "$done_weight" -gt 0 ] && [ "$crates" -lt "$2" ] || return 0
    left=$(($1 * ($3 - done_weight) / done_weight))
    say "  $crates of $2 crates after $(duration "$1"), about $(duration "$left") left"
}

build() { # build WHAT FLAG...: builds the binary, and says every quarter of a minute how far it is
    local what=$1 began=$SECONDS reported=$SECONDS crates weight
    shift
    read -r crates weight < <(weights_of_all "$@")
    cargo build -v --locked --profile make-run -p tidegate "$@" 2>"$build_log" &
    building=$!
    while kill -0 "$building" 2>/dev/null; do
        read -r -t 1 _ <> <(:) || true
        [ $((SECONDS - reported)) -lt 15 ] || { reported=$SECONDS; progress $((SECONDS - began)) "$crates" "$weight"; }
    done
    if ! wait "$building"; then
        grep -v '^ *\(Fresh\|Compiling\|Running\|Dirty\) ' "$build_log" | tail -n 30 >&2
        printf 'make run: %s could not be built; the whole log is %s\n' "$what" "$build_log" >&2
        building=
        return 1
    fi
    building=
}

mkdir -p target
say "Building Tidegate: the first time about ten minutes on two cores until the gateway serves, and four more for the demo node; later a second."
# Beside the console, whose build keeps one core busy. What it compiles is mostly the gateway's, too.
scripts/docs.sh make-run >"$docs_log" 2>&1 &
building=$!
if command -v npm >/dev/null; then
    scripts/console.sh || say "The console could not be built: the gateway serves without it."
else
    say "There is no npm here: the gateway is built without its console (Node.js 20 builds it)."
fi
wait "$building" || say "The documentation could not be rendered: the gateway serves without it. The log is $docs_log"
building=
up() { exec "$1" up --data-dir "${TIDEGATE_DATA_DIR:-./data}" "${@:2}"; }
# A second time, all of it is there in a second.
if [ -x "$node" ]; then
    build Tidegate || exit 1
    trap - EXIT INT TERM
    up "$binary"
fi
build "The gateway" --no-default-features || exit 1
cp "$binary" "$gateway"
up "$gateway" --node-program "$node" &
serving=$!
if build "The demo node"; then
    cp "$binary" "$node.new"
    mv "$node.new" "$node"
else
    say "The gateway serves on without it."
fi
wait "$serving"
