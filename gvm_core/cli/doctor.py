"""``gvm doctor``: one page for a bug report."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

from ..atomic import atomic
from ..errors import InputError

HELP = "print one page for a bug report: versions, devices, models, formats, a trial, and what is wrong"
TITLE = (
    "# gvm doctor\n\nPaste all of this into a report. Your home folder, ComfyUI's and your user name are replaced.\n"
)


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the model, and for what is left out or added."""
    command.add_argument("--model", default="small", help="the model to try: small (default), gvm, or a model folder")
    command.add_argument("--no-matte", action="store_true", help="make no mattes: takes seconds")
    command.add_argument(
        "--all-precisions", action="store_true", help="on a processor, also try bf16 and fp16: takes minutes"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the same facts as data")


def run(options: argparse.Namespace) -> int:
    """Print the page. Returns 1 if something is wrong that stops mattes, else 0."""
    from ..doctor.examination import examine
    from ..doctor.page import as_data, verdict

    if options.json and options.json.exists():
        raise InputError(f"{options.json} exists already; give another name")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may have letters that this terminal has not
    print(TITLE, flush=True)
    sections = []
    for section in examine(options.model, matte=not options.no_matte, every_precision=options.all_precisions):
        sections.append(section)
        print(section, end="\n\n", flush=True)
    findings = [finding for section in sections for finding in section.findings]
    print(verdict(findings))
    if options.json:
        with atomic(options.json) as part:
            part.write_text(json.dumps(as_data(sections), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(finding.weight == "stops" for finding in findings))
