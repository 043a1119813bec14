"""Runs the A2A protocol's own kit of tests against an agent of a gateway.

usage: run.py KIT PYTHON [CATEGORY ...]
KIT is a checkout of the kit, and PYTHON an interpreter that has what it needs.

The agent asks its client a question at each step, so that its tasks wait for input, go on with a further message and can be
cancelled, as the kit expects it. The kit knows only agents at the root of their host whose cards need no key: a front stands
between the two, which has the gateway's key for the card alone.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from stage import fetch, stage  # noqa: E402

QUESTION = {
    "type": "client",
    "name": "ask",
    "description": "Asks the user.",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
}
ASKS = {"tools": "single", "call": "ask", "arguments": '{"question":"Which one?"}', "times": 0}
CARD = "/.well-known/agent-card.json"
KEPT = ("authorization", "x-api-key", "content-type", "accept", "a2a-version")


class Front(ThreadingHTTPServer):
    """An agent of a gateway at the root of a host."""

    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != CARD:
                return self.send_error(404)
            body = json.dumps(self.server.card()).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: self.headers[name] for name in KEPT if self.headers[name] is not None}
            upstream = http.client.HTTPConnection(self.server.gateway.origin.removeprefix("http://"), timeout=120)
            upstream.request("POST", "/a2a/kit", body, headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name in ("content-type", "www-authenticate"):
                if value := answer.getheader(name):
                    self.send_header(name, value)
            self.end_headers()
            try:
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                pass  # The kit has what it wanted.
            finally:
                upstream.close()

        def log_message(self, *_):
            pass

    def __init__(self, gateway):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.gateway = gateway
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def card(self):
        card = fetch(f"{self.gateway.origin}/a2a/kit{CARD}", key=self.gateway.key)
        for interface in card["supportedInterfaces"]:
            interface["url"] = self.origin
        return card


def main():
    kit, python, *categories = sys.argv[1:]
    failed = []
    with tempfile.TemporaryDirectory(prefix="tidegate-a2a-") as directory, stage(Path(directory)) as built:
        gateway = built.sound
        agent = {"model": "openai/gpt-4o-mini", "instructions": "Be short.", "tools": [QUESTION]}
        gateway.admin("/v2/agents", {"name": "kit", "definition": agent})
        built.emulator.script(ASKS)
        front = Front(gateway)
        environment = os.environ | {
            "A2A_AUTH_TYPE": "bearer", "A2A_AUTH_TOKEN": gateway.key, "NO_PROXY": "127.0.0.1",
            "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        }
        for category in categories or ["mandatory", "capabilities"]:
            print(f"== {category}", flush=True)
            command = [python, "run_tck.py", "--sut-url", front.origin, "--category", category]
            if subprocess.run(command, cwd=kit, env=environment).returncode:
                failed.append(category)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


main()
