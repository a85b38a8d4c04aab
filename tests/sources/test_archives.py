"""A member of an archive is a source, and an archive can't write where it likes."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from bertline.errors import UserError
from bertline.sources import files
from bertline.sources.files import Source
from bertline.store.backends import connect
from support.web_servers import file

FILES = {"MNLI/train.tsv": b"train\n" * 9000, "MNLI/dev.tsv": b"dev\n" * 50, "other/train.tsv": b"other"}


def zipped(contents, **options):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("MNLI")
        for name, content in contents.items():
            archive.writestr(name, content, **options)
    return packed.getvalue()


def tarred(contents, mode="w"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


DOTTED = {f"./{name}": content for name, content in FILES.items()}
KINDS = {
    "zip": zipped(FILES),
    "tar": tarred(FILES),
    "tar with dots": tarred(DOTTED),
    **{kind: tarred(FILES, f"w:{kind}") for kind in ("gz", "bz2", "xz")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_read_by_its_place(kind, tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(KINDS[kind])
    work = tmp_path / "work"
    work.mkdir()
    for name, content in FILES.items():
        source = Source(url=str(archive), member=name)
        assert source.look(work).read_bytes() == content
        assert source.fetch(work).read_bytes() == content


def test_its_identity_is_the_archives_and_its_place(tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(KINDS["zip"])
    digest = hashlib.sha256(KINDS["zip"]).hexdigest()
    first = Source(url=str(archive), member="MNLI/train.tsv").pinned()
    assert first.identity == f"sha256:{digest}#MNLI/train.tsv"
    assert first.by_name().identity == first.identity
    assert first.identity != Source(url=str(archive), member="MNLI/dev.tsv").pinned().identity
    assert Source(url=str(archive)).pinned().identity == f"sha256:{digest}"
    wrong = first.model_copy(update={"sha256": "0" * 64})
    for read in (wrong.look, wrong.fetch):
        with pytest.raises(UserError, match="sha256 should be 0000"):
            read(tmp_path)


def test_a_pod_gets_it_out_of_the_stores_copy(tmp_path):
    store, work = connect(str(tmp_path / "store")), tmp_path / "work"
    work.mkdir()
    (tmp_path / "a.zip").write_bytes(KINDS["zip"])
    source = Source(url=str(tmp_path / "a.zip"), member="MNLI/dev.tsv").pinned()
    assert files.upload([source], store) == [source]
    (tmp_path / "a.zip").unlink()
    assert source.by_name().fetch(work, store).read_bytes() == FILES["MNLI/dev.tsv"]
    assert source.ranged(store) is None


def test_two_members_of_one_archive_are_one_download(web, tmp_path):
    web.answers["/MNLI.zip"] = [file(KINDS["zip"])]
    for name in ("MNLI/train.tsv", "MNLI/dev.tsv"):
        folder = tmp_path / name.rpartition("/")[2]
        folder.mkdir()
        source = Source(url=f"{web.url}/MNLI.zip", member=name)
        obtained = source.obtain(folder, archives=tmp_path / "archives")
        assert obtained.path.read_bytes() == FILES[name]
        assert obtained.sha256 == hashlib.sha256(KINDS["zip"]).hexdigest()
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "member", ["../x", "/x", "a/../x", "a//x", "a/", "./a", ".", "", "a\\x", "a\0x"], ids=lambda member: repr(member)
)
def test_a_place_that_leads_elsewhere_is_refused(member):
    with pytest.raises(ValueError, match="can't be a file's place in an archive"):
        Source(url="a.zip", member=member)


def test_an_archive_cannot_write_where_it_likes(tmp_path):
    """Its names are compared, and never used."""
    work = tmp_path / "work"
    work.mkdir()
    contents = {"../evil": b"1", "a/../../evil": b"2", "good": b"3"}
    for content in (zipped(contents), tarred(contents)):
        (tmp_path / "archive").write_bytes(content)
        path = Source(url=str(tmp_path / "archive"), member="good").fetch(work)
        assert path.parent == work
        assert path.read_bytes() == b"3"
    assert not (tmp_path / "evil").exists()


def link():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("MNLI/train.tsv")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return packed.getvalue()


def encrypted():
    content = bytearray(zipped({"MNLI/train.tsv": b"text"}))
    for at in (content.index(b"PK\3\4", 10) + 6, content.rindex(b"PK\1\2") + 8):
        content[at] |= 1
    return bytes(content)


def flipped():
    content = bytearray(KINDS["zip"])
    content[content.index(b"train.tsv") + 20] ^= 1
    return bytes(content)


def twice():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("MNLI/train.tsv", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("MNLI/train.tsv", "2")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"index\tsentence1\n", "neither a zip nor a tar archive"),
        (lambda: zipped({"MNLI/dev.tsv": b"1"}), "has no file MNLI/train.tsv; it has MNLI/dev.tsv"),
        (lambda: zipped({"x/train.tsv": b"1", "y": b"2"}), "it has x/train.tsv$"),
        (lambda: zipped({}), "no files at all"),
        (link, "has no file MNLI/train.tsv"),
        (encrypted, "can't be unpacked"),
        (flipped, "is damaged"),
        (lambda: KINDS["gz"][:-20], "is damaged"),
        (twice, "2 files"),
    ],
    ids=["plain", "other", "elsewhere", "empty", "link", "encrypted", "flipped", "torn", "twice"],
)
def test_what_cannot_be_had_is_told(make, said, tmp_path):
    (tmp_path / "archive").write_bytes(make())
    with pytest.raises(UserError, match=said):
        Source(url=str(tmp_path / "archive"), member="MNLI/train.tsv").fetch(tmp_path)
