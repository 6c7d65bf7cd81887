"""The counters of examples/python, with the sins that MISBEHAVE names, commas between them.

    silent-CALL     never answers it                      exit-CALL       exits when it is asked
    fails-CALL      says that it failed                   works-CALL      says for ever that it is at work
    differs-CALL    answers it twice, differently         empty-digest    proves nothing
    hangs-CALL      never answers it, and polls no more     wrong-CALL      answers it at first as no answer may be
    freezes-CALL    answers it, and is stopped by a signal
    huge            sends 10 MiB in a call                garbage         sends what is no call
    holds           wants to be left alone for ever       zombie          leaves a process that dials on
    early-end       sends its end record with its copy, before it is asked to seal
    older           what it writes is newer than what it reads
    saves           writes its counters down when it is told to stop
    stays           asks not to be stopped

CALL is a call of the contract; one to prepare or resume is named with its side or outcome: prepare-source.
"""

import os
import signal
import sys
import time

SINS = os.environ["MISBEHAVE"].split(",")
SOURCE = open(os.path.join(os.environ["EXAMPLE"], "handoff.py")).read()
exec(SOURCE.replace("asyncio.run(App().run())", ""))  # everything that it does right is the example's
HELLO["capabilities"].append("stop")


def asked(up):
    for name in ("estimate", "prepare", "seal", "resume", "serve", "abort", "stop"):
        if name in up:
            more = up[name].get("side") or up[name].get("outcome")
            return f"{name}-{more.lower()}" if more else name
    return "none"


def say(*words):
    print(*words, flush=True)


class Sinner(App):
    async def take(self, up, op):
        say("asked", asked(up), up.get("reason"), up["message"])
        if f"exit-{asked(up)}" in SINS:
            os._exit(3)
        if f"hangs-{asked(up)}" in SINS:
            await asyncio.Event().wait()
        if asked(up) == "stop":
            if "saves" in SINS:
                with open(os.path.join(os.environ["RIG"], "saved"), "w") as saved:
                    json.dump([self.counters, up["message"]], saved)
            await self.answer(up, {"verdict": "DONE"})
            os._exit(0)
        await super().take(up, op)

    async def obey(self, up, name):
        if "older" in SINS and asked(up) == "prepare-target":
            return {"verdict": "REFUSE", "code": "SCHEMA_UNKNOWN",
                    "message": f"told of {up['prepare'].get('schema')}, reads counters 1 and 2"}
        done = await super().obey(up, name)
        if "early-end" in SINS and asked(up) == "prepare-source":
            self.channel.write(frame(END, self.sent, json.dumps(proof(self.counters)).encode()))
            self.sent += 1
            say("ended early")
        if "older" in SINS and asked(up) == "estimate":
            done["estimate"]["schema"] = {"name": "counters", "version": 3}
        return done

    async def answer(self, up, answer):
        if f"silent-{asked(up)}" in SINS:
            return
        if f"fails-{asked(up)}" in SINS:
            answer = {"verdict": "FAILED", "code": "WRONG_PHASE"}
        if f"works-{asked(up)}" in SINS:
            answer = {"verdict": "IN_PROGRESS"}
        if f"wrong-{asked(up)}" in SINS:
            SINS.remove(f"wrong-{asked(up)}")
            # No result goes with it, and no code has a space.
            answer = {"verdict": "DONE"} if asked(up) == "seal" else {"verdict": "FAILED", "code": "BAD LUCK"}
        await super().answer(up, answer)
        if f"freezes-{asked(up)}" in SINS:
            SINS.remove(f"freezes-{asked(up)}")
            say("frozen", os.getpid())
            os.kill(os.getpid(), signal.SIGSTOP)
        if f"differs-{asked(up)}" in SINS and answer["verdict"] == "DONE":
            other = {"verdict": "FAILED", "code": "APP_REGRET"}
            attempt = {"operation": up["operation"], "attempt": up["attempt"]}
            say("differs", *await call("POST", f"/v1/upcalls/{up['operation']}", {**attempt, **other}))

    async def hello(self):
        status = await super().hello()
        if "huge" in SINS:
            for method, target in (("POST", "/v1/hello"), ("PUT", "/v1/state"), ("POST", "/v1/upcalls/1")):
                say("huge", *await call(method, target, {"message": "x" * (10 << 20)}))
            SINS.remove("huge")
        if "garbage" in SINS:
            await self.send_garbage()
            SINS.remove("garbage")
        if "stays" in SINS:
            hold = {"ops": ["stop"], "ttlMs": 3600000, "reason": "month end"}
            say("stays", *await call("PUT", "/v1/holds/payroll", hold))
        if "holds" in SINS:
            for ttl_ms in (2 ** 32 - 1, 3600001, 2000):
                hold = {"ops": ["move"], "ttlMs": ttl_ms, "reason": "for ever"}
                say("holds", *await call("PUT", "/v1/holds/ever", hold))
            SINS.remove("holds")
        return status

    async def send_garbage(self):
        for path in (PATH, CHANNEL):
            for garbage in (b"\x00\xff" * 40000, b"GET / HTTP/9.9\r\n\r\n", b"hello\n"):
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_unix_connection(path)
                    writer.write(garbage)
                    writer.write_eof()
                    say("garbage", (await reader.read())[:60])
        for body in (["a", "list"], {"versions": 7}, {"versions": ["v1"], "capabilities": ["\x07"]}):
            say("garbage", *await call("POST", "/v1/hello", body))
        say("garbage", *await call("POST", "/v1/upcalls/4000000000", {"operation": 4000000000, "attempt": 1,
                                                                      "verdict": "DONE"}))


if "empty-digest" in SINS:
    honest = proof

    def proof(state):
        return {**honest(state), "digest": ""}

if "zombie" in SINS and os.fork() == 0:
    os.setsid()  # it is in no group and no session of its parent's
    if os.fork() == 0:
        # And whoever reads its environment does not learn there whose it was.
        other = {name: value for name, value in os.environ.items() if name != "PACI_ENDPOINT"}
        os.execve(sys.executable, [sys.executable, "-B", *sys.argv], other | {"MISBEHAVE": "dials", "DIALS": PATH})
    os._exit(0)

if "dials" in SINS:
    PATH = os.environ["DIALS"]
    with open(os.path.join(os.environ["RIG"], f"zombie-{os.environ['PORT']}"), "w") as log:
        print(os.getpid(), file=log, flush=True)
        while True:
            try:
                status = asyncio.run(call("GET", "/v1/instance"))
            except (OSError, IndexError) as error:
                status = type(error).__name__
            print(status, file=log, flush=True)
            time.sleep(0.02)
asyncio.run(Sinner().run())
