"""What the site does to pages: links to files of the repository, and names in docstrings."""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./((?!api/|tutorials/)[^)#\s]+)\)")
"""A link from a page in docs/ to a file that is not there."""

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>[~.]?(.*?)</code>")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links out of docs/ to the repository, or leave their text where it has no address."""
    if page.file.src_uri.count("/"):
        return markdown
    address = config.repo_url and config.repo_url.rstrip("/") + "/blob/main/"
    return OUTSIDE.sub(rf"[\1]({address}\2)" if address else r"\1", markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Show the names that docstrings refer to as Sphinx writes them."""
    return ROLE.sub(r"<code>\1</code>", html)
