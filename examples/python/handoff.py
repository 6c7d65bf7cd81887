#!/usr/bin/env python3
"""Counters over HTTP, in a dict that moves while it is served: POST /name raises one, GET reads it.

Python 3.10 and its standard library. PaCI is spoken by hand, as docs/reference/paci-v1.md tells it.
"""
import asyncio, contextlib, hashlib, json, os, struct, zlib

PATH = os.environ.get("PACI_ENDPOINT", "").removeprefix("unix://")
PATH = "" if os.environ.get("PACI_DISABLED") in ("true", "1") else PATH
CHANNEL = os.path.join(os.path.dirname(PATH), "channel")
HELLO = {"versions": ["v1"], "capabilities": ["move.estimate", "move.handoff"], "sdk": "by hand"}
DATA, END, BYTES_MAX = 1, 2, {1: 262144, 2: 1024}  # kinds of frames, and their longest payloads

async def call(method, target, body=None):
    text = json.dumps(body) if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: paci\r\nPaci: 1\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_unix_connection(PATH)
    writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
    head, _, text = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(text or "{}")

def frame(kind, number, payload):
    head = struct.pack(">BII", kind, len(payload), number) + payload
    return head + struct.pack(">I", zlib.crc32(head))

def proof(state):
    """How many changes went into it, and its digest: both sides must agree."""
    digest = hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16)
    return {"position": str(sum(state.values())), "digest": digest.hexdigest()}

class App:
    """The counters, and what this process answers when clients and the cloud ask."""
    def __init__(self):
        self.counters, self.phase, self.incarnation = {}, "NEW" if PATH else "SERVING", 0
        self.seen = self.closed = 0  # the highest operation, and the highest that is over
        self.work = {}  # on each question: the same one has the same answer, however often it comes
    async def run(self):
        host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8080")
        try:
            server = await asyncio.start_server(self.serve, host, int(port))
        except OSError as error:
            raise SystemExit(f"handoff.py: cannot listen on {host}:{port}: {os.strerror(error.errno)}; set HOST and PORT "
                             "to an address that is free")
        await asyncio.gather(server.serve_forever(), self.talk())
    async def serve(self, reader, writer):
        while request := await reader.readline():
            length, (method, name, _) = 0, request.decode().split()
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            await reader.readexactly(length)
            # From here to the answer nothing is awaited, so no seal comes between: that is the guard.
            head, body = f"421 Misdirected Request\r\nPaci-Not-Applied: {self.incarnation}", ""
            if self.phase in ("SERVING", "PREPARED"):
                if method == "POST":
                    self.counters[name] = self.counters.get(name, 0) + 1
                    self.ship(DATA, {name: self.counters[name]})
                head, body = "200 OK", f"{self.counters.get(name, 0)}\n"
            writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()
    async def talk(self):
        up = {}
        while PATH and up.get("next") != "STOP_POLLING":
            with contextlib.suppress(OSError, IndexError):  # the agent may restart at any time
                status = await self.hello()
                while status in (200, 204):
                    status, up = await call("GET", "/v1/upcalls/next?waitMs=25000")
                    if status == 200:
                        await self.take(up, up["operation"])
            await asyncio.sleep(0.2)
    async def hello(self):
        told = {"told": {"operation": self.seen, "sealed": self.phase == "SEALED"}}
        status, reply = await call("POST", "/v1/hello", HELLO | told if self.seen else HELLO)
        match self.phase, reply.get("standing"):
            case _, None | "UNDECIDED":
                return 503
            case "NEW", "OWNER":
                self.phase, self.incarnation = "SERVING", reply["instance"]["incarnation"]
            case "NEW" | "SERVING" | "PREPARED", "STAGING" | "OUTDATED" as standing:
                self.phase = standing
        return (await call("PUT", "/v1/state", {"state": "READY"}))[0]
    async def take(self, up, op):
        begins = up.keys() & {"estimate", "prepare", "seal"}
        name = "".join(begins or up.keys() & {"resume", "serve", "abort"})
        if op < self.seen or op <= self.closed and begins:
            return await self.answer(up, {"verdict": "REFUSE", "code": "OPERATION_CLOSED"})
        self.seen = op
        if (op, name) not in self.work:
            self.work[op, name] = asyncio.create_task(self.obey(up, name))
        while not (await asyncio.wait([work := self.work[op, name]], timeout=2))[0]:
            await self.answer(up, {"verdict": "IN_PROGRESS"})
        lost = isinstance(work.exception(), (OSError, EOFError, ValueError))
        await self.answer(up, {"verdict": "FAILED", "code": "CHANNEL_LOST"} if lost else work.result())
    async def answer(self, up, answer):
        answer = {"operation": up["operation"], "attempt": up["attempt"], **answer}
        await call("POST", f"/v1/upcalls/{up['operation']}", answer)
    async def obey(self, up, name):
        match self.phase, up:
            case _, {"estimate": _}:
                return {"verdict": "DONE", "estimate": {"modes": ["HANDOFF"], "pauseMs": 5}}
            case "SERVING" | "PREPARED", {"prepare": {"side": "SOURCE", "channelToken": token}}:
                await self.join(token)
                self.phase = "PREPARED"  # from now on each change is sent as it is made
                for key, count in self.counters.items():
                    self.ship(DATA, {key: count})
                return {"verdict": "DONE", "copy": {"staged": True, "predictedPauseMs": 5}}
            case "STAGING", {"prepare": {"side": "TARGET", "channelToken": token}}:
                self.phase = "LOADING"
                await self.join(token)
                await self.answer(up, {"verdict": "IN_PROGRESS", "copy": {"staged": True}})
                return {"verdict": "DONE", "loaded": await self.load()}
            case "PREPARED", {"seal": _}:
                self.ship(END, proof(self.counters))
                self.phase = "SEALED"  # until resume: nothing else opens the gate
                await self.channel.drain()
                return {"verdict": "DONE", "sealed": proof(self.counters)}
            case "LOADED", {"resume": {"outcome": "COMMITTED", "incarnation": number}}:
                self.phase, self.incarnation = "RESUMED", number
            case ("SERVING" | "PREPARED" | "SEALED", {"resume": {"outcome": "COMMITTED"}}) \
                    | ("STAGING" | "LOADED", {"abort": _}):
                self.phase = "OUTDATED"
            case "SERVING" | "PREPARED" | "SEALED", {"resume": {"incarnation": number}}:
                self.phase, self.incarnation = "SERVING", number
            case ("RESUMED", {"serve": _}) | ("SERVING" | "PREPARED", {"abort": _}):
                self.phase = "SERVING"
            case _:
                return {"verdict": "FAILED", "code": "WRONG_PHASE"} if name else {"verdict": "UNSUPPORTED"}
        self.closed = up["operation"]
        return {"verdict": "DONE"}
    async def join(self, token):
        self.sent, (self.received, self.channel) = 0, await asyncio.open_unix_connection(CHANNEL)
        self.channel.write(f"PACI-CHANNEL 1 {token}\n".encode())
        if await self.received.readline() != b"OK\n":
            raise ConnectionRefusedError("the agent does not let us join")
    def ship(self, kind, content):
        if self.phase == "PREPARED":
            self.channel.write(frame(kind, self.sent, json.dumps(content).encode()))
            self.sent += 1
    async def load(self):
        state, kind, number = {}, DATA, 0
        while kind == DATA:
            kind, length, _ = struct.unpack(">BII", head := await self.received.readexactly(9))
            rest = await self.received.readexactly(min(length, BYTES_MAX.get(kind, 0)) + 4)
            if head + rest != frame(kind, number, rest[:-4]):
                raise ValueError("the frame is damaged, or none of ours")
            content, number = json.loads(rest[:-4]), number + 1
            state |= content if kind == DATA else {}
        self.counters, self.phase = state, "LOADED"
        return {**proof(state), "endPosition": content["position"], "endDigest": content["digest"]}

asyncio.run(App().run())
