"""Generated sample inputs, so that demos, tests and the README need no download.

`sample:pydoc-topics` in an experiment is a small dump, `sample:nli/train` and `sample:nli/dev` are a small task.
Results on them say nothing about language.
"""

from pathlib import Path

from bertline.errors import UserError

NAMES = ("pydoc-topics", "nli/train", "nli/dev")


def write(name: str, directory: Path) -> Path:
    """Write a sample into a directory. The same version of Python writes the same bytes.

    Raises:
        UserError: there is no such sample; names the existing ones.
    """
    match name:
        case "pydoc-topics":
            from bertline.samples import wiki

            path = directory / "pydoc-topics.xml.bz2"
            wiki.write_pydoc_dump(path)
        case "nli/train" | "nli/dev":
            from bertline.samples import nli

            path = directory / f"{name.replace('/', '-')}.tsv"
            path.write_text(nli.train() if name == "nli/train" else nli.dev(), encoding="utf-8", newline="\n")
        case _:
            raise UserError(f"there is no sample {name!r}; there are {', '.join(NAMES)}")
    return path
