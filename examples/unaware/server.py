#!/usr/bin/env python3
"""A web server that knows nothing of clouds: it listens where it is told, and counts its visitors in memory."""
import http.server
import sys

visitors = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global visitors
        if self.path == "/healthz":
            # Who asks whether it is up is no visitor.
            self.send_response(204)
            self.end_headers()
            return
        visitors += 1
        body = f"You are visitor {visitors}.\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


host, port = sys.argv[1], int(sys.argv[2])
try:
    server = http.server.HTTPServer((host, port), Handler)
except OSError as error:
    sys.exit(f"server.py: cannot listen on {host}:{port}: {error.strerror}; give it an address that is free")
server.serve_forever()
