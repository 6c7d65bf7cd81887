"""The wire of PaCI by hand, with the standard library alone: calls, upcalls and the state channel.

docs/reference/paci-v1.md tells all of it. What an application does when it is asked is in handoff.py.
"""
import http.client, itertools, json, os, socket, struct, threading, time, zlib

ENDPOINT = os.environ.get("PACI_ENDPOINT", "") if os.environ.get("PACI_DISABLED") not in ("true", "1") else ""
PATH = ENDPOINT.removeprefix("unix://")
DATA, END = 1, 2

def dial(name, greeting=b""):
    dialled = socket.socket(socket.AF_UNIX)
    dialled.connect(os.path.join(os.path.dirname(PATH), name))
    dialled.sendall(greeting)
    return dialled

def call(method, target, body=None):
    agent = http.client.HTTPConnection("paci")
    agent.sock = dial(os.path.basename(PATH))
    agent.request(method, target, json.dumps(body) if body else None, {"Paci": "1"})
    reply = agent.getresponse()
    text = reply.read()
    agent.close()
    return reply.status, json.loads(text) if text else {}

class Channel:
    """One end of the state channel. OSError and ValueError mean that it is lost."""
    def __init__(self, token):
        self.stream = dial("channel", f"PACI-CHANNEL 1 {token}\n".encode()).makefile("rwb")
        self.sequence = itertools.count()
        if self.stream.readline(64) != b"OK\n":
            raise ConnectionError("the agent did not let us join")
    def send(self, kind, record):
        payload = json.dumps(record).encode()
        frame = struct.pack(">BII", kind, len(payload), next(self.sequence)) + payload
        self.stream.write(frame + struct.pack(">I", zlib.crc32(frame)))
        self.stream.flush()
    def receive(self):
        kind, length, number = struct.unpack(">BII", head := self.exactly(9))
        if kind not in (DATA, END) or length > (262144 if kind == DATA else 1024):
            raise ValueError("the frame is none of ours")
        payload, (crc,) = self.exactly(length), struct.unpack(">I", self.exactly(4))
        if crc != zlib.crc32(head + payload) or number != next(self.sequence):
            raise ValueError("the frame is damaged")
        return kind, json.loads(payload)
    def exactly(self, count):
        read = self.stream.read(count)
        if len(read) < count:
            raise ConnectionError("the channel ended before its END frame")
        return read
    def leave(self):
        self.stream.close()

class Upcalls:
    """Polls for upcalls, gives each question to its handler once, and gives the same answer however often it is asked.

    `calls` are functions of (operation, fields) that return a verdict and the answer's other fields, or None.
    """
    def __init__(self, hello, calls, may_stop):
        self.hello, self.calls, self.may_stop = hello, calls, may_stop
        self.seen = self.closed = 0  # the highest operation, and the highest that is over
        self.attempts, self.said = {}, {}  # of each question: its last delivery, its final answer
    def answer(self, op, name, verdict, **fields):
        if verdict != "IN_PROGRESS":
            self.said[op, name] = (verdict, fields)
        try:
            body = {"operation": op, "attempt": self.attempts[op, name], "verdict": verdict, **fields}
            call("POST", f"/v1/upcalls/{op}", body)
        except (OSError, http.client.HTTPException):
            pass  # the agent restarts, and will ask again
    def take(self, up):
        op, name = up["operation"], next((name for name in self.calls if name in up), None)
        is_known = (op, name) in self.attempts
        self.attempts[op, name] = up["attempt"]
        ends = name in ("estimate", "prepare", "seal") or name == "stop" and not self.may_stop()
        if op < self.seen or op <= self.closed and ends:
            self.answer(op, name, "REFUSE", code="OPERATION_CLOSED")
            return
        self.seen, self.closed = op, op if name in ("resume", "abort") else self.closed
        if (op, name) in self.said:
            verdict, fields = self.said[op, name]
            self.answer(op, name, verdict, **fields)
        elif is_known:
            self.answer(op, name, "IN_PROGRESS")
        elif name is None:
            self.answer(op, name, "UNSUPPORTED")
        else:
            threading.Thread(target=self.work, args=(op, name, up[name]), daemon=True).start()
    def work(self, op, name, fields):
        try:
            answered = self.calls[name](op, fields)
        except (OSError, ValueError):
            answered = ("FAILED", {"code": "CHANNEL_LOST"})
        if answered:
            self.answer(op, name, answered[0], **answered[1])
        if name == "stop" and answered:
            os._exit(0)
    def poll(self):
        pause, up = 0.1, {}
        while up.get("next") != "STOP_POLLING":
            try:
                self.hello()
                while True:
                    status, up = call("GET", "/v1/upcalls/next?waitMs=25000")
                    if status == 200:
                        self.take(up)
                    elif status != 204:
                        break
                    pause = 0.1
            except (OSError, http.client.HTTPException):
                pass  # the agent restarts
            time.sleep(pause)
            pause = min(pause * 2, 5)
