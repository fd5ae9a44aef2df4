"""The command line ``gvm COMMAND`` or ``python -m gvm_core COMMAND``, with a module for each command.

Only this package prints.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import GVMError
from . import doctor, evaluate, fetch, label, matte, refine, synthesize, train

COMMANDS = {
    "matte": matte,
    "refine": refine,
    "fetch": fetch,
    "evaluate": evaluate,
    "synthesize": synthesize,
    "label": label,
    "train": train,
    "doctor": doctor,
}
"""Each module has ``HELP``, ``add_options`` for its parser, and ``run`` for the parsed options, which may return a status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its status, else 0 if it worked, 1 after an error message, 130 if the user stopped it."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__name__.rpartition(".")[0]).setLevel(logging.INFO)  # other packages log only warnings
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except GVMError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; no file with a final name is incomplete", file=sys.stderr)
        return 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are two lines, without the long list of options."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help, and exit."""
        self.exit(2, f"error: {message}\nall options: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and options."""
    top = Parser(prog="gvm", description="Generative Video Matting")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return top
