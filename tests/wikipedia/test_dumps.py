import bz2
import itertools
import random
import re

import pytest

from bertline import errors
from bertline.wikipedia import blocks, dumps


def read(path, target_bytes=1 << 40, **options):
    return [page for part in dumps.slices(path, target_bytes) for page in dumps.pages(path, part, **options)]


def xml_of(count, text="Some text. "):
    body = "".join(
        f"  <page>\n    <title>Page {number}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n"
        f"    <revision><text>{text * (number % 7)}{number}</text></revision>\n  </page>\n"
        for number in range(count)
    )
    return f"<mediawiki>\n<siteinfo/>\n{body}</mediawiki>\n".encode()


def pages_of(xml):
    return [page.decode() for page in re.findall(rb"<page>.*?</page>", xml, re.DOTALL)]


def multistream(xml, cuts, level=9):
    edges = [0, *sorted(cuts), len(xml)]
    return b"".join(bz2.compress(xml[start:stop], level) for start, stop in itertools.pairwise(edges))


@pytest.mark.parametrize("target_bytes", [1 << 40, 100_000, 9_001])
def test_a_single_stream_dump_has_the_same_pages_for_any_slicing(enwiki, enwiki_xml, target_bytes):
    assert read(enwiki, target_bytes) == pages_of(enwiki_xml)


def cdata_pages(bodies):
    return [
        b"<page>\n<title>P%d</title><id>%d</id><revision><text><![CDATA[%s]]></text></revision>\n</page>" % (n, n, text)
        for n, text in enumerate(bodies, 1)
    ]


QUOTED = b"<page><title>No</title><id>9</id><revision><text>no</text></revision></page>"


def test_tags_in_cdata_are_text(tmp_path):
    pages = cdata_pages([b"text", b"see </page> there", QUOTED * 2, b"<page> ]] > <![CDATA[ </page>", b"<page"])
    path = tmp_path / "dump.xml"
    path.write_bytes(b"<mediawiki>" + b"\n".join(pages) + b"</mediawiki>")
    assert [page.encode() for page in read(path)] == pages


def test_a_slice_that_begins_in_cdata_does_not_take_its_text_for_pages(tmp_path):
    pages = cdata_pages(
        [b"text", b"a </page> there", QUOTED, QUOTED + b" and so on", QUOTED * 2, b"a <page> there"] * 2
    )
    xml = b"<mediawiki>" + b"\n".join(pages) + b"</mediawiki>"
    begins = [xml.index(b"CDATA[", xml.index(b"<title>P%d<" % number)) + 6 for number in range(1, len(pages) + 1)]
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(multistream(xml, begins))
    for target_bytes in (300, 40):
        assert [page.encode() for page in read(path, target_bytes)] == pages


@pytest.mark.parametrize("target_bytes", [1 << 40, 20_001])
def test_a_multistream_dump_is_the_same_dump(enwiki_xml, tmp_path, target_bytes):
    starts = [match.start() for match in re.finditer(rb"  <page>", enwiki_xml)]
    path = tmp_path / "multistream.xml.bz2"
    path.write_bytes(multistream(enwiki_xml, starts[::10]))
    assert read(path, target_bytes) == pages_of(enwiki_xml)


def test_every_dump_of_the_shared_data_is_read_whole(wiki_xml):
    counts = {path.name.split(".")[0]: len(read(path, 10_000)) for path in sorted(wiki_xml.glob("dbpedia-*.bz2"))}
    assert counts == {
        "dbpedia-minidump-dewiki": 2,
        "dbpedia-minidump-enwiki": 27,
        "dbpedia-minidump-frwiki": 3,
        "dbpedia-minidump-ruwiki": 1,
        "dbpedia-minidump-ukwiki": 1,
    }


def test_slices_of_a_few_bytes_count_each_page_once(tmp_path):
    xml = xml_of(20)
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(multistream(xml, range(300, len(xml), 300)))
    for target_bytes in (1, 2, 5, 17, 40, 100, 333):
        assert read(path, target_bytes) == pages_of(xml), target_bytes


def test_tags_that_straddle_blocks_and_slices_count_once(tmp_path):
    xml = xml_of(3)
    path = tmp_path / "dump.xml.bz2"
    tag = xml.index(b"<page>", xml.index(b"</page>"))
    for cut in range(tag - 9, tag + 8):
        path.write_bytes(multistream(xml, [cut]))
        for target_bytes in (1, 64, 1 << 40):
            assert read(path, target_bytes) == pages_of(xml), (cut, target_bytes)
    # A stream a byte: no block holds a whole tag.
    path.write_bytes(multistream(xml, range(tag - 9, tag + 8)))
    assert read(path, 30) == pages_of(xml)


def test_a_slice_owns_the_pages_that_begin_in_its_blocks(tmp_path):
    xml = xml_of(40)
    path = tmp_path / "dump.xml.bz2"
    starts = [match.start() for match in re.finditer(rb"<page>", xml)]
    # Each stream begins three bytes into a page's tag, so each page belongs to the stream before.
    path.write_bytes(multistream(xml, [start + 3 for start in starts]))
    edge = len(multistream(xml[: starts[10] + 3], [start + 3 for start in starts[:10]]))
    size = path.stat().st_size
    assert list(dumps.pages(path, dumps.Slice(0, 0, edge))) == pages_of(xml)[:11]
    assert list(dumps.pages(path, dumps.Slice(1, edge, size))) == pages_of(xml)[11:]


def test_blocks_of_all_levels_and_empty_streams_are_read(tmp_path):
    xml = xml_of(30)
    path = tmp_path / "dump.xml.bz2"
    third = len(xml) // 3
    parts = (xml[:third], 1), (b"", 9), (xml[third : 2 * third], 5), (xml[2 * third :], 9)
    path.write_bytes(b"".join(bz2.compress(part, level) for part, level in parts))
    assert read(path, 50) == pages_of(xml)
    dumps.check(path)


def test_a_mark_that_occurs_by_chance_changes_nothing(small, small_xml, monkeypatch):
    real = blocks.marks
    with small.open("rb") as file:
        genuine = list(real(file, small.stat().st_size, 0))
    starts = [position for position, is_end in genuine if not is_end]
    chance = [(starts[1] + 12_345, False), (starts[3] + 777_777, True), (starts[3] + 800_001, False)]
    every = sorted(genuine + chance)

    def with_chance(file, size, begin, end=None):
        return (mark for mark in every if begin * 8 <= mark[0] < (size if end is None else end) * 8)

    monkeypatch.setattr(blocks, "marks", with_chance)
    for target_bytes in (1 << 40, 20_000):
        damage = dumps.Damage()
        assert read(small, target_bytes, on_corrupt="skip", damage=damage) == pages_of(small_xml)
        assert damage == dumps.Damage()


def test_marks_are_found_at_every_bit_and_across_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_WINDOW_BYTES", 13)
    noise = random.Random(0).getrandbits(2000)
    for shift in range(150):
        value = (noise & ~(((1 << 48) - 1) << shift)) | (0x314159265359 << shift)
        path = tmp_path / "bits"
        path.write_bytes(value.to_bytes(250))
        with path.open("rb") as file:
            assert list(blocks.marks(file, 250, 0)) == [(2000 - 48 - shift, False)]


@pytest.fixture
def damaged(small, tmp_path):
    """The real dump with some bytes in the middle of its third block overwritten; and that block."""
    data = bytearray(small.read_bytes())
    with small.open("rb") as file:
        starts = [position // 8 for position, _ in blocks.marks(file, len(data), 0)]
    middle = (starts[2] + starts[3]) // 2
    data[middle : middle + 4] = b"\0\0\0\0"
    path = tmp_path / "damaged.xml.bz2"
    path.write_bytes(data)
    return path, starts[2], starts[3]


def test_a_damaged_block_is_an_error_that_names_file_and_place(damaged):
    path, start, _ = damaged
    with pytest.raises(
        errors.UserError, match=rf"damaged.xml.bz2 is damaged: the bz2 block at byte {start:,} of .*skip"
    ):
        read(path)


def test_skipping_drops_the_same_pages_and_counts_the_same_bytes_for_any_slicing(damaged, small_xml):
    path, start, stop = damaged
    results = []
    for target_bytes in (1 << 40, 20_000):
        damage = dumps.Damage()
        results.append((read(path, target_bytes, on_corrupt="skip", damage=damage), damage))
    assert results[0] == results[1]
    found, damage = results[0]
    every = pages_of(small_xml)
    assert damage == dumps.Damage(blocks=1, skipped_bytes=stop - start, pages=1)
    assert set(found) < set(every)
    # A block holds 100,000 bytes; the pages that touch it have more, or less.
    assert 100_000 * 0.5 < sum(map(len, every)) - sum(map(len, found)) < 100_000 * 3


def test_a_destroyed_mark_is_damage_and_not_a_gap_nobody_sees(tmp_path):
    xml = xml_of(60)
    streams = [bz2.compress(xml[start : start + 1000]) for start in range(0, len(xml), 1000)]
    begin = len(b"".join(streams[:3]))
    path = tmp_path / "dump.xml.bz2"
    data = bytearray(b"".join(streams))
    data[begin : begin + 4] = b"????"  # a stream's header, which nobody needs
    path.write_bytes(data)
    assert read(path) == pages_of(xml)
    data[begin + 4 : begin + 10] = b"??????"  # the mark of its block
    path.write_bytes(data)
    with pytest.raises(errors.UserError, match="is damaged"):
        read(path)
    results = []
    for target_bytes in (1 << 40, 60):
        damage = dumps.Damage()
        results.append((read(path, target_bytes, on_corrupt="skip", damage=damage), damage))
    assert results[0] == results[1]
    assert set(results[0][0]) < set(pages_of(xml))
    assert damage.blocks == 1
    assert damage.skipped_bytes >= len(streams[3]) - 10


def test_a_truncated_dump_is_told_by_check_and_by_reading(small, tmp_path):
    data = small.read_bytes()
    path = tmp_path / "truncated.xml.bz2"
    for size in (len(data) - 100_000, len(data) - 12, 5000):
        path.write_bytes(data[:size])
        with pytest.raises(errors.UserError, match=r"truncated|damaged"):
            dumps.check(path)
        with pytest.raises(errors.UserError, match=r"truncated|damaged"):
            read(path)


def test_what_is_whole_in_a_truncated_dump_can_be_kept(small, small_xml, tmp_path):
    data = small.read_bytes()
    path = tmp_path / "truncated.xml.bz2"
    path.write_bytes(data[: len(data) - 100_000])
    dumps.check(path, on_corrupt="skip")
    found = read(path, 50_000, on_corrupt="skip")
    assert found == pages_of(small_xml)[: len(found)]
    assert len(found) > 20


def test_a_dump_that_ends_in_mid_page_is_truncated(tmp_path):
    xml = xml_of(5)
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(xml[: xml.rindex(b"</page>")]))
    with pytest.raises(errors.UserError, match="truncated"):
        read(path)
    with pytest.raises(errors.UserError, match="truncated"):
        dumps.check(path)
    damage = dumps.Damage()
    assert read(path, on_corrupt="skip", damage=damage) == pages_of(xml)[:-1]
    assert damage.pages == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\3\4 a zip", "neither bz2 nor XML"),
        (bz2.compress(b"just some text"), "no <mediawiki>"),
        (b"<html></html>", "no <mediawiki>"),
        (b"BZh9 and nothing of the kind", "bz2 block"),
        (bz2.compress(b"<mediawiki>"), "truncated"),
    ],
)
def test_what_is_no_dump_is_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match=message):
        dumps.check(path)


def test_a_missing_dump_and_a_folder_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="There is no dump at"):
        dumps.check(tmp_path / "nothing.bz2")
    with pytest.raises(errors.UserError, match="is a folder"):
        dumps.slices(tmp_path, 1000)


def test_check_accepts_every_real_dump(wiki_xml):
    found = list(wiki_xml.glob("*.bz2"))
    assert found
    for path in found:
        dumps.check(path)


def test_plain_xml_is_read_like_a_compressed_dump(enwiki_xml, tmp_path):
    path = tmp_path / "dump.xml"
    path.write_bytes(enwiki_xml)
    dumps.check(path)
    for target_bytes in (1 << 40, 1_000_000, 100_001):
        assert read(path, target_bytes) == pages_of(enwiki_xml)


def test_invalid_utf_8_is_replaced(tmp_path):
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(xml_of(2).replace(b"Page 1", b"P\xe4ge 1")))
    assert "<title>P\ufffdge 1</title>" in read(path)[1]


def test_a_page_of_ten_megabytes_over_many_blocks_is_read(tmp_path):
    text = "".join(map(str, range(1_450_000)))
    xml = b"<mediawiki>" + f"<page><text>{text}</text></page><page>2</page>".encode() + b"</mediawiki>"
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(xml, 9))
    assert read(path, 2_000_000) == pages_of(xml)


@pytest.mark.parametrize("behind", [b"\n", bytes(5000), b"some other bytes"])
@pytest.mark.parametrize("target_bytes", [1 << 40, 997])
def test_bytes_behind_the_last_stream_are_no_damage(small, small_xml, tmp_path, behind, target_bytes):
    path = tmp_path / "behind.xml.bz2"
    path.write_bytes(small.read_bytes() + behind)
    dumps.check(path)
    assert read(path, target_bytes) == pages_of(small_xml)


def test_check_tells_a_damaged_block_at_the_end(small, tmp_path):
    content = bytearray(small.read_bytes())
    content[-5000] ^= 0xFF
    path = tmp_path / "damaged.xml.bz2"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match="is damaged: the bz2 block at byte"):
        dumps.check(path)
    dumps.check(path, "skip")
