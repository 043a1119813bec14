"""Passes calls on to a gateway and counts how each was answered: how often a client really asks."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# These concern one connection, and there are two.
OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Counter(ThreadingHTTPServer):
    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Says nothing: what was counted is asked for."""

        def pass_on(self):
            if self.path == "/__counter":
                return self.tell()
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            upstream = http.client.HTTPConnection(urlsplit(self.server.target).netloc, timeout=30)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            said = answer.read()
            if self.command == "POST":
                self.server.statuses.append(answer.status)
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in OWN]
            self.answer(answer.status, headers, said)

        def tell(self):
            if self.command == "DELETE":
                self.server.statuses.clear()
            self.answer(200, [("content-type", "application/json")], json.dumps(self.server.statuses).encode())

        def answer(self, status, headers, body):
            self.send_response_only(status)
            for name, value in [*headers, ("content-length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_HEAD = do_DELETE = pass_on

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.target = target
        self.statuses = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.server_address[1]}"
