"""Pre-training's speed beside that of the Model Garden and of Hugging Face. `make bench-pretrain` runs it; not a test.

Each contender is a process of its own that has its model built and warm. They take turns, a few steps each, so that a
machine which others use too slows all of them alike; medians of the turns. CPU seconds are of all threads, and tell
more than the clock on such a machine. Random examples: sequence length 128, 20 predictions, vocabulary 30,522, AdamW.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

PIECES, LENGTH, PREDICTIONS, STEPS = 30522, 128, 20, 2
SHAPES = {"6L": (6, 64), "3L": (3, 128)}
"""Layers and batch size of the original's models, 256 wide."""
CONTENDERS = ("float32", "bfloat16", "garden", "hugging-face", "peak-float32", "peak-bfloat16")
PEAK_SIZE = 4096


def main() -> None:
    """Print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="one that has torch and transformers")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "SHAPE"), help="(used by itself) be a contender")
    arguments = parser.parse_args()
    if arguments.one:
        serve(*arguments.one, arguments.threads)
        return
    sys.stdout.write(f"{platform.machine()}, {arguments.threads} threads, Python {platform.python_version()}\n")
    for shape, (_, batch) in SHAPES.items():
        sys.stdout.write(f"\n{shape}/256, batch {batch}, medians of {arguments.turns} turns of {STEPS} steps\n")
        sys.stdout.write("                 CPU s a step   wall s   sequences/CPU s   x Model Garden   of the peak\n")
        report(shape, batch, race(shape, arguments))


def race(shape: str, arguments: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Medians of CPU and wall seconds a step, by contender; of one product for the two peaks."""
    running = {}
    for name in CONTENDERS:
        python = arguments.peers if name == "hugging-face" else sys.executable
        if not python or not Path(python).exists():
            sys.stdout.write(
                f"{name}: skipped, there is no Python with torch and transformers: `make peers` makes one\n"
            )
            continue
        command = [python, __file__, "--threads", str(arguments.threads), "--one", name, shape]
        # torch's threads would spend CPU seconds on waiting for each other where others use the machine too.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        running[name] = subprocess.Popen(command, text=True, env=environment, **pipes)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for name in running:
        turn(running[name])  # building and compiling take as long as they take; the first turn isn't counted
    for _ in range(arguments.turns):
        for name, process in running.items():
            measured[name].append(turn(process))
    for process in running.values():
        process.communicate()
    return {name: tuple(map(statistics.median, zip(*turns, strict=True))) for name, turns in measured.items()}


def turn(process: subprocess.Popen) -> tuple[float, float]:
    """CPU and wall seconds of one step."""
    process.stdin.write("go\n")
    process.stdin.flush()
    return tuple(json.loads(process.stdout.readline()))


def report(shape: str, batch: int, measured: dict[str, tuple[float, float]]) -> None:
    """A line a contender, and one a peak. FLOPs are those that a step needs, see `models.flops`."""
    from bertline.experiment.specs import Model
    from bertline.models import flops

    model = Model(layers=SHAPES[shape][0], batch_size=batch)
    needed = batch * flops.pretraining(model, LENGTH, PREDICTIONS, PIECES, next_sentence=True)
    peaks = {name[5:]: 2 * PEAK_SIZE**3 / cpu for name, (cpu, _) in measured.items() if name.startswith("peak")}
    for name, (cpu, wall) in measured.items():
        if name.startswith("peak"):
            continue
        peak = peaks["bfloat16" if name == "bfloat16" else "float32"]
        line = f"  {name:14} {cpu:12.2f} {wall:8.2f} {batch / cpu:17.1f}"
        sys.stdout.write(f"{line} {measured['garden'][0] / cpu:16.2f} {needed / cpu / peak:12.0%}\n")
    for name, peak in peaks.items():
        sys.stdout.write(f"  a product of {PEAK_SIZE}² matrices in {name}: {peak / 1e9:.0f} GFLOP a CPU second\n")


def serve(contender: str, shape: str, threads: int) -> None:
    """Take a turn for each line of standard input."""
    layers, batch = SHAPES[shape]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if contender.startswith("peak-"):
        steps, count = product(contender.removeprefix("peak-"), threads), 1
    elif contender == "hugging-face":
        steps, count = hugging_face(layers, batch, threads), STEPS
    elif contender == "garden":
        steps, count = model_garden(layers, batch, threads), STEPS
    else:
        steps, count = bertline(layers, batch, threads, contender), STEPS
    steps()
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        steps()
        print(json.dumps([(time.process_time() - cpu) / count, (time.perf_counter() - began) / count]), flush=True)  # noqa: T201


def examples(batch: int) -> dict:
    """One batch of random examples without padding."""
    import numpy as np

    draw = np.random.default_rng(1)
    return {
        "input_ids": draw.integers(1000, 30000, (batch, LENGTH), np.int32),
        "input_mask": np.ones((batch, LENGTH), np.int32),
        "segment_ids": np.zeros((batch, LENGTH), np.int32),
        "masked_lm_positions": np.tile(np.arange(1, 121, 6, dtype=np.int32), (batch, 1)),
        "masked_lm_ids": draw.integers(1000, 30000, (batch, PREDICTIONS), np.int32),
        "masked_lm_weights": np.ones((batch, PREDICTIONS), np.float32),
        "next_sentence_labels": draw.integers(0, 2, (batch, 1), np.int32),
    }


def bertline(layers: int, batch: int, threads: int, precision: str):
    """The trainer of the pretrain stage."""
    import numpy as np

    from bertline.models import encoders

    encoders.use_threads(threads)
    from bertline.experiment.specs import Model, Optimizer
    from bertline.pretrain.trainer import Trainer

    model = Model(layers=layers, batch_size=batch)
    trainer = Trainer(model, Optimizer(), PIECES, next_sentence=True, seed=1, precision=precision)
    chunk = {name: np.stack([values] * STEPS) for name, values in examples(batch).items()}
    return lambda: trainer.train(chunk, np.full(STEPS, 1e-4, np.float32), 0)


def model_garden(layers: int, batch: int, threads: int):
    """Its encoder, heads and AdamW in a plain tf.function step."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    sys.path.insert(0, str(Path(__file__).parent))
    from bertline.experiment.specs import Model
    from support.garden import Garden

    garden = Garden(Model(layers=layers, batch_size=batch), PIECES)
    optimizer, variables = garden.optimizer(1e-4), list(garden.weights.values())

    @tf.function
    def step(features):
        with tf.GradientTape() as tape:
            loss = garden.loss(features, training=True)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    features = {name: tf.constant(values) for name, values in examples(batch).items()}
    return lambda: [step(features).numpy() for _ in range(STEPS)]


def hugging_face(layers: int, batch: int, threads: int):
    """BertForPreTraining in float32, torch's AdamW and clipping, eager as its examples have it."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    config = transformers.BertConfig(
        vocab_size=PIECES, hidden_size=256, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=1024
    )
    model = transformers.BertForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    made = {name: torch.from_numpy(values) for name, values in examples(batch).items()}
    labels = torch.full((batch, LENGTH), -100)
    labels.scatter_(1, made["masked_lm_positions"].long(), made["masked_lm_ids"].long())

    def step():
        loss = model(
            input_ids=made["input_ids"].long(),
            attention_mask=made["input_mask"],
            token_type_ids=made["segment_ids"].long(),
            labels=labels,
            next_sentence_label=made["next_sentence_labels"][:, 0].long(),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return lambda: [step() for _ in range(STEPS)]


def product(kind: str, threads: int):
    """One product of two large matrices."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    matrix = tf.cast(tf.random.normal([PEAK_SIZE, PEAK_SIZE]), kind)
    return lambda: tf.matmul(matrix, matrix)[0, 0].numpy()


if __name__ == "__main__":
    main()
