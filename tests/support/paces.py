"""What a forked process does faster or slower than usual, so that tests wait less and compute less."""

import time

HASTE = 20
"""How many times shorter pauses are."""
STEP_S = 0.01
"""How long a step of pre-training takes at least."""


def short_pauses() -> None:
    """Shorten all pauses, for instance between two looks at a run."""
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / HASTE)


def slow_steps() -> None:
    """Pre-train as slowly as a large model, at little cost."""
    from bertline.pretrain.trainer import Trainer

    train = Trainer.train

    def train_slowly(self, batch, rates, at):  # type: ignore[no-untyped-def]
        time.sleep(STEP_S * len(rates))
        return train(self, batch, rates, at)

    Trainer.train = train_slowly
