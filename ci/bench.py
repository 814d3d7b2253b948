"""The measurements of ci/bench: pairs in turn, the median of each, and the ratio."""

import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
VIEWERS = 200
SECONDS = 8
CLIP = "scenarios/samples/h264-aac.flv"
CASE = "captures/ffmpeg-publish-play/input.pcap"


def cpu_of_run(command):
    """CPU seconds and peak memory in MB of a command, children included."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{command[0]} ended with {status}"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def analyze(program):
    """One connection's packets, repeated on other ports until the file is 200 MB."""
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "big.pcap")
        size = repeat(CASE, path, 200_000_000)
        rows = {
            "streamgauge analyze --format json": [program, "analyze", path, "--format", "json"],
            "tshark -q -z conv,tcp": ["tshark", "-r", path, "-q", "-z", "conv,tcp"],
        }
        print(f"{size / 1e6:.0f} MB of RTMP, {ROUNDS} rounds, medians")
        table(rows, ROUNDS)


# What tshark has to be told so that it gets this capture right.
RIGHT = ["-o", "rtmpt.max_packet_size:16777215", "-o", "tcp.reassemble_out_of_order:TRUE"]
MEMORY_MIB = 64


def big(program, generator):
    """The generator knows what it wrote: the analyzer must find all of it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "big.pcap")
        truth = json.loads(subprocess.run([generator, path], check=True, capture_output=True).stdout)
        found = subprocess.run([program, "analyze", path, "--format", "json"], check=True, capture_output=True)
        wrong = compare(truth, json.loads(found.stdout))
        messages = sum(s["pictures"] + s["sounds"] for s in truth["sessions"])
        late = sum(s["late_segments"] for s in truth["sessions"])
        size = os.path.getsize(path)
        print(f"{size / 1e6:.0f} MB, {truth['packets']} packets, {late} segments late; {len(truth['sessions'])} sessions")
        print(f"  {messages} messages of media: " + ("all counted, in each session" if not wrong else "WRONG"))
        for line in wrong:
            print("   ", line)
        rows = {
            "streamgauge analyze --format json": [program, "analyze", path, "--format", "json"],
            "streamgauge check": [program, "check", path],
            "tshark -q -z conv,tcp": ["tshark", "-r", path, "-q", "-z", "conv,tcp"],
            "tshark, Info of every packet": ["tshark", "-n", "-r", path, *RIGHT, "-T", "fields", "-e", "_ws.col.Info"],
        }
        memory = table(rows, 3)
        over = {name: mib for name, mib in memory.items() if name.startswith("streamgauge") and mib > MEMORY_MIB}
        if over:
            print(f"  more than {MEMORY_MIB} MiB: {over}")
        sys.exit(1 if wrong or over else 0)


def compare(truth, analysis):
    """Sentences about what differs."""
    wrong = []
    sessions = {s["client"]["port"]: s for s in analysis["sessions"]}
    if len(sessions) != len(truth["sessions"]):
        wrong.append(f"{len(sessions)} sessions")
    if sum(c["packets"] for c in analysis["captures"]) != truth["packets"]:
        wrong.append("packets")
    for want in truth["sessions"]:
        got = dict(sessions.get(want["port"], {}))
        for track in got.get("tracks", []):
            got["pictures" if track["kind"] == "video" else "sounds"] = track["frames"]
            if track["kind"] == "video":
                got["key_frames"] = track["key_frames"]
        for key, value in want.items():
            if key not in ("port", "late_segments") and got.get(key) != value:
                wrong.append(f"port {want['port']}: {key} is {got.get(key)}, not {value}")
    wrong += [f"finding {f['rule']}: {f['message']}" for f in analysis["findings"]]
    return wrong


def table(rows, rounds):
    """Runs commands in turn and prints the medians and the ratios to the first; returns the most memory of each."""
    figures = {name: [] for name in rows}
    for _ in range(rounds):
        for name, command in rows.items():
            figures[name].append(cpu_of_run(command))
    first, most = None, {}
    for name, runs in figures.items():
        cpu = statistics.median(r[0] for r in runs)
        memory = statistics.median(r[1] for r in runs)
        most[name] = max(r[1] for r in runs)
        first = first or (cpu, memory)
        print(f"  {name:<36} {cpu:8.2f} CPU s {memory:8.0f} MB   x{cpu / first[0]:.1f} CPU, x{memory / first[1]:.1f} memory")
    return most


def repeat(source, target, size):
    """Copies a pcap's packets again and again, each time with the clients' ports moved on."""
    with open(source, "rb") as file:
        data = file.read()
    nano, offset, records = 24, 24, []
    while offset + 16 <= len(data):
        sec, frac, kept, length = struct.unpack_from("<IIII", data, offset)
        records.append((sec, frac, kept, length, data[offset + 16 : offset + 16 + kept]))
        offset += 16 + kept
    ports = sorted({struct.unpack_from(">HH", r[4], 34) for r in records})
    server = max({p for pair in ports for p in pair}, key=lambda p: sum(p in pair for pair in ports))
    written = nano
    with open(target, "wb") as out:
        out.write(data[:24])
        round_ = 0
        while written < size:
            for sec, frac, kept, length, packet in records:
                packet = bytearray(packet)
                for at in (34, 36):
                    (port,) = struct.unpack_from(">H", packet, at)
                    if port != server:
                        struct.pack_into(">H", packet, at, 1024 + (port + 2 * round_) % 60000)
                out.write(struct.pack("<IIII", sec + 4 * round_, frac, kept, length))
                out.write(packet)
                written += 16 + kept
            round_ += 1
    return written


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def message(body, stream=0):
    """A command message in chunks of 128 bytes."""
    out = b"\x03\0\0\0" + struct.pack(">I", len(body))[1:] + b"\x14" + struct.pack("<I", stream)
    pieces = [body[i : i + 128] for i in range(0, len(body), 128)]
    return out + b"\xc3".join(pieces)


def text(value):
    return b"\x02" + struct.pack(">H", len(value)) + value.encode()


def number(value):
    return b"\x00" + struct.pack(">d", value)


def player(port):
    """A connected player that has asked for live/bench; nobody looks at what it gets."""
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"\x03" + bytes(8) + random.randbytes(1528))
    got = b""
    while len(got) < 3073:
        got += s.recv(3073 - len(got))
    connect = text("connect") + number(1) + b"\x03\0\x03app" + text("live") + b"\0\0\x09"
    create = text("createStream") + number(2) + b"\x05"
    play = text("play") + number(3) + b"\x05" + text("bench")
    s.sendall(got[1:1537] + message(connect) + message(create))
    # The stream's number comes with the answer; every server here says 1.
    s.sendall(message(play, 1))
    s.setblocking(False)
    return s


def cpu_of(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid):
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [pid] + [int(child) for child in children.split()]


def relay(start):
    """CPU seconds a GB, and the share of the clip's rate that the players got."""
    scratch = tempfile.mkdtemp()
    port = free_port()
    server = start(port, scratch)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        url = f"rtmp://127.0.0.1:{port}/live/bench"
        ffmpeg = ["ffmpeg", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", CLIP, "-c", "copy", "-f", "flv", url]
        publisher = subprocess.Popen(ffmpeg, stdin=subprocess.DEVNULL)
        time.sleep(1)
        players = [player(port) for _ in range(VIEWERS)]
        poll = select.epoll()
        by_number = {p.fileno(): p for p in players}
        for number_ in by_number:
            poll.register(number_, select.EPOLLIN)
        scratch_bytes = bytearray(1 << 16)

        def drink(seconds):
            total, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                for number_, _ in poll.poll(0.05):
                    try:
                        total += by_number[number_].recv_into(scratch_bytes, 1 << 16)
                    except BlockingIOError:
                        pass
            return total

        drink(2)
        pids = family(server.pid)
        before = cpu_of(pids)
        received = drink(SECONDS)
        cpu = cpu_of(pids) - before
        return cpu / (received / 1e9), received / VIEWERS / SECONDS * 8 / 1e3
    finally:
        for process in (locals().get("publisher"), server):
            if process:
                process.send_signal(signal.SIGTERM)
                process.wait()
        for p in locals().get("players", []):
            p.close()
        shutil.rmtree(scratch, ignore_errors=True)


def fanout(program):
    def ours(port, _):
        command = [program, "-q", "serve", "--rtmp", f"127.0.0.1:{port}", "--rtsp", "off", "--hls", "off", "--api", "off"]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def nginx(port, scratch):
        module = "/usr/lib/nginx/modules/ngx_rtmp_module.so"
        conf = os.path.join(scratch, "nginx.conf")
        with open(conf, "w") as out:
            out.write(
                f"load_module {module};\ndaemon off;\nworker_processes 1;\npid {scratch}/pid;\nerror_log {scratch}/log;\n"
                "events { worker_connections 4096; }\n"
                f"rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096; application live {{ live on; }} }} }}\n"
            )
        os.makedirs(os.path.join(scratch, "logs"), exist_ok=True)
        return subprocess.Popen(["nginx", "-c", conf, "-p", scratch], stderr=subprocess.DEVNULL)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    rows = {"streamgauge serve": ours, "nginx-rtmp": nginx}
    figures = {name: [] for name in rows}
    rounds = 3
    for _ in range(rounds):
        for name, start in rows.items():
            figures[name].append(relay(start))
    print(f"{VIEWERS} viewers of one stream, {SECONDS} s, {rounds} rounds, medians")
    first = None
    for name, runs in figures.items():
        cost = statistics.median(r[0] for r in runs)
        rate = statistics.median(r[1] for r in runs)
        first = first or cost
        print(f"  {name:<20} {cost:6.2f} CPU s a GB   x{cost / first:.2f}   {rate:6.0f} kbit/s a viewer")


if __name__ == "__main__":
    what, program, generator = sys.argv[1:]
    if what in ("analyze", "all"):
        analyze(program)
    if what in ("fanout", "all"):
        fanout(program)
    if what in ("big", "all"):
        big(program, generator)
