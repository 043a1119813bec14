#!/usr/bin/env bash
# test-env.sh [TIER...]: installs what every run of the tests needs and this machine lacks, or what these tiers need beside it. A second run finds its
# stamps and installs nothing. What can't be had is said with what to do about it, and the rest is installed all the same; it ends with 1 then.
set -euo pipefail
cd "$(dirname "$0")/.."

typos_version=1.52.0
nextest_version=0.9.143

say() { printf '  %s\n' "$*"; }

is_root() { [ "$(id -u)" = 0 ]; }
as_root() { if is_root; then "$@"; else sudo "$@"; fi; }

packages() { # packages NAME...: installs those Debian packages
    if ! command -v apt-get >/dev/null; then
        say "there is no apt-get here: install by hand what Debian calls $*" >&2
        return 1
    elif ! is_root && ! command -v sudo >/dev/null; then
        say "this needs root, and there is no sudo; as root: apt-get install $*" >&2
        return 1
    fi
    say "installing $*"
    as_root apt-get update -qq || say "apt-get update failed: the packages that it knew before are taken" >&2
    # Behind sudo, which passes no environment on.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null && return
    say "apt-get could not install $*" >&2
    return 1
}

missing=0
lacks() { # lacks TEXT: goes on without it, and says so
    missing=1
    say "MISSING: $1" >&2
}
need() { # need WHAT COMMAND...
    local what=$1
    shift
    "$@" || lacks "$what could not be installed ($*). Tests that need it fail, the others run. Install it by hand, or look at the network and the free disk: $(df -Ph . | awk 'NR == 2 { print $4 }') left."
}
has() { [ -x "/usr/sbin/$1" ] || command -v "$1" >/dev/null; }

# With `tiers`, what only they need.
if [ $# -gt 0 ]; then
    for tier; do
        case $tier in
            # Servers that workers are started on over SSH, and nodes in network namespaces of their own.
            fleet)
                has sshd || need "an SSH server" packages openssh-server openssh-client
                has ip || need ip packages iproute2
                unshare --net true 2>/dev/null || lacks "no right to make network namespaces, which root has: tests of whole fleets and of peers apart fail."
                ;;
            # What a local node connects to is traced.
            engine)
                has strace || need strace packages strace
                unshare --map-root-user --net true 2>/dev/null || lacks "no right to make user namespaces (sysctl kernel.unprivileged_userns_clone): tests that trace a local node fail."
                ;;
            # What counts the instructions of a request.
            figures) has valgrind || need valgrind packages valgrind ;;
        esac
    done
    need "the Python packages" sh scripts/python-env.sh
    case " $* " in *" fleet "*) need "the packages of Envoy's tests" sh scripts/envoy-env.sh ;; esac
    need "the Node packages" sh scripts/node-env.sh
    exit $missing
fi

command -v cargo >/dev/null || { say "cargo is missing: install the Rust toolchain with rustup (https://rustup.rs)" >&2; exit 1; }
command -v cc >/dev/null || need "a C compiler" packages build-essential
command -v python3 >/dev/null || need Python packages python3 python3-venv
command -v npm >/dev/null || need Node.js packages nodejs npm
. scripts/node.sh || lacks "Node.js (see above). The console and the tests that need it fail, the others run."
postgres() {
    # The tests make servers of their own; the package's would only take memory.
    packages postgresql-common || return
    echo 'create_main_cluster = false' | as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
    packages postgresql
}
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || has initdb || need PostgreSQL postgres
has curl || need curl packages curl
# The browser that walks through the console; without windows it takes a fifth less time.
browser() { packages chromium-headless-shell || packages chromium; }
has chromium-headless-shell || has chromium || need Chromium browser
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || need "$component" rustup component add "$component"
done

case "$(cargo nextest --version 2>/dev/null || true)" in
    "cargo-nextest "*) ;;
    *)
        say "installing cargo-nextest $nextest_version (some minutes)"
        need cargo-nextest cargo install --locked --quiet "cargo-nextest@$nextest_version"
        ;;
esac

python3 -c 'import ensurepip, venv' 2>/dev/null || need "Python's venv" packages python3-venv

# The SDKs that drive the journeys of every run; the first makes .venv, and makes it anew when its list changes.
need "the Python packages" sh scripts/python-env.sh core
need "the Node packages" sh scripts/node-env.sh core
need "the console's packages" sh scripts/console.sh packages
stamp=.venv/.stamp-typos-$typos_version
if [ ! -f "$stamp" ]; then
    say "installing typos $typos_version"
    need typos .venv/bin/python -m pip install --quiet --disable-pip-version-check "typos==$typos_version"
    [ ! -x .venv/bin/typos ] || touch "$stamp"
fi
exit $missing
