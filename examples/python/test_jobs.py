"""Asks jobs.py what an agent would ask: real sockets, a real process."""
import contextlib, http.client, os, socket, subprocess, sys, threading, time, unittest

from test_handoff import Agent, WAIT

class Jobs(unittest.TestCase):
    def setUp(self):
        self.agent = Agent("OWNER", "jobs.py")
        self.addCleanup(self.agent.close)
    def send(self, ms):
        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):  # the process may end before the job
                self.agent.http("POST", f"/jobs/{ms}")
        job = threading.Thread(target=ask, daemon=True)
        job.start()
        return job
    def begin(self, ms):
        """A job that is at work when this returns."""
        before = self.said("report")["inFlight"]
        job = self.send(ms)
        while self.said("report")["inFlight"] <= before:
            pass
        return job
    def said(self, what):
        """The next that it says of itself on this path."""
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            path, body = self.agent.words.get(timeout=WAIT)
            if path.startswith(f"/v1/{what}"):
                return body
        raise TimeoutError(what)
    def test_it_says_how_much_it_has_to_do_and_what_is_coming(self):
        idle = self.said("report")
        self.assertEqual((idle["queued"], idle["backlogMs"], "oldestWaitMs" in idle), (0, 0, False))
        for _ in range(6):
            self.send(60000)
        while (busy := self.said("report"))["queued"] < 2:
            pass
        self.assertEqual((busy["inFlight"], busy["backlogMs"], busy["utilisationPermille"]), (4, 120000, 1500))
        self.agent.http("POST", "/announce/sale/500")
        self.assertEqual(self.said("announcements/sale")["demandMilliPerS"], 500000)
        self.agent.http("POST", "/pause/10")
        self.assertEqual(self.said("state"), {"state": "PAUSING", "inMs": 20, "forMs": 10})
    def test_who_says_what_cannot_be_said_hears_why(self):
        for path in "/jobs/-1", "/announce/sale/2147483", "/pause/soon":
            what, came = path.split("/")[1], path.split("/")[-1]
            want = f"{what}: '{came}', want a whole number below 2147483\n"
            self.assertEqual(self.agent.http("POST", path)[:2], (400, want.encode()))
        self.agent.refused = {"/v1/state": "forMs: 70000, at most 60000", "/v1/announcements/a@b": "id: no name"}
        self.assertEqual(self.agent.http("POST", "/pause/70000")[:2], (400, b"forMs: 70000, at most 60000\n"))
        self.assertEqual(self.agent.http("POST", "/announce/a@b/5")[:2], (400, b"id: no name\n"))
    def test_its_price_is_what_would_be_done_again(self):
        price = self.agent.call(5, "quote").said("DONE")["quote"]
        self.assertEqual((price["costMs"], price["drainMs"]), (0, 0))
        self.begin(60000)
        price = self.agent.call(5, "quote").said("DONE")["quote"]
        self.assertTrue(0 < price["costMs"] < 60000 and price["costMs"] + price["drainMs"] == 60000, price)
    def test_it_fits_into_a_size_or_says_which_it_could_do_with(self):
        counter = self.agent.call(5, "resize", memoryKib=1024).said("REFUSE")
        self.assertEqual((counter["code"], counter["fit"]), ("DOES_NOT_FIT", {"memoryKib": 32768}))
        self.agent.call(5, "resize", dry=True, cpuMillis=500).said("DONE")
        self.assertEqual(self.said("report")["concurrency"], 4, "it was only asked")
        self.agent.call(5, "resize", cpuMillis=500).said("DONE")
        while self.said("report")["concurrency"] != 2:
            pass
    def test_a_drain_ends_with_the_work_and_can_be_called_off(self):
        job = self.begin(300)
        self.agent.call(5, "drain", reversible=True)
        self.assertEqual(self.agent.said("IN_PROGRESS")["inFlight"], 1)
        self.assertEqual(self.agent.http("POST", "/jobs/1")[0], 503, "nothing new")
        self.assertEqual(self.agent.said("DONE")["inFlight"], 0)
        job.join(WAIT)
        self.agent.call(5, "abort").said("DONE")
        self.assertEqual(self.agent.http("POST", "/jobs/1")[0], 200)
        self.assertEqual(self.agent.call(5, "drain").said("REFUSE")["code"], "OPERATION_CLOSED")
        self.agent.call(4, "quote").said("REFUSE")
        self.agent.call(6, "frobnicate").said("UNSUPPORTED")
        self.agent.call(6, "stop").said("DONE")
        self.assertEqual(self.agent.process.wait(WAIT), 0)

class Taken(unittest.TestCase):
    def test_whoever_finds_its_address_taken_says_so_in_one_line_and_ends(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host, port = "127.0.0.1", str(taken.getsockname()[1])
            for command in [["jobs.py"], ["handoff.py"], ["../unaware/server.py", host, port]]:
                env = os.environ | {"HOST": host, "PORT": port}
                ended = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, timeout=WAIT)
                name = os.path.basename(command[0])
                start = f"{name}: cannot listen on {host}:{port}: Address already in use; "
                self.assertEqual((ended.returncode, ended.stderr.count("\n")), (1, 1), ended.stderr)
                self.assertTrue(ended.stderr.startswith(start), ended.stderr)

if __name__ == "__main__":
    unittest.main()
