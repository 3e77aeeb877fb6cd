"""What the site needs beyond Markdown: the files of `deploy/` that pages link to are part of it.

On a checkout such a link leads out of `docs/`; the site has the files beside its pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# What is made beside the files where they are used: passwords above all.
_PRIVATE = {"secrets", "__pycache__"}
_OUTSIDE = re.compile(r"\]\(((?:\.\./)+)\.\./deploy/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """With the files of `deploy/`."""
    root = Path(config.docs_dir).parent
    for path in sorted((root / "deploy").rglob("*")):
        if path.is_file() and not _PRIVATE & set(path.parts):
            name = path.relative_to(root).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """With links to them as the site has it."""
    return _OUTSIDE.sub(r"](\1deploy/", markdown)
