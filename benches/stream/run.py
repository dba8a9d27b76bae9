#!/usr/bin/env python3
"""Streams 1 GiB beside a bare send (or sendfile) loop, round by round: throughput as a ratio, processor time, and memory.

    benches/stream/run.py [--rounds 7] [--mib 1024]

Servers run on processor 0 and the client on processor 1 when there are two. Only ratios of one run count."""
import argparse, os, pathlib, statistics, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "target" / "bench-stream"


def build():
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    library = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    for name in ("bare", "read"):
        subprocess.run(["cc", "-O2", "-o", BUILD / name, HERE / f"{name}.c"], check=True)
    subprocess.run(["cc", "-O2", f"-I{ROOT}/include", "-o", BUILD / "host", HERE / "host.c", library / "libingest.a", "-lpthread", "-ldl", "-lm"],
                   check=True)


def pinned(processor, command):
    return (["taskset", "-c", str(processor)] if os.cpu_count() > 1 and processor is not None else []) + [str(word) for word in command]


class Server:
    def __init__(self, command, pin=True):
        self.process = subprocess.Popen(pinned(0 if pin else None, command), stdout=subprocess.PIPE, text=True)
        self.port = self.process.stdout.readline().split()[1]
        self.before = self.resident()

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1])

    def processor_ns(self):
        folder = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{folder}/{task}/schedstat").read().split()[0]) for task in os.listdir(folder))

    def ask(self, octets, pin=True):
        began = self.processor_ns()
        out = subprocess.run(pinned(1 if pin else None, [BUILD / "read", self.port, octets]), stdout=subprocess.PIPE, text=True, check=True).stdout
        return octets / int(out), (self.processor_ns() - began) / octets

    def end(self):
        self.process.kill()
        self.process.wait()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--mib", type=int, default=1024)
    arguments.add_argument("--free", action="store_true", help="pin nobody")
    chosen = arguments.parse_args()
    build()
    octets = chosen.mib << 20
    with tempfile.NamedTemporaryFile(dir=BUILD) as file:
        for _ in range(chosen.mib):
            file.write(os.urandom(1 << 20))
        file.flush()
        for kind, ways in (("send", ("inline send", "inline chunk", "queue send", "queue chunk", "turn send")), ("file", ("inline file", "queue file", "turn file"))):
            servers = {"bare": Server([BUILD / "bare", kind, file.name, octets], not chosen.free)}
            for way in ways:
                servers[way] = Server([BUILD / "host", *way.split(), file.name, octets], not chosen.free)
            seen = {name: [] for name in servers}
            for _ in range(chosen.rounds):
                for name, server in servers.items():
                    seen[name].append(server.ask(octets, not chosen.free))
            for name, server in servers.items():
                speed = statistics.median(speed for speed, _ in seen[name])
                ratio = statistics.median(mine / bare for (mine, _), (bare, _) in zip(seen[name], seen["bare"]))
                cost = statistics.median(mine / bare for (_, mine), (_, bare) in zip(seen[name], seen["bare"]))
                print(f"{name:14} {speed:6.2f} GB/s  {ratio:5.2f} of bare  processor time {cost:5.2f}x  memory +{server.resident() - server.before} KiB")
                server.end()


sys.exit(main())
