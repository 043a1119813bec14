#!/usr/bin/env bash
# Packs releases into dist/: archives, Debian packages, OCI images, install.sh, SBOM and checksums.
#
#   scripts/dist.sh                       static binaries of x86_64 and aarch64 (TIDEGATE_DIST_MACHINES="x86_64" for one)
#   TIDEGATE_DIST_BINARY=path scripts/dist.sh    packs this binary of this machine instead of building
#
# TIDEGATE_SIGNING_KEY names an ed25519 private key (PEM) that signs the checksums; without it they stay unsigned.
# TIDEGATE_DIST_URL is where the files will be published, which install.sh then fetches from.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${TIDEGATE_DIST_OUT:-dist}
version=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json,sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"]=="tidegate"))')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
tools=.cache/dist-tools

build_static() { # build_static MACHINE: prints the binary's path
    local target=$1-unknown-linux-musl profile=${TIDEGATE_DIST_PROFILE:-release}
    [ -x "$tools/bin/cargo-zigbuild" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install -q cargo-zigbuild==0.24.1 ziglang==0.17.1; } >&2
    rustup target add "$target" >&2
    # Paths of this machine don't reach the binary.
    PATH=$PWD/$tools/bin:$PATH CARGO_ZIGBUILD_PYTHON_PATH=$PWD/$tools/bin/python3 \
        RUSTFLAGS="--remap-path-prefix=$PWD=/tidegate --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        cargo zigbuild --locked --profile "$profile" -p tidegate --target "$target" >&2
    printf '%s' "${CARGO_TARGET_DIR:-target}/$target/$profile/tidegate"
}

# Every package has the man pages and completions that a binary of this machine writes.
write_texts() { # write_texts BINARY
    "$1" man "$texts/man" >/dev/null
    "$1" completions bash >"$texts/tidegate.bash"
    "$1" completions zsh >"$texts/_tidegate"
    "$1" completions fish >"$texts/tidegate.fish"
}

pack() { # pack MACHINE BINARY [DEPENDS]
    [ -d "$texts/man" ] || write_texts "$2"
    python3 packaging/build.py --binary "$2" --texts "$texts" --machine "$1" --version "$version" --seconds "$SOURCE_DATE_EPOCH" \
        --out "$out" --depends "${3:-}"
}

texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
rm -rf "$out"
mkdir -p "$out"
echo "*" >"$out/.gitignore"
if [ -n "${TIDEGATE_DIST_BINARY:-}" ]; then
    depends=
    # A binary that isn't static needs the C library that it was linked with.
    readelf -l "$TIDEGATE_DIST_BINARY" 2>/dev/null | grep -q INTERP && depends="libc6, libgcc-s1"
    pack "$(uname -m)" "$TIDEGATE_DIST_BINARY" "$depends"
else
    # Both are embedded.
    scripts/console.sh
    scripts/docs.sh
    for machine in ${TIDEGATE_DIST_MACHINES:-x86_64 aarch64}; do
        pack "$machine" "$(build_static "$machine")"
    done
fi
(cd "$out" && sha256sum -- * >SHA256SUMS)

public=
if [ -n "${TIDEGATE_SIGNING_KEY:-}" ]; then
    openssl pkeyutl -sign -inkey "$TIDEGATE_SIGNING_KEY" -rawin -in "$out/SHA256SUMS" -out "$out/SHA256SUMS.sig"
    public=$(openssl pkey -in "$TIDEGATE_SIGNING_KEY" -pubout)
else
    echo "SHA256SUMS is not signed: TIDEGATE_SIGNING_KEY names no key. install.sh then needs --key and refuses without a signature."
fi
VERSION=$version PUBLIC=$public FROM=${TIDEGATE_DIST_URL:-} python3 - >"$out/install.sh" <<'PYTHON'
import os, pathlib
text = pathlib.Path("packaging/install.sh").read_text()
for name, variable in (("@VERSION@", "VERSION"), ("@PUBLIC_KEY@", "PUBLIC"), ("@FROM@", "FROM")):
    text = text.replace(f"'{name}'", f"'{os.environ[variable] or name}'")
print(text, end="")
PYTHON
chmod 755 "$out/install.sh"
