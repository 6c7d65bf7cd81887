"""The queue of examples/python/jobs.py, which does what a test orders while it runs. What RIG/orders.json says is for every
instance, what RIG/orders-NAME.json says (orders-jobs.2.json) for one; both are looked at again and again.

    report {..}         these fields are in its reports, whatever is true; null: it is left out
    flap {..}           the same, in every second report
    silent true         no reports
    state {..}          says this once: {"state": "PAUSING", "inMs": 0, "forMs": 300}
    stuck true          once the rest is said, answers nothing and says nothing, to clients or to the cloud, for as long as it is ordered
    announce {ID: {..}} says these once each
    ask {..}            says this once
    asksAgain true      says it again and again, and writes down what became of it when that changes: `became PENDING ..`
    hold {KEY: {..}}    says these once each
    ballastMib 64       has so much memory beside what it needs
    resize ..           "keep": agrees to every size and lets go of nothing; {..}: this answer; "silent": none
    leastCpu 400        refuses fewer thousandths of a processor, and offers those
    quote ..            {..}: these fields in its price; "refuse", "defer", "silent": it has none
    slow true           its process does not come up for as long as that is ordered
    drain ..            "refuse", "defer", "silent"; "never": it works on for as long as that is ordered

What it was asked and did stands in RIG/did-NAME, a line each with its time in ms: `asked quote`, `within quote 1000`, `begun 50`, `done 50`,
`stop 2` (so many jobs were at work when it was told to stop), `resized {..}`, `said /v1/state`, `denied 403 ..` (what the cloud did not take).
RIG/obeys-NAME.json is what was last ordered of this one alone, once it is done.
"""

import os

SOURCE = open(os.path.join(os.environ["EXAMPLE"], "jobs.py")).read()
exec(SOURCE.replace("asyncio.run(App().run())", ""))  # everything that it does well is the example's
HELLO["capabilities"] += ["ask", "cold"]
NAME, RIG = os.environ.get("PACI_INSTANCE", "jobs"), os.environ["RIG"]
NEEDS_KIB, ORDERS_S = 49152, 0.02


def did(*words):
    with open(os.path.join(RIG, f"did-{NAME}"), "a") as ledger:
        print(int(time.time() * 1000), *words, file=ledger, flush=True)


def ordered():
    orders = {}
    for name in ("orders.json", f"orders-{NAME}.json"):
        # A file that is not there, or not written to its end, orders nothing yet.
        with contextlib.suppress(OSError, ValueError):
            orders |= json.load(open(os.path.join(RIG, name)))
    return orders


def own_orders():
    with contextlib.suppress(OSError):
        return open(os.path.join(RIG, f"orders-{NAME}.json")).read()


class Unruly(App):
    orders, said, ballast, reports, heard, obeyed = {}, {}, b"", 0, None, None

    async def run(self):
        self.orders = ordered()
        await asyncio.gather(super().run(), self.obey(), self.ask_again())

    async def ask_again(self):
        while True:
            if self.orders.get("asksAgain") and self.said.get("/v1/ask") == self.orders.get("ask"):
                with contextlib.suppress(OSError, IndexError):
                    status, answer = await call("PUT", "/v1/ask", self.orders["ask"])
                    heard = (answer.get("became"), answer.get("message"))
                    if status == 200 and heard != self.heard:
                        self.heard = heard
                        did("became", *heard)
            await asyncio.sleep(0.1)

    async def obey(self):
        while True:
            own, self.orders = own_orders(), ordered()
            mib = self.orders.get("ballastMib", 0)
            if mib != self.said.get("ballast", 0):
                self.said["ballast"] = mib
                self.carry(mib << 20)
            for target, body in self.once():
                if self.said.get(target) != body:
                    with contextlib.suppress(OSError, IndexError):
                        status, answer = await call("PUT", target, body)
                        if status == 409:
                            continue  # Hello comes first
                        if status != 200:
                            did("denied", status, json.dumps(answer))
                        self.said[target] = body
                        did("said", target)
            if own != self.obeyed:
                self.obeyed = own
                with open(os.path.join(RIG, f"obeys-{NAME}.json"), "w") as obeys:
                    obeys.write(own)
            while self.orders.get("stuck"):
                time.sleep(ORDERS_S)  # all of it stands still
                self.orders = ordered()
            await asyncio.sleep(ORDERS_S)

    def once(self):
        """What is said once, and again if it is ordered otherwise."""
        if state := self.orders.get("state"):
            yield "/v1/state", state
        if ask := self.orders.get("ask"):
            yield "/v1/ask", ask
        for name, body in self.orders.get("announce", {}).items():
            yield f"/v1/announcements/{name}", body
        for name, body in self.orders.get("hold", {}).items():
            yield f"/v1/holds/{name}", body

    def carry(self, size):
        self.ballast = b""
        self.ballast = b"\x01" * size  # written, so that it is there

    async def work(self, ms, done):
        did("begun", ms)
        await super().work(ms, done)
        did("done", ms)

    async def take(self, up, op):
        asked = (up.keys() & {"drain", "stop", "estimate", "quote", "resize", "abort"} or {"other"}).pop()
        did("asked", asked, "dry" if up.get("dryRun") else "")
        did("within", asked, up.get("budgetMs"))
        order = self.orders.get(asked)
        if asked == "stop":
            did("stop", len(self.running))
        if order == "silent":
            return
        if order in ("refuse", "defer"):
            later = {"retryAfterMs": 1000} if order == "defer" else {"code": "BUSY"}
            return await self.answer(up, {"verdict": order.upper(), "message": "it was ordered", **later})
        if asked == "drain" and order == "never":
            self.draining = True
            asyncio.create_task(self.works(up, op))
            return
        if asked == "quote" and order:
            price = {"costMs": 0, "drainMs": 0, "stateKib": 0, "sessions": 0} | order
            return await self.answer(up, {"verdict": "DONE", "quote": price})
        await super().take(up, op)

    async def works(self, up, op):
        while self.orders.get("drain") == "never":
            if not self.draining or self.seen != up["operation"]:
                return
            await self.answer(up, {"verdict": "IN_PROGRESS", "inFlight": 1})
            await asyncio.sleep(0.2)
        await super().take(up, op)

    def resize(self, size, dry):
        order = self.orders.get("resize")
        if isinstance(order, dict):
            return order
        least, wanted = self.orders.get("leastCpu", 0), size.get("cpuMillis")
        if wanted is not None and wanted < least:
            did("refused", wanted)
            fit = {"cpuMillis": least}
            return {"verdict": "REFUSE", "code": "DOES_NOT_FIT", "message": "the index takes more", "fit": fit}
        answer = super().resize(size, dry)
        if order != "keep" and not dry and answer["verdict"] == "DONE" and "memoryKib" in size:
            room = max(0, size["memoryKib"] - NEEDS_KIB) << 10
            if len(self.ballast) > room:
                self.carry(room)
        did("resized", json.dumps(size), answer["verdict"], "dry" if dry else "")
        return answer


async def altered(method, target, body=None):
    """What is said, with what is ordered in it."""
    if target == "/v1/report":
        orders, APP.reports = APP.orders, APP.reports + 1
        if orders.get("silent"):
            return 200, {}
        body = body | orders.get("report", {}) | (orders.get("flap", {}) if APP.reports % 2 else {})
        body = {name: value for name, value in body.items() if value is not None}
        status, answer = await honest(method, target, body)
        if status not in (200, 409):
            did("denied", status, json.dumps(answer))
        return status, answer
    return await honest(method, target, body)


while ordered().get("slow"):
    time.sleep(ORDERS_S)
honest, call = call, altered
APP = Unruly()
asyncio.run(APP.run())
