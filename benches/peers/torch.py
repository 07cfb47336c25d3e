#!/usr/bin/env python3
"""Times PyTorch's batch normalisation on the CPU and ours, in turns, on the same arrays, and compares the results.

Set-up, by hand:
    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install torch numpy
    cargo build --release --features cpu --example cpu_timing
    /tmp/peers/bin/python benches/peers/torch.py [--threads 1 2] [--rounds 9] [--only 64,56,56] [--json FILE]

Each round times PyTorch, then ours, then plain copies of the same arrays by as many threads; a time is the best of a few
repeats within a round, a ratio the median over the rounds, told with its quartiles. Below 1 in `ours/torch` we are ahead.
`ours/copy` divides by the traffic too: inference reads x and writes y, as one copy does; training reads x once more, for
its moments, which makes one and a half; backward reads x and dy twice and writes dx, two and a half. PyTorch is called
through its own kernels, without autograd, and the best of its forms counts: into arrays that exist already, or into its
own. x, dy, y and dx are memory that both programs share: where each had its own, the places that the system gave one of
them made differences of up to 1.8. What PyTorch allocates itself, as dx in its fastest form, keeps its pages, so that no
page faults count, and asks for no large ones.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28),
              "NUMPY_MADVISE_HUGEPAGE": "0"}
if os.environ.get("MALLOC_TRIM_THRESHOLD_") is None:
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_PAGES})

# This file bears the name of what it imports.
sys.path.pop(0)
import numpy as np
import torch

IMAGES = [(32, 64, 56, 56), (32, 256, 14, 14), (32, 512, 7, 7), (8, 3, 224, 224), (16, 32, 112, 112), (64, 256, 28, 28),
          (2, 64, 32, 32), (1, 1, 1024, 1024), (4, 27, 33, 31)]
DENSE = [(256, 1024), (8192, 64), (3, 70000)]
# The copies that stand beside an operation, over the arrays that it uses, and their share of its traffic.
COPY = {"inference": ("copy", 1.0), "training": ("copy", 1.5), "both": ("copies", 4.0 / 2.0)}
aten = torch.ops.aten


def torch_operations(x, dy, y, dx):
    """PyTorch's kernels on `x`, as functions without arguments, in every form it offers; the last is into `y` and `dx`."""
    c = x.shape[1]
    gamma, beta = torch.full((c,), 1.5), torch.full((c,), 0.5)
    mean, variance = torch.full((c,), 0.25), torch.full((c,), 2.0)
    saved = torch.empty(c), torch.empty(c)
    dgamma, dbeta = torch.empty(c), torch.empty(c)
    nothing = torch.empty(0), torch.empty(0)
    out = lambda training, statistics, saved: aten.native_batch_norm.out(
        x, gamma, beta, *statistics, training, 0.1, 1e-5, out=y, save_mean=saved[0], save_invstd=saved[1])
    new = lambda training, statistics: aten.native_batch_norm(x, gamma, beta, *statistics, training, 0.1, 1e-5)
    backward = lambda form, saved, **out: form(
        dy, x, gamma, None, None, *saved, True, 1e-5, [True, True, True], **out)

    def both_new():
        _, *saved = new(True, (None, None))
        backward(aten.native_batch_norm_backward, saved)

    def both_mixed():
        out(True, (None, None), saved)
        backward(aten.native_batch_norm_backward, saved)

    def both_out():
        out(True, (None, None), saved)
        backward(aten.native_batch_norm_backward.out, saved, out0=dx, out1=dgamma, out2=dbeta)

    return {
        "inference": [lambda: new(False, (mean, variance)), lambda: out(False, (mean, variance), nothing)],
        "training": [lambda: new(True, (None, None)), lambda: out(True, (None, None), saved)],
        "both": [both_new, both_mixed, both_out],
    }


class Ours:
    def __init__(self, program, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("the program under test ended")
        return answer

    def best(self, operation, repeats):
        return min(map(float, self.ask("time", operation, repeats).split()))


def best(function, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="shapes that contain this text")
    parser.add_argument("--json", help="all figures: each the lower quartile, the median and the upper quartile")
    parser.add_argument("--program", default=str(Path(__file__).parents[2] / "target/release/examples/cpu_timing"))
    options = parser.parse_args()
    print(f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})")
    rows = []
    cases = [(s, last) for s in IMAGES for last in (False, True)] + [(s, False) for s in DENSE]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    if memory is None:
        print("no /dev/shm: the arrays are files, whose writing to a disk is timed, too", file=sys.stderr)
    with torch.no_grad():
        for threads in options.threads:
            torch.set_num_threads(threads)
            ours = Ours(options.program, threads)
            for shape, last in cases:
                dimensions = (shape[0], *shape[2:], shape[1]) if last else shape
                name = ",".join(map(str, dimensions))
                if options.only not in name:
                    continue
                with tempfile.TemporaryDirectory(dir=memory) as folder:
                    files = [f"{folder}/{array}" for array in ("x", "dy", "y", "dx")]
                    arrays = [np.memmap(file, np.float32, "w+", shape=dimensions) for file in files]
                    generator = np.random.default_rng(1)
                    for array in arrays:
                        array[...] = generator.standard_normal(dimensions, dtype=np.float32) + 1
                    ours.ask("load", name, -1 if last else 1, *files)
                # A view (N, C, H, W) of channels-last memory is what PyTorch calls torch.channels_last.
                tensors = (torch.from_numpy(array) for array in arrays)
                operations = torch_operations(*(tensor.permute(0, 3, 1, 2) if last else tensor for tensor in tensors))

                ours.ask("time", "both", 1)
                results = [np.array(array) for array in arrays[2:]]
                for array in arrays[2:]:
                    array[...] = np.nan
                operations["both"][-1]()
                for found, expected, what in zip(results, arrays[2:], ("y", "dx")):
                    if not np.allclose(found, expected, rtol=1e-3, atol=1e-3):
                        sys.exit(f"{name}: {what} differs by {np.abs(found - expected).max()}")

                elements = int(np.prod(dimensions))
                repeats = int(min(200, max(5, 2e7 / elements)))
                for operation, forms in operations.items():
                    copy, traffic = COPY[operation]
                    times = []
                    for _ in range(options.rounds):
                        theirs = min(best(form, repeats) for form in forms)
                        # Its threads spin on after a call and would keep ours from their cores.
                        time.sleep(0.05)
                        times.append((theirs, ours.best(operation, repeats), ours.best(copy, repeats) * traffic))
                    spread = lambda of: [round(q, 4) for q in statistics.quantiles((of(*t) for t in times), method="inclusive")]
                    row = {
                        "shape": name, "axis": "last" if last else "1", "threads": threads, "operation": operation,
                        "ours_ms": spread(lambda t, o, c: o * 1e3), "torch_ms": spread(lambda t, o, c: t * 1e3),
                        "copy_ms": spread(lambda t, o, c: c * 1e3), "ours/torch": spread(lambda t, o, c: o / t),
                        "ours/copy": spread(lambda t, o, c: o / c), "torch/copy": spread(lambda t, o, c: t / c),
                    }
                    rows.append(row)
                    text = lambda name: "{1:6.2f} ({0:.2f} to {2:.2f})".format(*row[name])
                    print(f"{threads} thread{'s' if threads > 1 else ' '} {name:>15} {operation:<9}"
                          f"  ours {row['ours_ms'][1]:8.3f} ms  torch {row['torch_ms'][1]:8.3f}  copy {row['copy_ms'][1]:8.3f}"
                          f"  ours/torch {text('ours/torch')}  ours/copy {text('ours/copy')}", flush=True)
    if options.json:
        lines = ",\n".join(json.dumps(row) for row in rows)
        Path(options.json).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
