#!/bin/sh
# Installs tidegate: checks the signature of the checksums and the checksum of the archive, and only then unpacks it.
# sh install.sh [--from URL-OR-DIRECTORY] [--key PUBLIC-KEY.pem] [--to DIRECTORY] [--uninstall]
set -eu
umask 022

from='@FROM@'
key=
to=
uninstall=
# The key that release archives are signed with; `make dist` fills it in.
embedded_key='@PUBLIC_KEY@'
version='@VERSION@'

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --from | --key | --to) [ $# -gt 1 ] || fail "$1 needs a value" ;;
    esac
    case $1 in
    --from) from=$2 && shift ;;
    --key) key=$2 && shift ;;
    --to) to=$2 && shift ;;
    --uninstall) uninstall=1 ;;
    *) fail "unknown option $1" ;;
    esac
    shift
done

if [ -z "$to" ]; then
    if [ "$(id -u)" = 0 ]; then to=/usr/local/bin; else to=${HOME:?}/.local/bin; fi
fi

if [ -n "$uninstall" ]; then
    [ -e "$to/tidegate" ] || fail "there is no $to/tidegate"
    rm "$to/tidegate"
    echo "Removed $to/tidegate. Data directories stay where they are."
    exit
fi

case $(uname -s):$(uname -m) in
Linux:x86_64) machine=x86_64 ;;
Linux:aarch64 | Linux:arm64) machine=aarch64 ;;
*) fail "there is no archive for $(uname -s) on $(uname -m); build from source" ;;
esac
case $from in @*) fail "name where the archives are with --from" ;; esac
command -v openssl >/dev/null || fail "openssl is needed to check the signature"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ -n "$key" ]; then
    cp "$key" "$work/key.pem"
else
    case $embedded_key in @*) fail "this copy holds no public key; name one with --key" ;; esac
    printf '%s\n' "$embedded_key" >"$work/key.pem"
fi

fetch() { # fetch NAME
    case $from in
    https://*) curl -fsSL --proto '=https' --tlsv1.2 -o "$work/$1" "$from/$1" || fail "$from/$1 can't be fetched" ;;
    file://*) cp "${from#file://}/$1" "$work/$1" ;;
    /* | .*) cp "$from/$1" "$work/$1" ;;
    *) fail "--from takes an https address, a file:// address or a directory" ;;
    esac
}

archive=tidegate-$version-$machine-linux.tar.gz
for name in SHA256SUMS SHA256SUMS.sig "$archive"; do fetch "$name"; done
openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -in "$work/SHA256SUMS" -sigfile "$work/SHA256SUMS.sig" \
    >/dev/null 2>&1 || fail "the signature of SHA256SUMS is wrong: nothing was installed"
grep "  $archive\$" "$work/SHA256SUMS" >"$work/wanted" || fail "SHA256SUMS doesn't list $archive"
(cd "$work" && sha256sum -c --status wanted) || fail "the checksum of $archive is wrong: nothing was installed"

tar -xzf "$work/$archive" -C "$work"
mkdir -p "$to"
# Replaced in one step, so that a running tidegate keeps its file.
cp "$work/${archive%.tar.gz}/tidegate" "$to/.tidegate.new"
chmod 755 "$to/.tidegate.new"
mv "$to/.tidegate.new" "$to/tidegate"
"$to/tidegate" --version
echo "Installed $to/tidegate. Next: tidegate serve"
case :$PATH: in *:"$to":*) ;; *) echo "$to is not in PATH; add it there." ;; esac
