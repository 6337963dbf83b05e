"""How long it takes to judge tests, beside running each of them with pytest in a process of its own; CodeBLEU's speed;
and what the samples of one source save that share its cache.

    python -m benchmarks.unit_tests [--save] [--tests 100]

Trivial tests of a small module, two workers, three runs of each as the command does by default. The plain loop runs
`python -m pytest` on each test's file as often, two at a time, with coverage in the first run: what a user would write
who wants the same answers without a sandbox. One pytest for all of them is far quicker, and tells neither which test
covers what nor which is flaky or hangs; it is shown, too. CodeBLEU scores a thousand pairs of small Java bodies in one
thread. A random Llama of 28 million parameters answers sources of 600 tokens five times each, with and without sharing:
the answers are the same.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks._measured import keep, verdict
from domains.unit_tests.data.focal import discover
from domains.unit_tests.inference.candidates import split
from domains.unit_tests.inference.judge import Judge, Rules
from suite.code.codebleu import codebleu
from suite.generation.engine import Backend, Engine, Request
from suite.generation.sampling import Sampling

MODULE = "def add(a, b):\n    if a is None:\n        return b\n    return a + b\n"
RUNS, WORKERS = 3, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/unit_tests.json")
    parser.add_argument("--tests", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        project.chmod(0o755)
        (project / "mod.py").write_text(MODULE)
        source = "from mod import add\n" + "".join(
            f"\n\ndef test_{n}():\n    assert add({n}, {n + 1}) == {2 * n + 1}\n" for n in range(given.tests)
        )
        judge = Judge(project, discover(project / "mod.py", project), Rules(RUNS, keep_redundant=True, workers=WORKERS))
        started = time.perf_counter()
        judged = judge.judge(split(source))
        ours = time.perf_counter() - started
        assert len(judged.kept) == given.tests
        plain = _plain(project, [one.source for one in split(source)])
        together = _together(project, source)
    shared, apart, forwarded = _samples()
    pairs = 1000
    bodies = [_body(random.Random(n)) for n in range(pairs)]
    started = time.process_time()
    codebleu(bodies, [_body(random.Random(n + pairs // 2)) for n in range(pairs)], "java")
    scored = time.process_time() - started
    seconds = {
        f"{given.tests} tests judged in a sandbox": [ours],
        "plain pytest, a process each": [plain],
        "one pytest for all, once": [together],
        f"CodeBLEU of {pairs} pairs (processor)": [scored],
        "5 samples of 4 sources, cache shared": [shared],
        "5 samples of 4 sources, each forwarded": [apart],
    }
    for name, [value] in seconds.items():
        print(f"{name:<40} {value:6.1f} s")
    figures = [verdict("sandbox / plain pytest", ours / plain, 1.0)]
    if given.tests == 100:
        figures.append(verdict("seconds for 100 tests", ours, 60))
    figures.append(verdict("seconds for CodeBLEU of 1,000 pairs", scored, 60))
    figures.append(verdict("share of source tokens that are forwarded", forwarded, 0.25))
    figures.append(verdict("shared / each forwarded", shared / apart, 1.0))
    if given.save:
        keep("unit_tests", 1, seconds, figures=figures)


def _samples(samples: int = 5, sources: int = 4, length: int = 600) -> tuple[float, float, float]:
    """Seconds with and without a shared cache, side by side, and the share of source tokens that the first forwards."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, max_position_embeddings=2048, **sizes)).eval()
    prompts = [torch.randint(4096, (length,)).tolist() for _ in range(sources)]
    requests = [Request(prompt, seed=seed) for prompt in prompts for seed in range(samples)]
    taken: dict[Backend, list[float]] = {"prefix": [], "batched": []}
    answers = {}
    for _ in range(3):
        for backend, seconds in taken.items():
            engine = Engine(model, [], backend=backend, batch_size=samples * sources, max_new_tokens=16)
            started = time.perf_counter()
            answers[backend] = [one.tokens for one in engine.generate(requests, Sampling(0.8))]
            seconds.append(time.perf_counter() - started)
            if backend == "prefix":
                forwarded = engine.counters.prefilled_tokens / engine.counters.prompt_tokens
    assert answers["prefix"] == answers["batched"]
    return median(taken["prefix"]), median(taken["batched"]), forwarded


def _plain(project: Path, sources: list[str]) -> float:
    """Seconds of the plain loop."""
    env = {**os.environ, "PYTHONPATH": str(project), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    measured = [sys.executable, "-m", "coverage", "run", "--branch", *command[1:]]

    def run(number: int) -> None:
        file = project / f"test_plain_{number}.py"
        file.write_text(sources[number])
        for turn in range(RUNS):
            words = [*measured, f"--rootdir={project}"] if turn == 0 else command
            cover = {**env, "COVERAGE_FILE": str(project / f".coverage{number}")}
            subprocess.run([*words, str(file)], cwd=project, env=cover, capture_output=True, check=True)

    started = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, range(len(sources))))
    return time.perf_counter() - started


def _together(project: Path, source: str) -> float:
    """Seconds of one pytest for all tests, once."""
    file = project / "test_all.py"
    file.write_text(source)
    env = {**os.environ, "PYTHONPATH": str(project), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    started = time.perf_counter()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    subprocess.run(words, cwd=project, env=env, capture_output=True, check=True)
    return time.perf_counter() - started


def _body(rng: random.Random) -> str:
    """A test's body of a few statements."""
    lines = ["Stack<Integer> s = new Stack<>();"]
    for _ in range(rng.randint(3, 9)):
        lines.append(
            rng.choice(
                [
                    f"s.push({rng.randint(0, 99)});",
                    f"int a{rng.randint(0, 9)} = s.size() + {rng.randint(0, 9)};",
                    f"for (int i = 0; i < {rng.randint(1, 5)}; i++) {{ s.push(i); }}",
                    f"assertEquals({rng.randint(0, 9)}, s.size());",
                ]
            )
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
