"""Shards are what TensorFlow and the Model Garden read, and damage never goes unseen."""

import dataclasses
import gzip
import hashlib

import numpy as np
import pytest

from bertline import errors
from bertline.examples import shards

FIELDS = [field.name for field in dataclasses.fields(shards.Instances)]
# TensorFlow, tf_keras and the Model Garden warn on import and use; what they warn of isn't ours.
imports_tensorflow = pytest.mark.filterwarnings("ignore")


def some_instances(count: int, width: int = 128, predictions: int = 20, largest: int = 119_546):
    """Numbers of every varint length, real padding not needed."""
    random = np.random.default_rng(5)
    made = shards.Instances.zeros(count, width, predictions)
    sizes = random.choice([2, 128, 16_384, largest + 1], (count, width))
    made.input_ids[:] = random.integers(0, sizes)
    made.input_mask[:] = random.integers(0, 2, (count, width))
    made.segment_ids[:] = random.integers(0, 2, (count, width))
    made.masked_lm_positions[:] = random.integers(0, width, (count, predictions))
    made.masked_lm_ids[:] = random.integers(0, largest + 1, (count, predictions))
    made.masked_lm_weights[:] = random.integers(0, 2, (count, predictions))
    made.next_sentence_labels[:] = random.integers(0, 2, (count, 1))
    return made


def assert_same(one: shards.Instances, other: shards.Instances):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
        assert getattr(one, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("feature_names", ["v1", "v2"])
@pytest.mark.parametrize(("count", "width", "predictions"), [(1, 128, 20), (5000, 128, 20), (7, 512, 76), (3, 5, 1)])
def test_what_is_written_is_read(tmp_path, compression, feature_names, count, width, predictions):
    made = some_instances(count, width, predictions)
    path = tmp_path / "a.tfrecord"
    stats = shards.write(path, [made], compression, feature_names=feature_names)
    assert_same(shards.read(path), made)
    data = path.read_bytes()
    assert stats == shards.ShardStats(count, len(data), hashlib.sha256(data).hexdigest())


def test_an_empty_shard_is_an_empty_file(tmp_path):
    assert shards.write(tmp_path / "a", [shards.Instances.zeros(0, 128, 20)]).examples == 0
    assert (tmp_path / "a").read_bytes() == b""
    assert len(shards.read(tmp_path / "a")) == 0


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_same_instances_are_the_same_bytes_whatever_the_file_is_called(tmp_path, compression):
    made = some_instances(100)
    first = shards.write(tmp_path / "a", [made], compression)
    assert shards.write(tmp_path / "other.tfrecord", [made], compression) == first


@imports_tensorflow
@pytest.mark.usefixtures("tensorflow")
def test_a_record_is_the_very_bytes_that_protobuf_writes(tmp_path):
    import tensorflow as tf

    made = some_instances(20)
    shards.write(tmp_path / "a", [made])
    records = list(tf.data.TFRecordDataset(str(tmp_path / "a")).as_numpy_iterator())
    for row, record in enumerate(records):
        features = {}
        for name in FIELDS:
            values = getattr(made, name)[row].tolist()
            if name == "masked_lm_weights":
                features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
            else:
                features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        example = tf.train.Example(features=tf.train.Features(feature=features))
        assert example.SerializeToString(deterministic=True) == record


@imports_tensorflow
@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_tensorflow_reads_the_same_arrays(tmp_path, compression):
    import tensorflow as tf

    made = some_instances(300)
    shards.write(tmp_path / "a", [made], compression)
    dataset = tf.data.TFRecordDataset(str(tmp_path / "a"), compression_type="" if compression == "none" else "GZIP")
    spec = {
        name: tf.io.FixedLenFeature(
            getattr(made, name).shape[1:], tf.float32 if name == "masked_lm_weights" else tf.int64
        )
        for name in FIELDS
    }
    parsed = next(iter(dataset.batch(300).map(lambda records: tf.io.parse_example(records, spec))))
    for name in FIELDS:
        np.testing.assert_array_equal(parsed[name].numpy(), getattr(made, name))


@imports_tensorflow
@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("feature_names", ["v1", "v2"])
def test_the_model_gardens_own_loader_reads_a_shard(tmp_path, feature_names):
    from official.nlp.data import pretrain_dataloader

    made = some_instances(8)
    shards.write(tmp_path / "a.tfrecord", [made], feature_names=feature_names)
    config = pretrain_dataloader.BertPretrainDataConfig(
        input_path=str(tmp_path / "a.tfrecord"),
        global_batch_size=8,
        is_training=False,
        seq_length=128,
        max_predictions_per_seq=20,
        use_v2_feature_names=feature_names == "v2",
    )
    batch = next(iter(pretrain_dataloader.BertPretrainDataLoader(config).load()))
    ours = {"input_word_ids": "input_ids", "input_type_ids": "segment_ids"}
    assert len(batch) == len(FIELDS)
    for name, values in batch.items():
        np.testing.assert_array_equal(values.numpy(), getattr(made, ours.get(name, name)), name)


def test_every_flipped_byte_is_found_and_its_record_named(tmp_path):
    path = tmp_path / "a"
    shards.write(path, [shards.Instances.zeros(3, 5, 1)])  # records of one length
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(errors.DamagedError, match=rf"{path}: record {at * 3 // len(data)}, "):
            shards.read(path)


def test_every_truncation_is_found_but_between_records(tmp_path):
    path = tmp_path / "a"
    shards.write(path, [some_instances(1, width=5, predictions=1)])
    data = path.read_bytes()
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(errors.DamagedError, match=f"{path}: record 0, at byte 0, is cut off"):
            shards.read(path)


def test_a_damaged_gzip_stream_is_found(tmp_path):
    path = tmp_path / "a"
    shards.write(path, [some_instances(30)], "gzip")
    data = path.read_bytes()
    for damaged in (data[:-1], data[:1000], data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], data + b"more"):
        path.write_bytes(damaged)
        with pytest.raises(errors.DamagedError, match=str(path)):
            shards.read(path)
    assert gzip.decompress(data)[12:13] == b"\x0a"


@imports_tensorflow
@pytest.mark.usefixtures("tensorflow")
def test_another_programs_records_are_refused(tmp_path):
    import tensorflow as tf

    path = tmp_path / "a"
    for feature in ({}, {"input_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2]))}):
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        with pytest.raises(errors.UserError, match="not a shard of this program"):
            shards.read(path)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(errors.UserError, match="there is no shard"):
        shards.read(tmp_path / "none")


def test_numbers_too_large_for_the_layout_are_refused(tmp_path):
    made = some_instances(1)
    made.input_ids[0, 0] = 2**21
    with pytest.raises(ValueError, match="2097152"):
        shards.write(tmp_path / "a", [made])
