"""Moves handoff.py between two processes, as an agent would: real sockets, real processes."""
import http.client, http.server, json, os, queue, socket, socketserver, subprocess, sys, tempfile, threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT = 20  # seconds that any step may take; then the test fails

class Asked(http.server.BaseHTTPRequestHandler):
    protocol_version, log_message = "HTTP/1.1", lambda *_: None
    def do_GET(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, reply = self.server.agent.asked(self.path, json.loads(text or "null"))
        body = json.dumps(reply).encode() if reply is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_GET
    def address_string(self):
        return "app"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def handle_error(self, *_):
        pass  # the process under test is gone

class Agent:
    """One process and its agent."""
    def __init__(self, standing, program="handoff.py"):
        self.standing, self.upcalls, self.answers = standing, queue.Queue(), queue.Queue()
        self.words = queue.Queue()  # what it says of itself: path and body
        self.refused = {}  # paths, and why each is refused
        self.directory = tempfile.TemporaryDirectory()
        path = os.path.join(self.directory.name, "paci.sock")
        self.server = Server(path, Asked)
        self.server.agent = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.bind(os.path.join(self.directory.name, "channel"))
        self.channel.listen()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = {**os.environ, "PACI_ENDPOINT": f"unix://{path}", "HOST": "127.0.0.1", "PORT": str(self.port)}
        self.process = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, program)], env=env)
        self.is_ready, self.attempt = threading.Event(), 0
        if not self.is_ready.wait(WAIT):
            raise TimeoutError("it never said that it is ready")
    def close(self):
        self.process.kill()
        self.process.wait()
        self.server.shutdown()
        self.server.server_close()
        self.channel.close()
        self.directory.cleanup()
    def asked(self, path, body):
        if path == "/v1/hello":
            return 200, {"standing": self.standing, "instance": {"startId": "s", "incarnation": 1}}
        if path == "/v1/state":
            self.is_ready.set()
        if path.startswith("/v1/upcalls/next"):
            try:
                return 200, self.upcalls.get(timeout=1)
            except queue.Empty:
                return 204, None
        if path.startswith("/v1/upcalls/"):
            self.answers.put(body)
        elif not path.startswith("/v1/upcalls"):
            self.words.put((path, body))
        if path in self.refused:
            return 400, {"code": "OUT_OF_BOUNDS", "message": self.refused[path], "next": "FIX"}
        return 200, {}
    def call(self, op, name, dry=False, **fields):
        self.attempt += 1
        self.upcalls.put({"operation": op, "attempt": self.attempt, "dryRun": dry, name: fields})
        return self
    def said(self, verdict, attempt=None):
        while True:
            answer = self.answers.get(timeout=WAIT)
            if answer["verdict"] == verdict and answer["attempt"] == (attempt or self.attempt):
                return answer
    def join(self):
        joined = self.channel.accept()[0]
        line = joined.makefile("rb").readline(64)
        assert line == b"PACI-CHANNEL 1 " + b"a" * 32 + b"\n", line
        joined.sendall(b"OK\n")
        return joined
    def http(self, method, path):
        app = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        app.request(method, path)
        reply = app.getresponse()
        text = reply.read()
        app.close()
        return reply.status, text, reply.headers.get("Paci-Not-Applied")

class Move(unittest.TestCase):
    def start(self, standing):
        agent = Agent(standing)
        self.addCleanup(agent.close)
        return agent
    def prepare(self, op):
        source, target = self.start("OWNER"), self.start("STAGING")
        for path in ("/a", "/a", "/b"):
            source.http("POST", path)
        for agent, side in ((target, "TARGET"), (source, "SOURCE")):
            agent.call(op, "prepare", side=side, mode="HANDOFF", channelToken="a" * 32)
        ends = (source.join(), target.join())
        threading.Thread(target=self.pump, args=ends, daemon=True).start()
        source.said("DONE")
        return source, target
    def pump(self, source, target):
        while piece := source.recv(65536):
            target.sendall(piece)
        source.close()
        target.close()
    def test_what_was_counted_is_there_after_a_move_and_the_source_refuses(self):
        source, target = self.prepare(5)
        self.assertEqual(source.http("POST", "/late"), (200, b"1\n", None))
        self.assertEqual(target.http("GET", "/a"), (421, b"", "0"))
        sealed = source.call(5, "seal", guardWaitMs=500).said("DONE")["sealed"]
        self.assertEqual(source.http("GET", "/a"), (421, b"", "1"))
        self.assertEqual(source.call(5, "seal", guardWaitMs=500).said("DONE")["sealed"], sealed, "asked again")
        loaded = target.said("DONE")["loaded"]
        self.assertEqual(loaded, {**sealed, "endPosition": "4", "endDigest": sealed["digest"]})
        target.call(5, "resume", incarnation=2, outcome="COMMITTED").said("DONE")
        self.assertEqual(target.http("GET", "/a"), (421, b"", "2"), "the gate opens with serve")
        target.call(5, "serve", incarnation=2).said("DONE")
        self.assertEqual(target.http("POST", "/a"), (200, b"3\n", None))
        self.assertEqual(target.http("GET", "/late"), (200, b"1\n", None))
        source.call(5, "resume", incarnation=2, outcome="COMMITTED").said("DONE")
        self.assertEqual(source.http("POST", "/a"), (421, b"", "1"))
        self.assertEqual(source.call(4, "resume", incarnation=1, outcome="ROLLED_BACK").said("REFUSE")["code"],
                         "OPERATION_CLOSED", "a lower number is refused")
        source.call(6, "frobnicate").said("UNSUPPORTED")
    def test_a_move_that_is_rolled_back_leaves_the_source_serving(self):
        source, _ = self.prepare(5)
        source.call(5, "seal", guardWaitMs=500).said("DONE")
        source.call(5, "abort").said("FAILED")
        self.assertEqual(source.http("GET", "/a")[0], 421, "an abort opens no sealed gate")
        source.call(5, "resume", incarnation=2, outcome="ROLLED_BACK").said("DONE")
        self.assertEqual(source.http("POST", "/a"), (200, b"3\n", None))
        self.assertEqual(source.call(5, "seal").said("REFUSE")["code"], "OPERATION_CLOSED")
        self.assertEqual(source.call(5, "prepare", side="SOURCE").said("REFUSE")["code"], "OPERATION_CLOSED")
        self.assertEqual(source.http("POST", "/a"), (200, b"4\n", None))
    def test_a_channel_that_is_damaged_or_ends_early_proves_nothing(self):
        frame = b'\x01\x00\x00\x00\x06\x00\x00\x00\x00{"a":1'  # and neither its CRC nor an END frame
        for rest in (b"\x00\x00\x00\x00", b""):
            target = self.start("STAGING")
            target.call(5, "prepare", side="TARGET", mode="HANDOFF", channelToken="a" * 32)
            with target.join() as channel:
                channel.sendall(frame + rest)
            self.assertEqual(target.said("FAILED")["code"], "CHANNEL_LOST")
            self.assertEqual(target.call(5, "resume", incarnation=2, outcome="COMMITTED").said("FAILED")["code"],
                             "WRONG_PHASE")

if __name__ == "__main__":
    unittest.main()
