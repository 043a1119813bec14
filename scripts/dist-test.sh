#!/usr/bin/env bash
# Checks what `make dist` packs, on this machine: TIDEGATE_DIST_BINARY=path packs that binary instead of building one.
# Needs root for dpkg, and skopeo, umoci, lintian and systemd-analyze from Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
refused() { # refused WHAT COMMAND...
    local what=$1
    shift
    ! "$@" >"$work/out" 2>&1 || fail "$what was taken"
    grep -q 'nothing was installed' "$work/out" || fail "$what: $(cat "$work/out")"
}

for tool in skopeo umoci lintian systemd-analyze dpkg-deb openssl; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install skopeo umoci lintian systemd openssl"
done

step "the same bytes twice"
openssl genpkey -algorithm ed25519 -out "$work/key.pem"
export TIDEGATE_SIGNING_KEY=$work/key.pem
scripts/dist.sh >"$work/log"
cp dist/SHA256SUMS "$work/first"
scripts/dist.sh >"$work/log"
cmp "$work/first" dist/SHA256SUMS || fail "two runs differ"

step "install.sh takes a good signature, and nothing else"
to=$work/bin
dist/install.sh --from "file://$PWD/dist" --to "$to"
"$to/tidegate" --version
dist/install.sh --to "$to" --uninstall
[ ! -e "$to/tidegate" ] || fail "--uninstall left the binary"
cp -r dist "$work/bad"
printf ' ' >>"$work/bad/SHA256SUMS"
refused "a changed SHA256SUMS" dist/install.sh --from "$work/bad" --to "$to"
cp dist/SHA256SUMS "$work/bad/"
printf ' ' >>"$(ls "$work"/bad/*"$(uname -m)"-linux.tar.gz)"
refused "a changed archive" dist/install.sh --from "$work/bad" --to "$to"
openssl genpkey -algorithm ed25519 -out "$work/other.pem"
openssl pkey -in "$work/other.pem" -pubout -out "$work/other.pub"
refused "another key's signature" dist/install.sh --from "$PWD/dist" --key "$work/other.pub" --to "$to"
[ ! -e "$to/tidegate" ] || fail "a refused install left a binary"

step "the Debian package"
package=$(ls dist/*_"$(dpkg --print-architecture)".deb)
# A static binary with its symbols, and no mailbox that a package could name.
lintian --fail-on error --suppress-tags \
    statically-linked-binary,unstripped-binary-or-object,bogus-mail-host,bogus-mail-host-in-debian-changelog "$package"
dpkg -i "$package"
/usr/bin/tidegate --version
[ "$(dpkg -L tidegate | grep -c '/man1/tidegate')" -gt 300 ] || fail "man pages are missing"
grep -q tidegate /usr/share/bash-completion/completions/tidegate || fail "the completion of bash is missing"
systemd-analyze verify /lib/systemd/system/tidegate.service /lib/systemd/system/tidegate-node.service
for unit in tidegate tidegate-node; do
    systemd-analyze security --offline=true --threshold=20 "/lib/systemd/system/$unit.service" | tail -1
done

step "the installed binary serves"
mkdir "$work/home"
(cd "$work/home" && exec /usr/bin/tidegate serve --listen 127.0.0.1:18787) >"$work/serve" 2>&1 &
serve=$!
for _ in $(seq 300); do
    if curl -fs http://127.0.0.1:18787/health/ready >/dev/null; then break; fi
    kill -0 $serve || fail "tidegate serve ended: $(cat "$work/serve")"
    sleep 0.1
done
curl -fsS http://127.0.0.1:18787/health/ready >/dev/null
kill -TERM $serve
wait $serve || fail "tidegate serve ended with $?"
dpkg -r tidegate
[ ! -e /usr/bin/tidegate ] || fail "dpkg -r left the binary"

step "the OCI image"
for image in dist/*.oci.tar; do
    skopeo inspect --config "oci-archive:$image" | python3 -c 'import json,sys; c=json.load(sys.stdin)["config"]; assert c["User"] not in ("","0","root"), c; print(c["User"], c["Entrypoint"], c["Cmd"])'
    rm -rf "$work/oci" "$work/bundle"
    skopeo copy -q "oci-archive:$image" "oci:$work/oci:test"
    umoci unpack --image "$work/oci:test" "$work/bundle"
    [ -x "$work/bundle/rootfs/usr/bin/tidegate" ] || fail "the image has no binary"
done

step "the compose file, the Helm chart and the Kubernetes manifests"
scripts/check-helm.sh
cmp <(tar -xOzf dist/tidegate-*.tgz tidegate/values.yaml) packaging/helm/tidegate/values.yaml || fail "the packed chart differs"
.venv/bin/python -c 'import yaml; s=yaml.safe_load(open("packaging/compose.yaml"))["services"]["tidegate"]; assert s["read_only"] and s["cap_drop"] == ["ALL"]'

step "the SBOM"
python3 -c 'import json,glob; b=json.load(open(glob.glob("dist/*.cdx.json")[0])); assert b["bomFormat"]=="CycloneDX" and len(b["components"])>100; print(len(b["components"]), "components")'
echo "make dist-test: everything passed"
