"""A small hub on this machine, to download from in tests."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(BaseHTTPRequestHandler):
    """A hub with the listing and file routes of the real one, which can cut connections and lie about content.

    Large files lie with somebody else, to whom requests are sent on.
    """

    def do_GET(self):
        hub, name = self.server, self.path.split("?")[0]
        hub.seen.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if "/api/models/" in name:
            return self.answer(json.dumps(hub.listing()).encode())
        if name.startswith("/store/"):
            return self.serve(hub.store_of.files.get(name.removeprefix("/store/")))
        revision, _, name = name.partition("/resolve/")[2].partition("/")
        if revision != hub.commit or name not in hub.files:
            return self.send_error(404)
        if name.endswith(".safetensors") and hub.store:
            return self.send_on(name)
        return self.serve(hub.files[name], {"X-Repo-Commit": revision, "ETag": f'"{git_sha1(hub.files[name])}"'})

    do_HEAD = do_GET

    def send_on(self, name):
        content = self.server.files[name]
        self.send_response(302)
        self.send_header("Location", f"{self.server.store.url}store/{name}?signature=x")
        self.send_header("X-Repo-Commit", self.server.commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve(self, content, headers=None):
        if content is None:
            return self.send_error(404)
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if self.headers.get("Range") else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        headers, body = dict(headers or {}), content[start:]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = (self.server.store_of or self.server).cut_after
        cut = cuts.pop(0) if cuts and self.command == "GET" and len(body) > cuts[0] else len(body)
        return self.answer(body[:cut], 206 if start else 200, len(body), headers)

    def answer(self, body, status=200, length=None, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubServer(ThreadingHTTPServer):
    """Serves ``files`` and lists ``claims``; ``store_of`` makes it the place where another hub's large files lie."""

    daemon_threads = True

    def __init__(self, files, store_of=None):
        super().__init__(("127.0.0.1", 0), Hub)
        self.files, self.seen, self.cut_after, self.claims = files, [], [], dict(files)
        self.commit, self.store_of, self.store = "c0ffee" + "0" * 34, store_of, None
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        if self.store_of is None:
            self.store = HubServer({}, store_of=self).__enter__()
        return self

    def __exit__(self, *_):
        if self.store:
            self.store.__exit__()
        self.shutdown()
        self.server_close()

    def listing(self):
        siblings = []
        for name, content in self.claims.items():
            entry = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
            if name.endswith(".safetensors"):
                lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
                entry |= {"blobId": "0" * 40, "lfs": lfs}
            siblings.append(entry)
        return {"id": "someone/tiny", "sha": self.commit, "siblings": siblings}
