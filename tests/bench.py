"""Rates of corpus build, pre-training and fine-tuning on this machine. `make bench` runs it; not a test.

Input: the sample corpus and task, or real ones where ../shared/data has them. Medians of 3, one thread and all.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SHARED = Path(__file__).parents[2] / "shared" / "data"
REPEATS = 3


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", metavar="THREADS", type=int, help="(used by itself) measure the models")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(models(arguments.one)))  # noqa: T201
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")  # noqa: T201
    for name, rate, unit in corpus():
        print(f"  {name:44} {rate:10,.0f} {unit}")  # noqa: T201
    for threads in sorted({1, cores}):
        command = [sys.executable, __file__, "--one", str(threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for name, rate in json.loads(output.splitlines()[-1]).items():
            print(f"  {name + f', {threads} threads':44} {rate:10,.1f} sequences/s")  # noqa: T201


def corpus() -> list[tuple[str, float, str]]:
    """The corpus stage from bz2 to TFRecords, all cores; the second build of three has warm file caches."""
    import bertline_pipelines
    from bertline.corpus import stage as corpus_stage
    from bertline.corpus.config import CorpusConfig
    from bertline.experiment import specs
    from bertline.store.backends import connect
    from bertline.vocabulary import stage as vocabulary_stage
    from bertline.vocabulary.config import VocabularyConfig
    from bertline_pipelines.planning import unrolling

    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    dump = SHARED / "wiki_xml" / "enwiki-206-pages.xml.bz2"
    document["corpus"] |= {"sequence_length": 128, "max_predictions": 20, "duplicates": 2}
    document["models"] = {"m": {"layers": 1, "batch_size": 1}}
    if dump.exists():
        document["corpus"]["dump"] = str(dump)
        document["vocabulary"] = {"file": str(SHARED / "vocab" / "bert-base-uncased-vocab.txt"), "lower_case": True}
    words, examples = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.yaml"
        path.write_text(yaml.safe_dump(document))
        graph = unrolling.build(specs.load(path))
        for number in range(REPEATS):
            store = connect(f"{folder}/{number}")
            vocabulary_stage.run(graph.configs(VocabularyConfig)[0], store)
            manifest = corpus_stage.run(graph.configs(CorpusConfig)[0], store).manifest
            words.append(manifest.results["words"] / manifest.measurements["seconds"])
            examples.append(manifest.results["examples"] / manifest.measurements["seconds"])
    name = Path(graph.configs(CorpusConfig)[0].corpus.dump.url).name
    return [
        (f"corpus, {name}, dupe 2, words", statistics.median(words), "words/s"),
        (f"corpus, {name}, dupe 2, examples", statistics.median(examples), "examples/s"),
    ]


def models(threads: int) -> dict[str, float]:
    """Training of the original's models: vocabulary 30,522, length 128, 20 predictions; fine-tuning of 6L."""
    import numpy as np

    from bertline.models import encoders

    encoders.use_threads(threads)
    from bertline.experiment.specs import Model, Optimizer
    from bertline.pretrain.trainer import Trainer

    rates = {}
    for name, layers, batch in (("pretrain 6L/256, batch 64", 6, 64), ("pretrain 3L/256, batch 128", 3, 128)):
        model = Model(layers=layers, batch_size=batch)
        trainer = Trainer(model, Optimizer(), 30522, next_sentence=True, seed=1)
        draw = np.random.default_rng(1)
        chunk = {
            "input_ids": draw.integers(1000, 30000, (2, batch, 128), np.int32),
            "input_mask": np.ones((2, batch, 128), np.int32),
            "segment_ids": np.zeros((2, batch, 128), np.int32),
            "masked_lm_positions": np.tile(np.arange(1, 121, 6, dtype=np.int32), (2, batch, 1)),
            "masked_lm_ids": draw.integers(1000, 30000, (2, batch, 20), np.int32),
            "masked_lm_weights": np.ones((2, batch, 20), np.float32),
            "next_sentence_labels": draw.integers(0, 2, (2, batch, 1), np.int32),
        }
        trainer.train(chunk, np.full(2, 1e-4, np.float32), 0)
        measured = []
        for repeat in range(REPEATS):
            begun = time.perf_counter()
            trainer.train(chunk, np.full(2, 1e-4, np.float32), 2 * repeat)
            measured.append(2 * batch / (time.perf_counter() - begun))
        rates[name] = statistics.median(measured)
    rates["fine-tune 6L/256, batch 32, MNLI pairs"] = fine_tuning()
    return rates


def fine_tuning() -> float:
    """320 pairs of real MNLI, else of the sample task, in length buckets; the first step is warm-up."""
    from bertline.evaluate import batches, classifier, glue
    from bertline.evaluate.config import EvaluateConfig
    from bertline.experiment.specs import Model, Optimizer, TaskFiles
    from bertline.sources import files
    from bertline.stage.configs import Label
    from bertline.text import wordpiece

    real = SHARED / "mnli" / "train.tsv"
    source = files.Source(url=str(real) if real.exists() else "sample:nli/train")
    vocabulary = SHARED / "vocab" / "bert-base-uncased-vocab.txt"
    config = EvaluateConfig(
        task="MNLI-m",
        files=TaskFiles(train=source, dev=source),
        model=Model(layers=6, batch_size=64),
        epochs=1,
        batch_size=32,
        learning_rate=1e-4,
        warmup_share=0.1,
        optimizer=Optimizer(),
        sequence_length=128,
        max_train_examples=None,
        seed=1,
        lower_case=True,
        milestone="0" * 64,
        vocabulary="0" * 64,
        label=Label(experiment="job", run="6L", model="6L", epoch=0),
    )
    with tempfile.TemporaryDirectory() as folder:
        examples = glue.read(source.fetch(Path(folder))).examples[:320]
    if vocabulary.exists():
        known = wordpiece.read(vocabulary)
    else:
        known = wordpiece.parse("\n".join([*wordpiece.SPECIAL_TOKENS, *map(chr, range(97, 123))]), "letters")
    pairs = batches.encode(examples, wordpiece.Tokenizer(known, True), 128)
    paces = [
        classifier.fine_tune(classifier.build(config.model, 30522, len(glue.LABELS), 1), pairs, config)
        for _ in range(REPEATS)
    ]
    return statistics.median(pace.sequences_per_s or 0.0 for pace in paces)


if __name__ == "__main__":
    main()
