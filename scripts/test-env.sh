#!/usr/bin/env bash
# Installs what `make test` needs and this machine lacks. A second run finds its stamps and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

typos_version=1.52.0
nextest_version=0.9.143

say() { printf '  %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        say "this needs root, and there is no sudo: $*" >&2
        return 1
    fi
}

packages() { # packages NAME...: installs those Debian packages
    say "installing $*"
    as_root apt-get update -qq
    # Behind sudo, which passes no environment on.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

command -v cargo >/dev/null || { say "cargo is missing: install the Rust toolchain with rustup (https://rustup.rs)" >&2; exit 1; }
command -v cc >/dev/null || packages build-essential
command -v python3 >/dev/null || packages python3 python3-venv
command -v npm >/dev/null || packages nodejs npm
. scripts/node.sh
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then
    # The tests make servers of their own; the package's would only take memory.
    packages postgresql-common
    echo 'create_main_cluster = false' | as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
    packages postgresql
fi
# The server that workers are started on over SSH.
[ -x /usr/sbin/sshd ] || packages openssh-server openssh-client
# Nodes run in network namespaces of their own, and what a local one connects to is traced.
[ -x /usr/sbin/ip ] || command -v ip >/dev/null || packages iproute2
command -v strace >/dev/null || packages strace
command -v curl >/dev/null || packages curl
# The browser that walks through the console; without windows it takes a fifth less time.
command -v chromium-headless-shell >/dev/null || packages chromium-headless-shell || command -v chromium >/dev/null || packages chromium
# What counts the instructions of a request.
command -v valgrind >/dev/null || packages valgrind
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done

case "$(cargo nextest --version 2>/dev/null || true)" in
    "cargo-nextest "*) ;;
    *)
        say "installing cargo-nextest $nextest_version (some minutes)"
        cargo install --locked --quiet "cargo-nextest@$nextest_version"
        ;;
esac

python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv

# The SDKs that drive the journeys; the first makes .venv, and makes it anew when its list changes.
sh scripts/python-env.sh
sh scripts/envoy-env.sh
sh scripts/node-env.sh

stamp=.venv/.stamp-typos-$typos_version
if [ ! -f "$stamp" ]; then
    say "installing typos $typos_version"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "typos==$typos_version"
    touch "$stamp"
fi
