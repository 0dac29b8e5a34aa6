"""Stops `attnscope capture` at random moments, by SIGKILL and by Ctrl-C, and resumes what is left.

``python tests/command_kills.py 200`` stops it 200 times on PyTorch. The command runs in a process that is forked from
this one, which has run it once, so that a fork has nothing to import.
"""

import contextlib
import io
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import keras
import numpy as np

import attnscope as ats
from attnscope.cli import main
from store_kills import MEMORY, files_of

COMMAND = (
    "capture model.keras samples.npy -o run.zarr --batch-size 1 --codes uint8 --commit-every 0.03".split()  # noqa: SIM905
)
BEFORE_MAIN = 131
"""Exit code where Ctrl-C came outside of what the command catches."""
FAILED = 1


def prepare():
    """A model and samples for it, in the working folder."""
    keras.utils.set_random_seed(1)
    x = keras.Input((24, 16))
    y = keras.layers.MultiHeadAttention(2, 8, name="first")(x, x)
    keras.Model(x, keras.layers.MultiHeadAttention(2, 8, name="second")(y, y), name="m").save("model.keras")
    np.save("samples.npy", np.random.default_rng(0).normal(size=(80, 24, 16)).astype("float32"))


def started(arguments):
    """The process of a command; what it says goes to the files ``out`` and ``err``."""
    process = os.fork()
    if process:
        return process
    code = FAILED
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have begun this with Ctrl-C ignored
    try:
        with Path("out").open("w") as out, Path("err").open("w") as err:
            sys.stdout, sys.stderr = out, err
            code = main(arguments)
    except KeyboardInterrupt:
        code = BEFORE_MAIN
    except BaseException:
        with Path("err").open("a") as err:
            traceback.print_exc(file=err)
    finally:
        os._exit(code)  # and nothing else that this process has begun


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def held(path):
    """How many samples a store has, all of which are read, and whether its run is complete; 0 if there is none."""
    if not (path / "zarr.json").exists():
        return 0, False
    found = ats.verify(path)
    assert found.is_whole, str(found)
    return found.samples, found.complete


def stop(stops, seed):
    """Stops the command so many times; gives how often by which signal, and how many runs came to their end."""
    chance, counts = random.Random(seed), {"SIGKILL": 0, "SIGINT": 0, "SIGINT outside": 0, "ended": 0, "resumed": 0}
    assert main(COMMAND) == 0
    expected = files_of(Path("run.zarr"))
    shutil.rmtree("run.zarr")
    began = time.monotonic()
    assert ended(started(COMMAND)) == 0, Path("err").read_text()
    whole = time.monotonic() - began
    assert files_of(Path("run.zarr")) == expected
    shutil.rmtree("run.zarr")
    arguments, before = COMMAND, 0
    while counts["SIGKILL"] + counts["SIGINT"] < stops:
        began, process = time.monotonic(), started(arguments)
        time.sleep(chance.uniform(0, whole))
        kind = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, kind)
        code = ended(process)
        after, complete = held(Path("run.zarr"))
        assert after >= before, f"{before - after} samples are lost"
        if code == 0:
            whole = max(0.7 * whole, time.monotonic() - began)  # as busy as the machine is now
            assert files_of(Path("run.zarr")) == expected
            shutil.rmtree("run.zarr")
            counts["ended"] += 1
            arguments, before = COMMAND, 0
            continue
        assert code in (-signal.SIGKILL, 130, BEFORE_MAIN), Path("err").read_text()
        whole *= 1.0 if after > before else 1.1
        counts["SIGKILL" if code < 0 else "SIGINT"] += 1
        counts["SIGINT outside"] += code == BEFORE_MAIN
        counts["resumed"] += before > 0
        said = Path("err").read_text()
        if code == 130 and after and not complete:
            noun = "sample" if after == 1 else "samples"
            resume = shlex.join(["attnscope", *COMMAND, "--resume"])
            assert said == f"attnscope: stopped. 'run.zarr' holds {after} {noun}. Resume: {resume}\n", said
        elif code == 130:
            assert said == "attnscope: stopped.\n", said
        arguments, before = [*COMMAND, "--resume"], after
        print(counts, file=sys.stderr, flush=True)
    return {**counts, "seconds of one run": round(whole, 1)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=MEMORY) as name, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(name)
        prepare()
        counts = stop(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
        os.chdir("/")
    print(counts)
    print("all resumed")
