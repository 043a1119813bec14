#!/usr/bin/env bash
# Plays peers behind routers that translate addresses, with a real relay between them (tests/tests/it/peers_relayed.rs). The relay is
# iroh's own program, of the version in Cargo.lock, built when it is missing: no part of Tidegate, and apart from `make test`.
# Needs root, `ip` and `nft`.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in ip nft; do
    if ! command -v "$program" >/dev/null; then
        echo "scripts/relay.sh needs $program: install iproute2 and nftables" >&2
        exit 2
    fi
done
version=$(sed -n '/^name = "iroh-relay"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
tools=$PWD/target/tools/relay
if [ "$(cat "$tools/.version" 2>/dev/null)" != "$version" ]; then
    # `--locked` uses its own lock file. Speed does not matter, and a debug build is made in half the time.
    CARGO_TARGET_DIR=$tools/build cargo install iroh-relay --version "$version" --locked --debug --features server --root "$tools" --force
    printf '%s' "$version" >"$tools/.version"
    rm -rf "$tools/build"
fi

cargo build --locked --workspace --all-targets
TIDEGATE_RELAY=$tools/bin/iroh-relay cargo nextest run --locked --workspace --no-tests fail -j 1 \
    -E 'package(journeys) & test(/^peers_relayed::/)'
