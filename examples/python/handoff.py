#!/usr/bin/env python3
"""Counters over HTTP, in a dict that moves while it is served: POST /name raises one, GET /name reads it.

Nothing but the standard library. The wire of PaCI is in paci.py, what moves the dict is here.
"""
import hashlib, http.server, itertools, json, os, threading, time
from paci import DATA, END, PATH, Channel, Upcalls, call

SCHEMA = {"name": "python-counters", "version": 1}
cond, wire = threading.Condition(), threading.Lock()  # cond guards the names below, wire the channel
counters, dirty = {}, set()  # the state (its position is the sum of all counters); what changed since it was sent
is_open, guards, incarnation = not PATH, {}, 0  # the gate; who holds a guard: for what, and since when
phase, staged, channel, told = "NEW", None, None, {}  # where this process stands; what was loaded; what Hello told

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm, log_message = "HTTP/1.1", True, lambda *_: None
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body, path, refused = 421, b"", self.path[:128], str(incarnation)
        with cond:  # the guard: taken before anything is done, given back when the answer is written
            if is_open:
                guards[self] = (f"{self.command} {path}"[:128], time.monotonic())
                if self.command == "POST":
                    counters[path] = counters.get(path, 0) + 1
                    dirty.add(path)
                status, body = 200, b"%d\n" % counters.get(path, 0)
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 421:
                self.send_header("Paci-Not-Applied", refused)
            self.end_headers()
            self.wfile.write(body)
        finally:
            with cond:
                guards.pop(self, None)
                cond.notify_all()
    do_POST = do_GET

def prepare(op, asked):
    global phase, dirty, channel
    side, schema = asked.get("side"), asked.get("schema") or SCHEMA
    if asked.get("mode") != "HANDOFF" or side not in ("SOURCE", "TARGET"):
        return "UNSUPPORTED", {}
    if phase not in {"SOURCE": ("SERVING", "PREPARING"), "TARGET": ("STAGING",)}[side]:
        return "FAILED", {"code": "WRONG_PHASE"}
    if side == "TARGET" and schema != SCHEMA:
        return "REFUSE", {"code": "SCHEMA_UNKNOWN"}
    with wire:
        channel = Channel(asked["channelToken"])
        with cond:
            phase, dirty = ("PREPARING", set(counters)) if side == "SOURCE" else ("LOADING", set())
    return copy(op) if side == "SOURCE" else load(op)

def copy(op):  # ships everything, then what changes, while it serves; seal ends this question, or abort
    while True:
        with wire:
            if phase != "PREPARING" or upcalls.seen != op:
                return None
            send_changes()
        left = {"staged": True, "remainingRecords": len(dirty), "predictedPauseMs": 5}
        upcalls.answer(op, "prepare", "IN_PROGRESS", copy=left)
        time.sleep(0.1)

def send_changes():
    while dirty:
        with cond:
            part = {name: counters[name] for name in itertools.islice(dirty, 200)}
            dirty.difference_update(part)
        channel.send(DATA, part)

def load(op):
    global phase, staged
    upcalls.answer(op, "prepare", "IN_PROGRESS", copy={"staged": True})
    loaded = {}
    while (frame := channel.receive())[0] == DATA:
        loaded.update(frame[1])
    with cond:
        staged, phase = loaded, f"LOADED {op}" if phase == "LOADING" else phase
    end = {"endPosition": frame[1]["position"], "endDigest": frame[1]["digest"]}
    return "DONE", {"loaded": {**proof(loaded), **end}}

def proof(state):
    digest = hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()
    return {"position": str(sum(state.values())), "digest": digest}

def seal(op, asked):
    global phase, is_open
    with cond:
        if phase != "PREPARING":
            return "FAILED", {"code": "WRONG_PHASE"}
        phase, is_open = "SEALED", False  # until resume: nothing else opens the gate
        if not cond.wait_for(lambda: not guards, asked.get("guardWaitMs", 0) / 1000):
            route, since = min(guards.values(), key=lambda guard: guard[1])
            held = {"route": route, "heldMs": int((time.monotonic() - since) * 1000)}
            return "FAILED", {"code": "SEAL_BLOCKED", "blocked": held}
    with wire:
        send_changes()
        channel.send(END, proof(counters))
    return "DONE", {"sealed": proof(counters)}

def resume(op, asked):
    if asked["outcome"] == "COMMITTED":
        return turn({f"LOADED {op}": "RESUMED", **dict.fromkeys(SOURCE, "OUTDATED")}, asked["incarnation"])
    return turn(dict.fromkeys(SOURCE, "SERVING"), asked["incarnation"])

def serve(op, asked):
    return turn({"RESUMED": "SERVING"} if asked["incarnation"] == incarnation else {}, incarnation)

def abort(op, _):
    spoilt = dict.fromkeys(("STAGING", "LOADING", f"LOADED {op}"), "SPOILT")
    return turn({"SERVING": "SERVING", "PREPARING": "SERVING", **spoilt}, incarnation)

def turn(phases, number):
    global phase, is_open, incarnation, counters
    with cond:
        if phase not in phases:
            return "FAILED", {"code": "WRONG_PHASE"}
        phase = phases[phase]
        is_open, counters = phase == "SERVING", staged if phase == "RESUMED" else counters
        incarnation = incarnation if phase == "OUTDATED" else number
    return "DONE", {}

def hello():
    global phase, is_open, incarnation, told
    claims = {"versions": ["v1"], "capabilities": ["stop", "move.estimate", "move.handoff"], "sdk": "by hand"}
    last = {"incarnation": incarnation, "operation": upcalls.seen, "sealed": phase == "SEALED"}
    status, reply = call("POST", "/v1/hello", {**claims, **({"told": {**told, **last}} if told else {})})
    standing = reply.get("standing")
    if status != 200 or standing not in ("OWNER", "STAGING", "OUTDATED"):
        raise ConnectionError("not now: say it again")
    told = {"startId": reply["instance"]["startId"], "standing": standing}
    with cond:
        if phase == "NEW" and standing == "OWNER":
            phase, is_open, incarnation = "SERVING", True, reply["instance"]["incarnation"]
        elif phase == "NEW" or phase in SOURCE[:2] and standing == "OUTDATED":
            phase, is_open = standing, False
    call("PUT", "/v1/state", {"state": "READY"})

SOURCE = ("SERVING", "PREPARING", "SEALED")
ESTIMATE = {"estimate": {"modes": ["HANDOFF"], "schema": SCHEMA, "pauseMs": 5}}
CALLS = {handler.__name__: handler for handler in (prepare, seal, resume, serve, abort)}
CALLS |= {"estimate": lambda *_: ("DONE", ESTIMATE), "stop": lambda *_: ("DONE", {})}
upcalls = Upcalls(hello, CALLS, lambda: phase == "OUTDATED")
if __name__ == "__main__":
    if PATH:
        threading.Thread(target=upcalls.poll, daemon=True).start()
    where = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    http.server.ThreadingHTTPServer(where, Handler).serve_forever()
