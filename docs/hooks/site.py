"""The README is the front page of the site; links out of docs/ lead to the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
FRONT = "index.md"
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")

LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^():#\s]+)(#[^()\s]+)?\)")
"""A link to a file: its text, the path and the place in it."""

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>[~.]?(.*?)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add the README as the front page, with its pictures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, FRONT, content=text))
    for picture in PICTURE.findall(text):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links out of docs/ to the repository, or leave their text where it has no address."""
    here = page.file.src_uri
    folder = "" if here == FRONT else posixpath.join("docs", posixpath.dirname(here))

    def led(link: re.Match[str]) -> str:
        text, path, place = link.groups("")
        target = posixpath.normpath(posixpath.join(folder, path))
        if target.startswith("docs/"):
            inside = posixpath.relpath(target, folder or "docs")
            return f"[{text}]({inside}{place})"
        if not config.repo_url:
            return text
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{target}{place})"

    return LINK.sub(led, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Show the names that docstrings refer to as Sphinx writes them."""
    return ROLE.sub(r"<code>\1</code>", html)
