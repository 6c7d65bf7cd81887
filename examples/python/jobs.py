#!/usr/bin/env python3
"""A queue of jobs over HTTP: POST /jobs/50 takes 50 ms of one worker and answers when it is done. It has no state to move.

It says how much it has to do, what is coming (POST /announce/sale/500: so many jobs a second) and when it pauses
(POST /pause/200: as a collector would), and answers what losing it would cost, another size, and a drain.
Python 3.10 and its standard library. PaCI is spoken by hand, as docs/reference/paci-v1.md tells it.
"""
import asyncio, collections, contextlib, heapq, json, os, time

PATH = os.environ.get("PACI_ENDPOINT", "").removeprefix("unix://")
PATH = "" if os.environ.get("PACI_DISABLED") in ("true", "1") else PATH
CLAIMS = ["stop", "drain", "drain.reversible", "move.restart", "report", "announce", "pausing", "scale.quote",
          "resize.cpu", "resize.memory"]
HELLO = {"versions": ["v1"], "capabilities": CLAIMS, "sdk": "by hand"}
WORKERS, REPORT_S, SMALLEST_KIB = 4, 0.2, 32768  # how many work at once, how often it reports, what it needs at least

async def call(method, target, body=None):
    text = json.dumps(body) if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: paci\r\nPaci: 1\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_unix_connection(PATH)
    writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
    head, _, text = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(text or "{}")

class App:
    """The queue, and what this process answers when clients and the cloud ask."""
    def __init__(self):
        self.waiting, self.running, self.served = collections.deque(), {}, 0
        self.workers, self.draining = WORKERS, False
        self.seen = self.closed = 0  # the highest operation, and the highest that is over
        self.announced = {}  # what is said again to an agent that has restarted, until it is over
    async def run(self):
        host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8080")
        try:
            server = await asyncio.start_server(self.serve, host, int(port))
        except OSError as error:
            raise SystemExit(f"jobs.py: cannot listen on {host}:{port}: {os.strerror(error.errno)}; set HOST and PORT "
                             "to an address that is free")
        await asyncio.gather(server.serve_forever(), self.talk(), self.report())
    async def serve(self, reader, writer):
        while request := await reader.readline():
            length, (_, path, _) = 0, request.decode().split()
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            await reader.readexactly(length)
            status, body = await self.do(path.strip("/").split("/"))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()
    async def do(self, path):
        match path:
            case ["jobs" | "announce" | "pause" as what, *_, figure] if not (figure.isdecimal() and int(figure) < 2147483):
                return "400 Bad Request", f"{what}: {figure[:40]!a}, want a whole number below 2147483\n"
            case ["jobs", _] if self.draining:
                return "503 Service Unavailable", "draining\n"
            case ["jobs", ms]:
                done = asyncio.get_running_loop().create_future()
                self.waiting.append((int(ms), time.monotonic(), done))
                self.begin()
                return "200 OK", await done
            case ["announce", name, per_s]:
                sale = {"beginsInMs": 60000, "lastsMs": 60000, "demandMilliPerS": int(per_s) * 1000}
                self.announced[name] = (time.monotonic(), sale)
                if why := await self.announce(name):
                    del self.announced[name]
                    return "400 Bad Request", f"{why}\n"
            case ["pause", ms]:
                if PATH:  # said before it begins, and over with its time
                    pause = {"state": "PAUSING", "inMs": 20, "forMs": int(ms)}
                    status, said = await call("PUT", "/v1/state", pause)
                    if status == 400:
                        return "400 Bad Request", f"{said['message']}\n"
                await asyncio.sleep(0.02)
                time.sleep(int(ms) / 1000)
            case _:
                return "404 Not Found", ""
        return "200 OK", ""
    def begin(self):
        while self.waiting and len(self.running) < self.workers:
            ms, _, done = self.waiting.popleft()
            self.running[asyncio.create_task(self.work(ms, done))] = (ms, time.monotonic())
    async def work(self, ms, done):
        await asyncio.sleep(ms / 1000)
        self.served += 1
        if not done.done():  # its client may be gone
            done.set_result("done\n")
        del self.running[asyncio.current_task()]
        self.begin()
    def unfinished(self):
        return len(self.waiting) + len(self.running)
    def begun_ms(self):
        """Of each job that is at work: how long it takes, and how much of that is done."""
        now = time.monotonic()
        return [(ms, min(ms, int((now - since) * 1000))) for ms, since in self.running.values()]
    async def report(self):
        while PATH:
            now = time.monotonic()
            said = {"validForMs": 1000, "workUnit": "job", "concurrency": self.workers, "inFlight": len(self.running),
                    "queued": len(self.waiting), "backlogMs": sum(ms for ms, _, _ in self.waiting),
                    "utilisationPermille": 1000 * self.unfinished() // self.workers, "tightest": "workers"}
            if self.waiting:
                said["oldestWaitMs"] = int((now - self.waiting[0][1]) * 1000)
            said["utilisationPermille"] = min(said["utilisationPermille"], 10000)
            with contextlib.suppress(OSError, IndexError):  # the agent may restart at any time
                await call("PUT", "/v1/report", said)
            await asyncio.sleep(REPORT_S)
    async def announce(self, name):
        since, sale = self.announced[name]
        passed = int((time.monotonic() - since) * 1000)
        begun = max(0, passed - sale["beginsInMs"])
        if not PATH or begun >= sale["lastsMs"]:
            return
        left = {"beginsInMs": max(0, sale["beginsInMs"] - passed), "lastsMs": sale["lastsMs"] - begun}
        with contextlib.suppress(OSError, IndexError):
            status, said = await call("PUT", f"/v1/announcements/{name}", sale | left)
            return said["message"] if status == 400 else None
    async def talk(self):
        up = {}
        while PATH and up.get("next") != "STOP_POLLING":
            with contextlib.suppress(OSError, IndexError):
                status, _ = await call("POST", "/v1/hello", HELLO)
                if status == 200:
                    status, _ = await call("PUT", "/v1/state", {"state": "DRAINING" if self.draining else "READY"})
                    for name in self.announced:
                        await self.announce(name)
                while status in (200, 204):
                    status, up = await call("GET", "/v1/upcalls/next?waitMs=25000")
                    if status == 200:
                        await self.take(up, up["operation"])
            await asyncio.sleep(0.2)
    async def take(self, up, op):
        begins = up.keys() & {"drain", "stop", "estimate", "quote", "resize"}
        if op < self.seen or op <= self.closed and begins:
            return await self.answer(up, {"verdict": "REFUSE", "code": "OPERATION_CLOSED"})
        if op > self.seen and self.draining:
            self.draining = False  # a higher number ends what a lower one had begun
        self.seen = op
        match up:
            case {"quote": _}:  # what of the jobs at work would be done again, and how long all of them take
                begun = self.begun_ms()
                left = sorted(ms - done for ms, done in begun) or [0]
                for ms, _, _ in self.waiting:  # each that waits gets the worker that is free first
                    heapq.heappush(left, ms + (heapq.heappop(left) if len(left) >= self.workers else 0))
                lost = sum(done for _, done in begun)
                price = {"costMs": lost, "drainMs": max(left), "stateKib": 0, "sessions": 0}
                await self.answer(up, {"verdict": "DONE", "quote": price})
            case {"resize": size}:
                await self.answer(up, self.resize(size, up.get("dryRun", False)))
            case {"drain": _}:
                self.draining = True
                asyncio.create_task(self.drain(up))
            case {"abort": _}:
                self.draining, self.closed = False, op
                await self.answer(up, {"verdict": "DONE"})
            case {"estimate": _}:
                await self.answer(up, {"verdict": "DONE", "estimate": {"modes": ["RESTART"]}})
            case {"stop": _}:
                await self.answer(up, {"verdict": "DONE"})
                os._exit(0)
            case _:
                await self.answer(up, {"verdict": "UNSUPPORTED"})
    async def drain(self, up):
        while self.draining and self.seen == up["operation"] and self.unfinished():
            await self.answer(up, {"verdict": "IN_PROGRESS", "inFlight": self.unfinished()})
            await asyncio.wait(list(self.running), timeout=1)
        if self.draining and self.seen == up["operation"]:
            await self.answer(up, {"verdict": "DONE", "inFlight": 0})
    def resize(self, size, dry):
        if size.get("memoryKib", SMALLEST_KIB) < SMALLEST_KIB:
            fit = {"memoryKib": SMALLEST_KIB}
            return {"verdict": "REFUSE", "code": "DOES_NOT_FIT", "message": "the interpreter alone needs it", "fit": fit}
        if not dry:
            self.workers = max(1, size.get("cpuMillis", 250 * self.workers) // 250)
            self.begin()
        return {"verdict": "DONE"}
    async def answer(self, up, answer):
        answer = {"operation": up["operation"], "attempt": up["attempt"], **answer}
        with contextlib.suppress(OSError, IndexError):
            await call("POST", f"/v1/upcalls/{up['operation']}", answer)

asyncio.run(App().run())
