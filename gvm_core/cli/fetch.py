"""``gvm fetch``: download the released weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import InputError
from ..models.weights import released_folder
from ..progress import Progress

HELP = "download the released GVM weights (6.5 GB)"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the folder, and for agreeing in advance."""
    command.add_argument("--to", type=Path, default=released_folder(), help="model folder (default: %(default)s)")
    command.add_argument("--yes", action="store_true", help="do not ask; you have read the licence notice")


def run(options: argparse.Namespace) -> None:
    """Show size and licence, ask the user, and download."""
    from ..models.download import GVM, fetch_release

    print(f"{GVM.repo}: about {GVM.size / 1e9:.1f} GB, to {options.to}\n\n{GVM.notice}\n")
    if not options.yes:
        if not sys.stdin.isatty():
            raise InputError("there is no terminal to ask on; read the notice above, then run it again with --yes")
        if input("Download them? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was downloaded")
            return
    with Progress(None, "bytes") as progress:
        fetch_release(GVM, options.to, progress.reach)
    print(f"ready: gvm matte IN OUT --model {options.to}")
