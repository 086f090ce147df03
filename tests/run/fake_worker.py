"""The command of the fake engine: counts steps, keeps a checkpoint, and misbehaves when told to.

Reads job.json in its folder. The result is a hash over all steps, so that a step done twice or
left out shows. Standard library only; run with -I -S so that it starts at once.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

with open("job.json") as stream:
    job = json.load(stream)


def put(path, text):
    with open(path + ".tmp", "w") as stream:
        stream.write(text)
    os.replace(path + ".tmp", path)


if job.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if job.get("children"):
    # One in our group, one in a session of its own, one that has lost its parent.
    sleep = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    ]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(sleep)
        os._exit(0)
for text in job.get("print", []):
    print(text)
for name in job.get("print_env", []):
    print(f"{name} is {os.environ.get(name)}")
if "print_hex" in job:
    sys.stdout.flush()
    os.write(1, bytes.fromhex(job["print_hex"]))
sys.stdout.flush()


def fetch(path=""):
    import urllib.request

    for url in job.get("fetch", []):
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(url + path, timeout=10) as answer:
                    print(f"{url} said {answer.read().decode()}", flush=True)
                    break
            except OSError as error:
                if path == "/die":
                    break
                if time.monotonic() > until:
                    print(f"ConnectionError: {url}: {error}", flush=True)
                    sys.exit(1)
                time.sleep(0.1)


fetch()
if job.get("flood"):
    lines = "".join(f"line {i} of a long log, as engines write them\n" for i in range(job["flood"]))
    sys.stdout.write(lines)
    sys.stdout.flush()
if job.get("lazy"):
    sys.exit(0)

value, done = "", 0
if job.get("input"):
    with open(job["input"]) as stream:
        value = stream.read()
if os.path.exists("checkpoint.json"):
    with open("checkpoint.json") as stream:
        kept = json.load(stream)
    value, done = kept["value"], kept["step"]
    # Killed after a checkpoint and before its row: an engine that resumes has it all the same.
    rows = []
    if os.path.exists("steps.jsonl"):
        with open("steps.jsonl") as log:
            rows = [line for line in log if line.endswith("}\n")]
    if not rows or json.loads(rows[-1])["step"] < done:
        rows.append(
            json.dumps({"step": done, "loss": round(1 / done, 3), "total": job.get("steps", 5)}) + "\n"
        )
        put("steps.jsonl", "".join(rows))
for step in range(done + 1, job.get("steps", 5) + 1):
    time.sleep(job.get("seconds", 0.02))
    if job.get("kill_service_at") == step:
        fetch("/die")
        fetch()
    if job.get("hang_at") == step:
        time.sleep(600)
    if job.get("die_at") == step and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), job.get("signal", signal.SIGKILL))
    if job.get("crash_at") == step and not os.path.exists("crashed"):
        open("crashed", "w").close()
        print("ValueError: the loss is nan")
        sys.exit(3)
    value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
    put("checkpoint.json", json.dumps({"step": step, "value": value}))
    with open("steps.jsonl", "a", buffering=1) as log:
        log.write(json.dumps({"step": step, "loss": round(1 / step, 3), "total": job.get("steps", 5)}) + "\n")
    print(f"step {step}")
    sys.stdout.flush()
os.makedirs("outputs", exist_ok=True)
put("outputs/result.txt", value)
