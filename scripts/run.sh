#!/usr/bin/env bash
# Builds Tidegate and starts it. The gateway serves as soon as it is built; beside it a node with the small model that comes
# with the source, so that a first request is answered without a provider key, is built and started.
# Ctrl-C ends both. TIDEGATE_DATA_DIR chooses the data directory (./data).
set -euo pipefail
cd "$(dirname "$0")/.."

data=${TIDEGATE_DATA_DIR:-./data}
listen=127.0.0.1:8787
node_listen=127.0.0.1:8080
# The gateway does without the engine and is built first; the node's build goes on from what is there, since both resolve
# the same features (`cargo xtask features`). The second build replaces this file, not the process that runs of it.
binary=target/make-run/tidegate
build_log=target/make-run.log
model_dir=builtin/model
model=tidegate-demo
export TIDEGATE_ALLOW_PRIVATE_UPSTREAMS=1
pids=()

say() { printf '%s\n' "$*"; }
fail() { printf 'make run: %s\n' "$*" >&2; exit 1; }

# Both are asked to end, by their own ids, and waited for: nothing stays behind.
end() {
    trap - EXIT
    trap '' INT TERM
    [ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    wait || true
}
trap end EXIT
trap 'exit 0' INT # the usual way to end it
trap 'exit 143' TERM

is_taken() { (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; }

check_free() { # check_free ADDRESS WHAT
    ! is_taken "$1" || fail "$1 is in use, and $2 needs it. Another \`make run\`? See \`ss -ltnp 'sport = :${1#*:}'\`, end that process and start again."
}

status_of() { # status_of ADDRESS PATH: the HTTP status, without needing curl
    exec 3<>"/dev/tcp/${1%:*}/${1#*:}" || return 1
    printf 'GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n' "$2" "$1" >&3
    local line
    IFS= read -r -t 5 line <&3 || line=
    exec 3>&- 3<&-
    line=${line#* }
    printf '%s' "${line%% *}"
}

wait_for() { # wait_for PID ADDRESS PATH WHAT: until it answers 200; reading with a time limit is the pause
    local tries
    for tries in $(seq 600); do
        kill -0 "$1" 2>/dev/null || fail "$4 ended before it was ready; what it printed is above"
        if [ "$(status_of "$2" "$3" 2>/dev/null)" = 200 ]; then return 0; fi
        sleep 0.05
    done
    fail "$4 was not ready after 30 s ($tries tries at http://$2$3)"
}

field() { # field NAME: a string member of the flat JSON object on stdin
    sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p"
}

duration() { # duration SECONDS
    if [ "$1" -lt 90 ]; then printf '%d s' "$1"; else printf '%d min' $((($1 + 30) / 60)); fi
}

# A crate of ours takes about as long as four of others; cargo -v names each once, as fresh or compiling.
weights() { awk '/^ *(Fresh|Compiling) / { of += / \(\// ? 4 : 1; n++ } END { print n + 0, of + 0 }' "$1"; }
weights_of_all() { # weights_of_all CARGO-OPTIONS...: crates, and their weight, of the whole build
    cargo tree --locked -p tidegate -e normal,build --prefix none "$@" 2>/dev/null | awk '!/\(\*\)$/ && !seen[$1 $2]++ { of += / \(\// ? 4 : 1; n++ } END { print n + 0, of + 0 }'
}

progress() { # progress WHAT SECONDS CRATES WEIGHT
    local crates done_weight left
    read -r crates done_weight < <(weights "$build_log")
    [ "$done_weight" -gt 0 ] && [ "$crates" -lt "$3" ] || return 0
    left=$(($2 * ($4 - done_weight) / done_weight))
    say "  $1: $crates of $3 crates after $(duration "$2"), about $(duration "$left") left"
}

build() { # build WHAT OPTIONS...: builds the binary, and says every quarter of a minute how far it is
    local what=$1 began=$SECONDS told=$SECONDS crates weight building
    shift
    mkdir -p target
    read -r crates weight < <(weights_of_all "$@")
    # A group of its own, as the processes that follow: Ctrl-C ends this script, which ends them.
    set -m
    cargo build -v --locked --profile make-run -p tidegate "$@" 2>"$build_log" &
    building=$!
    pids+=("$building")
    set +m
    while kill -0 "$building" 2>/dev/null; do
        [ -z "${serve:-}" ] || kill -0 "$serve" 2>/dev/null || fail "the gateway ended; what it printed is above"
        read -r -t 1 _ <> <(:) || true
        [ $((SECONDS - told)) -lt 15 ] || { told=$SECONDS; progress "$what" $((SECONDS - began)) "$crates" "$weight"; }
    done
    unset 'pids[-1]'
    if ! wait "$building"; then
        grep -v '^ *\(Fresh\|Compiling\|Running\|Dirty\) ' "$build_log" | tail -n 30 >&2
        fail "$what could not be built; the whole log is $build_log"
    fi
}

check_free "$listen" "the gateway"
check_free "$node_listen" "the node"

say "Building the gateway: the first time about five minutes on two cores, later a second. The node follows while the gateway serves."
if command -v npm >/dev/null; then
    scripts/console.sh || say "The console could not be built: the gateway serves without it."
else
    say "There is no npm here: the gateway is built without its console (Node.js 20 builds it)."
fi
build gateway --no-default-features

api_key= admin_key=
if [ ! -d "$data" ] || [ -z "$(ls -A "$data")" ]; then
    keys=$("$binary" init --data-dir "$data" --json)
    flat=$(printf '%s' "$keys" | tr -d '\n')
    api_key=$(printf '%s' "$flat" | field api_key)
    admin_key=$(printf '%s' "$flat" | field admin_key)
    unset keys flat
    [ -n "$api_key" ] && [ -n "$admin_key" ] || fail "\`tidegate init\` did not print its keys; remove $data and start again"
fi

# Job control gives each a process group of its own: Ctrl-C reaches this script, which then ends them in order.
set -m
"$binary" serve --data-dir "$data" --listen "$listen" &
serve=$!
pids+=("$serve")
wait_for "$serve" "$listen" /health/ready "the gateway"
set +m

say ""
say "Tidegate     http://$listen   (data in $data; a browser opens the console there)"
if [ -n "$api_key" ]; then
    say ""
    say "API key      $api_key"
    say "Admin key    $admin_key"
    say "             Both are shown this once and are stored only as hashes."
else
    say ""
    say "The keys were shown at the first start. A new one, with the admin key in TIDEGATE_API_KEY:"
    say "  $binary key create NAME"
fi
for pair in openai:OPENAI_API_KEY together_ai:TOGETHER_API_KEY nebius:NEBIUS_API_KEY; do
    variable=${pair#*:}
    [ -n "${!variable:-}" ] || continue
    say ""
    say "$variable is set here. It is not used unless you import it, with the admin key in TIDEGATE_API_KEY:"
    say "  printenv $variable | $binary credential add ${pair%%:*}"
done
say ""

# The node, while the gateway serves.
say "The gateway serves. Building the node with its engine: the first time about four minutes more."
build node

set -m
"$binary" node --model "$model_dir" --name "$model" --listen "$node_listen" --data-dir "${data%/}-node" &
node=$!
pids+=("$node")
wait_for "$node" "$node_listen" /v1/models "the node"
set +m
if [ -n "$admin_key" ]; then
    TIDEGATE_URL=http://$listen TIDEGATE_API_KEY=$admin_key \
        "$binary" nodes add demo --base-url "http://$node_listen/v1" >/dev/null ||
        say "The node could not be registered. With the admin key in TIDEGATE_API_KEY:
  $binary nodes add demo --base-url http://$node_listen/v1"
fi
admin_key=

question='{"model":"'$model'","messages":[{"role":"user","content":"What is Tidegate?"}]}'
say "Node         http://$node_listen   ($model, a demonstration: it is small, and knows nothing but Tidegate)"
say ""
if [ -n "$api_key" ]; then
    # The link that the gateway printed may be older than a link is good for by now.
    say "Console      $("$binary" login --link --data-dir "$data" --url "http://$listen")   (signs the owner in; once, within ten minutes)"
    say ""
    say "Try it:"
    say "curl http://$listen/v1/chat/completions -H 'Authorization: Bearer $api_key' -H 'Content-Type: application/json' -d '$question'"
else
    say "Try it, with a key in \$TIDEGATE_API_KEY:"
    say "curl http://$listen/v1/chat/completions -H \"Authorization: Bearer \$TIDEGATE_API_KEY\" -H 'Content-Type: application/json' -d '$question'"
    say "Is the node not listed by \`$binary nodes list\`? Then, with the admin key:"
    say "  $binary nodes add demo --base-url http://$node_listen/v1"
fi
say ""
say "Ctrl-C ends both."

# The first of the two to end, ends both.
wait -n "$serve" "$node" || true
say "one of the two processes ended; ending the other"
exit 1
