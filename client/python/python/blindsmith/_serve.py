"""Runs a refinery and a SIMULATED warden until standard input ends: ``python _serve.py PROGRAMS DIR``.

Standard input ends when the process that started this one does, however it ends: nothing stays behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def main(programs: str, directory: str) -> int:
    store = os.path.join(directory, "refinery")
    commands = {
        "refinery": ["blindsmith-refinery", "--store", store],
        "warden": [
            "blindsmith-warden",
            "--refinery",
            os.path.join(store, "warden.sock"),
            "--tee",
            "simulated",
            "--state",
            os.path.join(directory, "warden"),
        ],
    }
    children = []
    ended = threading.Event()
    for name, (program, *arguments) in commands.items():
        with open(os.path.join(directory, f"{name}.log"), "ab") as log:
            child = subprocess.Popen(
                [os.path.join(programs, program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        children.append(child)

    def end_with(wait) -> None:
        wait()
        ended.set()

    for wait in [sys.stdin.buffer.read, *(child.wait for child in children)]:
        threading.Thread(target=end_with, args=(wait,), daemon=True).start()
    ended.wait()
    code = max(child.poll() or 0 for child in children)
    for child in reversed(children):
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
    return 0 if code == 0 else 1


if __name__ == "__main__":
    # A signal to the group of the notebook or the terminal is not for the services.
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
