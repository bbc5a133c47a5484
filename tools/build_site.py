"""Build the documentation as a site, without network, with every link between its pages checked: `make site`.

    python3 tools/build_site.py out/site

The pages are the repository's own Markdown. Those that stand where people look for them in a repository, such as
ARCHITECTURE.md, are pages of the site too, so a copy of all is made whose links lead from place to place, and Sphinx builds
that with warnings as errors.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "models/README.md": "models.md",
    "benchmarks/README.md": "benchmarks.md",
    "bringup/README.md": "bringup.md",
}
"""Pages outside docs/, and what they are called in the site."""
CONTENTS = {
    "Use": ["robot", "interface", "ground", "tracking", "bringup", "commands", "troubleshooting"],
    "Judge": ["evaluation", "reliability", "promises", "security", "measured", "benchmarks", "gpu-check"],
    "Make it yours": ["your-data", "training", "own-network", "models", "extending"],
    "How it is built": ["architecture", "contributing"],
}
CONFIGURATION = """
project = "seg_perception"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "seg_perception"
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure", "myst.header"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
"""
STYLE = """
@media (min-width: 82em) {
  .sidebar-drawer { width: 16em; }
  .content { width: min(64em, calc(100vw - 32em)); }
}
td:has(code) { min-width: 11em; }
td code.literal { overflow-wrap: anywhere; }
"""
"""Tables of topics and tests need more width than a column of text, and long names in them must break."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Name of every page in the site, by where it stands in the repository."""
    return {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))} | ELSEWHERE


def moved(text: str, source: str) -> str:
    """Markdown of the page at source with the links of its place in the site. What is in the repository and not in the
    site, such as code, keeps its name and loses its link."""
    places = pages()

    def link(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups()
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in places:
            return f"[{words}]({places[path]}{anchor or ''})"
        if picture and (ROOT / path).is_file():
            return f"![{words}]({posixpath.basename(path)})"
        return words if (ROOT / path).exists() else match[0]

    return LINK.sub(link, text)


def lay_out(folder: Path) -> None:
    """Write what Sphinx reads."""
    for source, place in pages().items():
        text = moved((ROOT / source).read_text(encoding="utf-8"), source)
        if place == "index.md":
            for caption, names in CONTENTS.items():
                text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"
        (folder / place).write_text(text, encoding="utf-8")
    for picture in [*(ROOT / "docs").glob("*.jpg"), *(ROOT / "models").glob("*.jpg")]:
        shutil.copy(picture, folder)
    (folder / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "static").mkdir(exist_ok=True)
    (folder / "static" / "wide.css").write_text(STYLE, encoding="utf-8")


def main(out: Path) -> int:
    """Returns Sphinx's exit code."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        lay_out(source)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(source), str(out)]
        code = subprocess.run(command, check=False).returncode
    if not code:
        print(f"{out / 'index.html'} is the first page")
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
