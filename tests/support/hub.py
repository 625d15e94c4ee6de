"""A hub on loopback."""

import json
from http.server import BaseHTTPRequestHandler


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as creating a data set and committing small files to it takes."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append((self.path, body, self.headers.get("Authorization")))
        if self.server.refuse:
            return self.reply(403, {"error": "forbidden"})
        address = f"http://127.0.0.1:{self.server.server_port}/datasets/me/set"
        if self.path == "/api/repos/create":
            return self.reply(200, {"url": address, "name": "me/set"})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.reply(200, {"files": files})
        if "/commit/" in self.path:
            return self.reply(
                200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{address}/commit/{'0' * 40}"}
            )
        return self.reply(200, {"errors": [], "warnings": []})

    def do_GET(self):
        self.reply(200, {"id": "me/set", "sha": "0" * 40, "siblings": []})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass
