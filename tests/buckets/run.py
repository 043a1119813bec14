"""Keeps files of a gateway in servers of S3 and Azure Blob, reads them, and looks at what is stored.

Google's storage has no such server: those in the registries lack the `ETag` of its XML API, or that API.

usage: run.py TIDEGATE
Prints `ok CASE` for each case that held, of each server.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
WITHIN_SECONDS = 30
# The account that the server of Azure Blob has for tests, as its documentation tells everybody.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CANARY = b"canary-5e1f7c "
PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method, url, body=None, **headers):
    """One call to something of ours; a refusal is an answer like any other."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with PLAIN.open(request, timeout=WITHIN_SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(command, port):
    """A server, from when it listens until it has ended."""
    quiet = {"DO_NOT_TRACK": "1", "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} does not listen"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)


@contextmanager
def gateway(program, directory, settings):
    command = [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(directory)]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    try:
        origin = None
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                origin = found.group(0)
                break
        assert origin, "".join(lines)
        threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
        yield origin, lines
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)


def azure(method, port, path, body=b"", query=""):
    """A call signed with the account's key."""
    date = formatdate(usegmt=True)
    head = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    params = "".join(f"\n{name}:{value}" for name, value in sorted(pair.split("=") for pair in query.split("&") if pair))
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{path}{params}"
    text = f"{method}\n\n\n{len(body) or ''}\n\n\n\n\n\n\n\n\n{head}{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()).decode()
    url = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}/{path}" + (f"?{query}" if query else "")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {AZURE_ACCOUNT}:{signature}"}
    if body:
        headers["Content-Length"] = str(len(body))
    return call(method, url, body or None, **headers)


class S3:
    name = "s3"

    def __init__(self, port, _directory):
        self.port = port
        self.command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        self.settings = {
            "TIDEGATE_FILES_STORE": "s3://files/tidegate",
            "TIDEGATE_FILES_ENDPOINT": f"http://127.0.0.1:{port}",
            "TIDEGATE_FILES_KEYS": json.dumps({"access_key_id": "id", "secret_access_key": "secret"}),
        }

    def make(self):
        assert call("PUT", f"http://127.0.0.1:{self.port}/files")[0] == 200

    def names(self):
        listed = call("GET", f"http://127.0.0.1:{self.port}/files?list-type=2")[1].decode()
        return re.findall(r"<Key>(.*?)</Key>", listed)

    def read(self, name):
        # It looks for a signature, and at none.
        signed = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        return call("GET", f"http://127.0.0.1:{self.port}/files/{name}", Authorization=signed)[1]


class Azure:
    name = "azure"

    def __init__(self, port, directory):
        self.port = port
        program = HERE / "node_modules/.bin/azurite-blob"
        self.command = [
            str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck",
            "--disableTelemetry", "--location", str(directory),
        ]
        self.settings = {
            "TIDEGATE_FILES_STORE": "az://files/tidegate",
            "TIDEGATE_FILES_ENDPOINT": f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}",
            "TIDEGATE_FILES_KEYS": json.dumps({"account": AZURE_ACCOUNT, "access_key": AZURE_KEY}),
        }

    def make(self):
        status, body = azure("PUT", self.port, "files", query="restype=container")
        assert status == 201, body

    def names(self):
        listed = azure("GET", self.port, "files", query="comp=list&restype=container")[1].decode()
        return re.findall(r"<Name>(.*?)</Name>", listed)

    def read(self, name):
        return azure("GET", self.port, f"files/{name}")[1]


def play(program, kind, root):
    """One server: upload in parts, read, and delete."""
    directory = root / kind.name
    directory.mkdir()
    bucket = kind(free_port(), directory / "server")
    (directory / "server").mkdir()
    data = directory / "data"
    founded = subprocess.run(
        [program, "init", "--data-dir", str(data), "--json"], check=True, capture_output=True, text=True
    )
    key = json.loads(founded.stdout)["api_key"]
    with server(bucket.command, bucket.port):
        bucket.make()
        with gateway(program, data, bucket.settings) as (origin, lines):
            json_of_key = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            content = CANARY * 700_000
            described = {"files": [{"filename": "a.txt", "content_type": "text/plain", "size": len(content)}]}
            status, body = call("POST", f"{origin}/files", json.dumps(described).encode(), **json_of_key)
            assert status == 200, body
            file = json.loads(body)["data"][0]
            half = len(content) // 2
            for first, last in [(0, half), (half, len(content))]:
                part = f"bytes {first}-{last - 1}/{len(content)}"
                status, body = call("PUT", file["upload_url"], content[first:last], Content_Range=part)
                assert status in (200, 308), (status, body, lines)
            assert status == 200, body
            names = bucket.names()
            assert len(names) == 4 and all(name.startswith("tidegate/") for name in names), names
            print("ok", f"{kind.name}_upload")
            assert not any(CANARY in bucket.read(name) for name in names)
            assert sum(len(bucket.read(name)) for name in names) > len(content)
            print("ok", f"{kind.name}_sealed")
            status, body = call("GET", file["uri"], **json_of_key)
            assert (status, body) == (200, content), (status, len(body), lines)
            print("ok", f"{kind.name}_read")
            status, body = call("DELETE", f"{origin}/files/{file['id']}", **json_of_key)
            assert status == 204 and bucket.names() == [], (status, body, bucket.names(), lines)
            print("ok", f"{kind.name}_delete")
        log = "".join(lines)
        assert "secret" not in log.replace("secrets", "") and AZURE_KEY not in log, log


def main():
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as root:
        for kind in (S3, Azure):
            play(program, kind, Path(root))


main()
