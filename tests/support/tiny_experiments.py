"""The whole experiment, as small as it gets."""

import yaml

import bertline_pipelines

TINY = {
    "corpus": {"shards": 1, "duplicates": 1, "sequence_length": 32, "max_predictions": 5, "held_out": 0.1},
    "vocabulary": {"train": {"size": 400}},
    "pretrain": {
        "epochs": 1,
        "steps_per_epoch": 6,
        "learning_rate": {"schedule": "constant", "peak": 1e-3, "warmup_steps": 2},
        "checkpoints": {"every_steps": 2, "every_minutes": 1},
    },
    "evaluate": {"epochs": 1, "sequence_length": 32, "max_train_examples": 96},
}


def write(folder, epochs):
    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    for section, values in TINY.items():
        document[section] |= values
    document["pretrain"]["epochs"] = epochs
    document["models"] = {
        "1L": {"layers": 1, "batch_size": 4, "hidden": 16, "heads": 2, "intermediate": 32, "max_positions": 32}
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path
