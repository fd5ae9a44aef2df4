"""A small hub on this machine, to download from in tests."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(BaseHTTPRequestHandler):
    """A hub with the listing and file routes of the real one, which can cut connections and lie about content."""

    def do_GET(self):
        hub = self.server
        hub.seen.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if self.path.startswith("/api/models/"):
            return self.answer(json.dumps(hub.listing()).encode())
        name = self.path.split("/resolve/main/")[-1]
        content = hub.files.get(name)
        if content is None:
            return self.send_error(404)
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if self.headers.get("Range") else 0
        body = content[start:]
        if hub.cut_after:
            cut, hub.cut_after = hub.cut_after.pop(0), hub.cut_after
            return self.answer(body[:cut], 206 if start else 200, length=len(body))
        return self.answer(body, 206 if start else 200)

    def answer(self, body, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class HubServer(ThreadingHTTPServer):
    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Hub)
        self.files, self.seen, self.cut_after, self.claims = files, [], [], dict(files)
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def listing(self):
        entries = [{"type": "directory", "path": "unet", "oid": "x", "size": 0}]
        for name, content in self.claims.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {"type": "file", "path": name, "size": len(content), "oid": git}
            if name.endswith(".safetensors"):
                entry |= {"oid": "0" * 40, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}}
            entries.append(entry)
        return entries
