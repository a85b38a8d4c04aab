"""Our BERT against the Model Garden's, with the same weights; dropout; AdamW."""

import numpy as np
import pytest
import tensorflow as tf

from bertline.experiment.specs import Model, Optimizer
from bertline.models import bert, dropouts, encoders
from bertline.models.adamw import AdamW
from bertline.models.bert import Bert
from bertline.models.dropouts import Dropout
from bertline.pretrain.trainer import Trainer
from support import garden

pytestmark = pytest.mark.usefixtures("tensorflow")  # all of them share its threads

MODEL = Model(layers=2, batch_size=6, hidden=32, heads=4, intermediate=64, max_positions=32, dropout=0.0)
PIECES = 211
NONE = Dropout(0.0, 1, 0)


@pytest.fixture(scope="module")
def weights():
    """Larger than BERT's first weights, so that softmax and GELU are used where they bend; no bias is 0."""
    shapes = bert.encoder_shapes(MODEL, PIECES) | bert.head_shapes(MODEL, PIECES, next_sentence=True)
    made = bert.variables(shapes)
    encoders.initialize(made, 0.2, 5)
    for number, (name, variable) in enumerate(made.items()):
        if not name.endswith(("kernel", "embeddings")):
            variable.assign_add(tf.random.stateless_normal(variable.shape, [number, 7]) * 0.1)
    return made


@pytest.fixture(scope="module")
def theirs(weights):
    return garden.Garden(MODEL, PIECES, weights)


@pytest.fixture(scope="module")
def batch():
    return {name: tf.constant(values) for name, values in garden.batch(6, 24, PIECES, 5).items()}


def loss_of(model, batch):
    """As the trainer takes it, all of it in one function."""
    trainer = object.__new__(Trainer)
    trainer._model, trainer._next_sentence = model.model, True
    return trainer._means(trainer._losses(model, batch, NONE))[0]


def test_the_names_shapes_and_order_of_weights_are_the_model_gardens(weights, theirs):
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in theirs.weights.items()
    }
    assert list(bert.encoder_shapes(MODEL, PIECES)) == list(encoders.named(theirs.encoder.trainable_variables))


@pytest.mark.parametrize("compiled", [False, True])
def test_hidden_states_are_the_model_gardens(compiled, weights, theirs, batch):
    ours = Bert(MODEL, weights, tf.float32, compiled)
    expected, pooled = theirs.states(batch)
    inputs = batch["input_ids"], batch["input_mask"], batch["segment_ids"], NONE
    found = ours.encode(*inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(ours.pool(found[:, 0]), pooled, atol=1e-5)
    positions = batch["masked_lm_positions"]
    some = ours.encode(*inputs, positions)
    np.testing.assert_allclose(some, tf.gather(expected, positions, batch_dims=1), atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_and_all_gradients_are_the_model_gardens(compiled, weights, theirs, batch):
    with tf.GradientTape() as tape:
        expected = theirs.loss(batch, training=True)
    wanted = tape.gradient(expected, theirs.weights)
    ours = Bert(MODEL, weights, tf.float32, compiled)
    with tf.GradientTape() as tape:
        loss = loss_of(ours, batch)
    found = tape.gradient(loss, weights)
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    assert found.keys() == wanted.keys()
    for name in wanted:
        there, here = (tf.convert_to_tensor(each[name]).numpy() for each in (wanted, found))
        np.testing.assert_allclose(here, there, atol=1e-5, err_msg=name)
        if not name.endswith("key/bias"):  # which adds the same to all scores of a query
            assert np.abs(there).max() > 1e-4, name


@pytest.mark.parametrize("compiled", [False, True])
def test_adamw_is_the_model_gardens(compiled):
    shapes = {"layer/kernel": (7, 3), "layer/bias": (3,), "norm/gamma": (3,), "table/embeddings": (11, 3)}
    ours, theirs = bert.variables(shapes), {}
    for number, (name, variable) in enumerate(ours.items()):
        variable.assign(tf.random.stateless_normal(variable.shape, [number, 1]))
        theirs[name] = tf.Variable(variable, name=name)
    rate = tf.Variable(0.0)
    expected = garden.Garden.optimizer(None, rate)
    optimizer = AdamW(Optimizer(), ours, compiled=compiled)
    for step in range(5):
        gradients = [
            tf.random.stateless_normal(variable.shape, [step, number]) * 10.0 ** (step - 3)  # clipped from step 3 on
            for number, variable in enumerate(ours.values())
        ]
        rate.assign(0.01 * (step + 1))
        expected.apply_gradients(zip(gradients, theirs.values(), strict=True))
        norm = optimizer.apply(gradients, tf.constant(0.01 * (step + 1)), tf.constant(step, tf.int64))
        assert float(norm) == pytest.approx(float(tf.linalg.global_norm(gradients)))
        for name, variable in ours.items():
            np.testing.assert_allclose(variable, theirs[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_a_gradient_that_isnt_finite_changes_nothing(bad, compiled):
    variables = bert.variables({"layer/kernel": (4, 3), "layer/bias": (3,)})
    encoders.initialize(variables, 0.02, 1)
    optimizer = AdamW(Optimizer(), variables, compiled=compiled)
    good = [tf.ones([4, 3]), tf.ones([3])]
    optimizer.apply(good, tf.constant(0.1), tf.constant(0, tf.int64))
    before = encoders.arrays(variables | optimizer.slots)
    norm = optimizer.apply([good[0] * bad, good[1]], tf.constant(0.1), tf.constant(1, tf.int64))
    assert not np.isfinite(norm)
    after = encoders.arrays(variables | optimizer.slots)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def mask(rate, seed, step, place, rows=500, columns=400):
    """[rows, columns], true where a value is kept."""
    noise = Dropout(rate, seed, tf.constant(step, tf.int64)).noise(place, rows, columns)
    return dropouts.drop(tf.ones([rows, columns]), *noise, rate).numpy() > 0


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_everywhere_and_no_two_masks_agree(rate):
    first = mask(rate, 3, 7, 2)
    spread = 5 * (rate * (1 - rate)) ** 0.5  # five standard deviations of a share of one element
    assert abs(first.mean() - (1 - rate)) < spread / first.size**0.5
    for axis in (0, 1):
        assert np.abs(first.mean(axis) - (1 - rate)).max() < spread / first.shape[axis] ** 0.5
    agreement = rate**2 + (1 - rate) ** 2
    others = [mask(rate, 4, 7, 2), mask(rate, 3, 8, 2), mask(rate, 3, 7, 3)]
    shifted = [np.roll(first, 1, 0), np.roll(first, 1, 1), np.roll(first, (1, 1), (0, 1))]
    for other in others + shifted:
        assert abs((first == other).mean() - agreement) < 5 * 0.5 / first.size**0.5
    # Four corners of a rectangle: a mask that were a product or a sum of its rows and columns would show here.
    corners = first[:-1, :-1] ^ first[1:, :-1] ^ first[:-1, 1:] ^ first[1:, 1:]
    odd = (1 - (1 - 2 * rate) ** 4) / 2
    assert abs(corners.mean() - odd) < 5 * 0.5 / first.size**0.5 * 2


def test_dropout_scales_what_stays_and_is_the_same_under_xla():
    values = tf.random.stateless_normal([3, 5, 64], [1, 2])
    noise = Dropout(0.25, 9, tf.constant(4, tf.int64)).noise(1, 15, 64)
    found = dropouts.drop(values, *noise, 0.25)
    kept = found.numpy() != 0
    np.testing.assert_allclose(found.numpy()[kept], (values / 0.75).numpy()[kept], rtol=1e-6)
    compiled = tf.function(dropouts.drop, jit_compile=True)(values, *noise, 0.25)
    np.testing.assert_array_equal(kept, compiled.numpy() != 0)


def trained(steps=3, model=MODEL, **options):
    """Metrics [steps, metrics] and weights after some steps of random examples."""
    trainer = Trainer(model, Optimizer(), PIECES, next_sentence=True, seed=2, **options)
    batches = [garden.batch(model.batch_size, 24, PIECES, 5, seed) for seed in range(steps)]
    chunk = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    metrics = trainer.train(chunk, np.full(steps, 1e-3, np.float32), 0)
    return metrics, encoders.arrays(trainer.encoder_variables | trainer.state)


@pytest.fixture(scope="module")
def plain():
    return trained()


def test_a_batch_in_parts_is_the_same_batch(plain):
    metrics, weights = trained(model=MODEL.model_copy(update={"accumulate": 3}))
    np.testing.assert_allclose(metrics, plain[0], rtol=1e-5)
    for name, values in plain[1].items():
        np.testing.assert_allclose(weights[name], values, atol=2e-5, err_msg=name)


def test_parts_draw_masks_of_their_own():
    model = MODEL.model_copy(update={"accumulate": 2, "dropout": 0.5, "batch_size": 2})
    same = {name: np.repeat(values, 2, 0) for name, values in garden.batch(1, 24, PIECES, 5).items()}
    trainer = Trainer(model, Optimizer(), PIECES, next_sentence=True, seed=2)
    half = Trainer(model.model_copy(update={"accumulate": 1}), Optimizer(), PIECES, next_sentence=True, seed=2)
    chunk = {name: values[np.newaxis] for name, values in same.items()}
    alone = {name: values[:, :1] for name, values in chunk.items()}
    rates = np.zeros(1, np.float32)
    assert trainer.train(chunk, rates, 0)[0, 0] != pytest.approx(half.train(alone, rates, 0)[0, 0], abs=1e-6)


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_short_products_come_near_and_weights_stay_float32(precision, near, plain):
    metrics, weights = trained(precision=precision)
    assert not np.array_equal(metrics[:, 0], plain[0][:, 0])
    np.testing.assert_allclose(metrics[:, 0], plain[0][:, 0], rtol=near)
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}


def test_xla_computes_a_step_as_a_whole(plain):
    metrics, _ = trained(xla=True)
    np.testing.assert_allclose(metrics, plain[0], rtol=1e-4)


def test_a_loss_scale_that_is_too_large_halves_until_steps_count():
    from bertline.models.scales import LossScale

    scale = LossScale()
    norms = [float(scale.adapt(tf.constant(norm))) for norm in (np.inf, np.nan, 1.0)]
    assert norms == [0.0, 0.0, 1.0]
    assert float(scale.scale) == 2.0**13
    scale.scale.assign(1.0)
    assert np.isnan(float(scale.adapt(tf.constant(np.nan))))  # no scale helps: the loop has to know
    scale.variables["loss_scale/held"].assign(1999.0)
    scale.adapt(tf.constant(1.0))
    assert (float(scale.scale), float(scale.variables["loss_scale/held"])) == (2.0, 0.0)
