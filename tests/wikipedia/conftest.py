import bz2
import pathlib

import pytest

DATA = pathlib.Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def wiki_xml():
    """The folder with the real dumps."""
    folder = DATA / "wiki_xml"
    if not folder.is_dir():
        pytest.skip("the real dumps aren't here: shared/data/wiki_xml")
    return folder


@pytest.fixture(scope="session")
def enwiki(wiki_xml):
    """A real single-stream dump: 206 pages, 7 blocks."""
    return wiki_xml / "enwiki-206-pages.xml.bz2"


@pytest.fixture(scope="session")
def enwiki_xml(enwiki):
    return bz2.decompress(enwiki.read_bytes())


@pytest.fixture(scope="session")
def small_xml(enwiki_xml):
    """The first 80 pages of it, 1.3 MB."""
    end = -1
    for _ in range(80):
        end = enwiki_xml.index(b"</page>", end + 1)
    return enwiki_xml[: end + len(b"</page>")] + b"\n</mediawiki>\n"


@pytest.fixture(scope="session")
def small(small_xml, tmp_path_factory):
    """These as a single-stream dump with blocks of 100 kB."""
    path = tmp_path_factory.mktemp("small") / "small.xml.bz2"
    path.write_bytes(bz2.compress(small_xml, 1))
    return path
