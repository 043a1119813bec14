"""What stands behind the clients: an emulator of every provider, two gateways in front of it, and a trap for whoever
goes elsewhere.

One gateway has keys that work; the other has keys that are always over their limit, so that a test of refusals leaves
no trace in the tests after it.
"""

import json
import os
import re
import socketserver
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "target" / "debug"
LIMITED = "sk-limited-6f0d8b3a59e24c17b8a2d4f6"
KEYS = {name: f"sk-own-{name}-7c1f0d4e8a9b2635417f60d2" for name in ("openai", "anthropic", "gemini", "xai")}
# Where each provider's API begins at the emulator.
PATHS = {"openai": "/v1", "anthropic": "/anthropic", "gemini": "", "xai": "/xai/v1"}
# LiteLLM sends this back in messages; it is taken as a server takes it that leaves alone what it doesn't know.
ACCEPTED = "provider_specific_fields"
SERVED = "gpt-4o-mini,gpt-4o,gpt-5-mini,grok-4.3"
# Longer than anything here takes to start or to end.
WITHIN_SECONDS = 30
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url, body=None, key=None, method=None):
    """One call to something of ours; a refusal is an answer like any other."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    request.add_header("content-type", "application/json")
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with LOCAL.open(request, timeout=WITHIN_SECONDS) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        raise RuntimeError(f"{url} answered {refused.code}: {refused.read().decode()}") from None


@contextmanager
def started(command, pattern, log, **environment):
    """A program of ours, from the line that says where it listens until it has ended."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=log, text=True,
    )
    try:
        for line in process.stdout:
            log.write(line)
            if found := re.search(pattern, line):
                break
        else:
            raise RuntimeError(f"{command[0]} ended before it listened")
        # Whoever stops reading stops the writer.
        threading.Thread(target=lambda: log.writelines(process.stdout), daemon=True).start()
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)


@dataclass
class Emulator:
    origin: str

    def ask(self, path, body=None, method=None):
        return fetch(f"{self.origin}/__emulator/{path}", body, method=method)

    def script(self, *behaviours):
        """Replaces what is queued for every key."""
        self.ask("script", method="DELETE")
        if behaviours:
            self.ask("script", {"key": None, "behaviours": list(behaviours)})

    def calls(self):
        """What providers were sent, oldest first."""
        return [entry for entry in self.ask("journal") if entry["method"] == "POST"]


@dataclass
class Gateway:
    origin: str
    key: str
    admin_key: str

    def admin(self, path, body=None):
        return fetch(self.origin + path, body, self.admin_key)


class Trap(socketserver.ThreadingTCPServer):
    """A proxy that lets nobody through and remembers where they wanted to go."""

    daemon_threads = True
    allow_reuse_address = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            line = self.rfile.readline(4096).decode(errors="replace").split(" ")
            self.server.wanted.append(" ".join(line[:2]))
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.wanted = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


@dataclass
class Stage:
    emulator: Emulator
    sound: Gateway
    limited: Gateway
    trap: Trap


def gateway(stack, name, secrets, emulator, directory, log):
    data = directory / name
    made = subprocess.run(
        [BUILT / "tidegate", "init", "--data-dir", data, "--json"], check=True, capture_output=True, text=True,
    )
    founded = json.loads(made.stdout)
    origin = stack.enter_context(started(
        [BUILT / "tidegate", "serve", "--listen", "127.0.0.1:0", "--data-dir", data],
        r"API +(http\S+)/v1", log, TIDEGATE_ALLOW_PRIVATE_UPSTREAMS="1", TIDEGATE_WORKERS="2",
    ))
    built = Gateway(origin, founded["api_key"], founded["admin_key"])
    for provider, secret in secrets.items():
        credential = {"provider": provider, "display_name": provider, "secret": secret}
        built.admin("/v2/provider-credentials", credential | {"base_url": emulator.origin + PATHS[provider]})
    return built


@contextmanager
def stage(directory):
    """Everything, started; what the programs say is kept in `directory`."""
    with ExitStack() as stack:
        log = stack.enter_context(open(directory / "programs.log", "w"))
        keys = ",".join([*KEYS.values(), LIMITED])
        address = stack.enter_context(started(
            [BUILT / "emulator", "--keys", keys, "--models", SERVED, "--accept-fields", ACCEPTED], r"listening on (\S+)", log,
        ))
        emulator = Emulator(f"http://{address}")
        emulator.ask("keys", {"key": LIMITED, "state": {"rate_limited": {"retry_after_ms": 1}}})
        trap = Trap()
        stack.callback(trap.shutdown)
        sound = gateway(stack, "sound", KEYS, emulator, directory, log)
        limited = gateway(stack, "limited", dict.fromkeys(KEYS, LIMITED), emulator, directory, log)
        yield Stage(emulator, sound, limited, trap)
