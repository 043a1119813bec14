#!/usr/bin/env python3
"""Packs a built tidegate: archive, Debian package, OCI image, Helm chart and SBOM, the same bytes for the same input.

The texts are what the program writes of itself: man/*.1, and a completion for each shell."""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "packaging"
DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
# Where Debian's shells look for completions, by the file's name among the texts.
COMPLETIONS = {
    "tidegate.bash": "usr/share/bash-completion/completions/tidegate",
    "_tidegate": "usr/share/zsh/vendor-completions/_tidegate",
    "tidegate.fish": "usr/share/fish/vendor_completions.d/tidegate.fish",
}
USER = 65532  # the user of the image, who owns nothing in it


class Archive:
    """A tar whose bytes depend on its entries alone: sorted, without names or times of the machine that made it."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.entries = {}

    def directory(self, name, mode=0o755, owner=0):
        self.entries[name.rstrip("/") + "/"] = (b"", mode, tarfile.DIRTYPE, owner)

    def file(self, name, data, mode=0o644):
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) != "." and f"{parent}/" not in self.entries:
                self.directory(str(parent))
        self.entries[name] = (data, mode, tarfile.REGTYPE, 0)

    def bytes(self, prefix=""):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(self.entries):
                data, mode, kind, owner = self.entries[name]
                info = tarfile.TarInfo(prefix + name.rstrip("/"))
                info.size, info.mode, info.type, info.mtime = len(data), mode, kind, self.seconds
                info.uid = info.gid = owner
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()


def zipped(data):
    return gzip.compress(data, 9, mtime=0)


def archive(binary, texts, name, seconds):
    tar = Archive(seconds)
    tar.file(f"{name}/tidegate", binary, 0o755)
    for page in ("LICENSE", "README.md", "CHANGELOG.md"):
        tar.file(f"{name}/{page}", (ROOT / page).read_bytes())
    for unit in sorted((HERE / "systemd").glob("*.service")):
        tar.file(f"{name}/systemd/{unit.name}", unit.read_bytes())
    for page in sorted((texts / "man").glob("*.1")):
        tar.file(f"{name}/man/man1/{page.name}", page.read_bytes())
    for completion in COMPLETIONS:
        tar.file(f"{name}/completions/{completion}", (texts / completion).read_bytes())
    return zipped(tar.bytes())


def ar(members, seconds):
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{seconds:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + (b"\n" if len(data) % 2 else b"")
    return out


def deb(binary, texts, version, machine, seconds, depends):
    data = Archive(seconds)
    data.file("usr/bin/tidegate", binary, 0o755)
    for unit in sorted((HERE / "systemd").glob("*.service")):
        data.file(f"lib/systemd/system/{unit.name}", unit.read_bytes())
    for page in sorted((texts / "man").glob("*.1")):
        data.file(f"usr/share/man/man1/{page.name}.gz", zipped(page.read_bytes()))
    for completion, target in COMPLETIONS.items():
        data.file(target, (texts / completion).read_bytes())
    data.file("usr/share/doc/tidegate/copyright", (HERE / "debian/copyright").read_bytes())
    date = subprocess.run(["date", "-u", "-R", "-d", f"@{seconds}"], check=True, capture_output=True, text=True).stdout
    changes = f"tidegate ({version}) unstable; urgency=medium\n\n  * Version {version}; CHANGELOG.md lists the changes.\n\n -- Tidegate <noreply@invalid>  {date.strip()}\n"
    data.file("usr/share/doc/tidegate/changelog.gz", zipped(changes.encode()))
    size = sum(len(entry[0]) for entry in data.entries.values())
    control = (HERE / "debian/control").read_text().format(
        version=version, architecture=DEBIAN_NAMES[machine], size=-(-size // 1024), depends=depends
    )
    sums = "".join(
        f"{hashlib.md5(entry[0]).hexdigest()}  {name}\n"
        for name, entry in sorted(data.entries.items())
        if entry[2] == tarfile.REGTYPE
    )
    meta = Archive(seconds)
    meta.file("control", control.encode())
    meta.file("md5sums", sums.encode())
    for script in ("postinst", "prerm", "postrm"):
        meta.file(script, (HERE / "debian" / script).read_bytes(), 0o755)
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", zipped(meta.bytes("./"))),
        ("data.tar.gz", zipped(data.bytes("./"))),
    ]
    return ar(members, seconds)


def image(binary, version, machine, seconds):
    """An OCI layout as a tar: one layer with the binary, and a data directory that the user owns."""
    layer = Archive(seconds)
    layer.file("usr/bin/tidegate", binary, 0o755)
    layer.directory("tmp", 0o1777)
    layer.directory("data", 0o700, USER)
    plain = layer.bytes()
    packed = zipped(plain)
    digest = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()
    text = lambda value: json.dumps(value, sort_keys=True).encode()
    created = subprocess.run(["date", "-u", "-d", f"@{seconds}", "+%FT%TZ"], check=True, capture_output=True, text=True).stdout.strip()
    config = text({
        "created": created,
        "architecture": DEBIAN_NAMES[machine],
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["TIDEGATE_LISTEN=0.0.0.0:8787", "PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/tidegate"],
            "Cmd": ["serve"],
            "ExposedPorts": {"8787/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
            "StopSignal": "SIGTERM",
            "Labels": {"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0"},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
    })
    manifest = text({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(packed), "size": len(packed)}],
    })
    index = text({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(manifest),
            "size": len(manifest),
            "platform": {"architecture": DEBIAN_NAMES[machine], "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": version},
        }],
    })
    layout = Archive(seconds)
    layout.file("oci-layout", text({"imageLayoutVersion": "1.0.0"}))
    layout.file("index.json", index)
    for blob in (config, manifest, packed):
        layout.file("blobs/sha256/" + digest(blob).removeprefix("sha256:"), blob)
    return layout.bytes()


def chart(seconds):
    """The Helm chart, as `helm package` lays it out."""
    tar = Archive(seconds)
    folder = HERE / "helm"
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != ".helmignore":
            tar.file(str(file.relative_to(folder)), file.read_bytes())
    return zipped(tar.bytes())


def sbom(version):
    """CycloneDX, of the packages that the binary is linked from."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    edges = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    start = next(id for id, package in packages.items() if package["name"] == "tidegate")
    found, open_ids = set(), [start]
    while open_ids:
        id = open_ids.pop()
        if id not in found:
            found.add(id)
            linked = (dep for dep in edges[id]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
            open_ids.extend(dep["pkg"] for dep in linked)
    components = []
    for id in found - {start}:
        package = packages[id]
        component = {"type": "library", "name": package["name"], "version": package["version"]}
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if package["source"]:
            component["purl"] = f"pkg:cargo/{package['name']}@{package['version']}"
        components.append(component)
    components.sort(key=lambda component: (component["name"], component["version"]))
    return json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "tidegate", "version": version}},
        "components": components,
    }, indent=1).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--texts", required=True, type=pathlib.Path, help="the directory of man pages and completions")
    parser.add_argument("--machine", required=True, choices=sorted(DEBIAN_NAMES))
    parser.add_argument("--version", required=True)
    parser.add_argument("--seconds", required=True, type=int, help="the time of every file")
    parser.add_argument("--depends", default="", help="what the Debian package depends on; a static binary on nothing")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    given = parser.parse_args()
    binary, version, machine, seconds = given.binary.read_bytes(), given.version, given.machine, given.seconds
    texts = given.texts
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"tidegate-{version}-{machine}-linux"
    depends = f"Depends: {given.depends}\n" if given.depends else ""
    written = {
        f"{name}.tar.gz": archive(binary, texts, name, seconds),
        f"tidegate_{version}_{DEBIAN_NAMES[machine]}.deb": deb(binary, texts, version, machine, seconds, depends),
        f"{name}.oci.tar": image(binary, version, machine, seconds),
        f"tidegate-{version}.tgz": chart(seconds),
        f"tidegate-{version}.cdx.json": sbom(version),
    }
    for file, data in written.items():
        (given.out / file).write_bytes(data)
        print(f"{len(data):>12}  {file}")


if __name__ == "__main__":
    main()
