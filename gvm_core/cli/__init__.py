"""The command line, ``gvm COMMAND`` or ``python -m gvm_core COMMAND``: a module for each command. Only it prints."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ..errors import GVMError
from . import evaluate, fetch, label, matte, synthesize, train

COMMANDS = {
    "matte": matte,
    "fetch": fetch,
    "evaluate": evaluate,
    "synthesize": synthesize,
    "label": label,
    "train": train,
}
"""Each has ``HELP``, ``add_options`` for its parser, and ``run`` for what was given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with a sentence when it did not, 130 when the user stopped it."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__name__.rpartition(".")[0]).setLevel(logging.INFO)  # of others only what is wrong
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except GVMError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; no half file was left under a final name", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    top = argparse.ArgumentParser(prog="gvm", description="Generative Video Matting")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return top
