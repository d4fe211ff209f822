"""Examples:
  tokjax export runs/quickstart --output models/quickstart
  python -c "import tokjax; print(tokjax.load('models/quickstart').config.model)"

Writes an Orbax checkpoint of the parameters (their moving average where the run kept one), the config and a model card.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=Path, help="a training workdir")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a directory that does not exist yet")
    parser.add_argument("--step", type=int, help="a checkpoint of the workdir; default: the newest")


def run(args: argparse.Namespace) -> int:
    from tokjax.conversion.package import export, family_of
    from tokjax.defaults import GENERATORS
    from tokjax.generation.package import export_generator

    if family_of(args.workdir) in GENERATORS:
        export_generator(args.workdir, args.output, args.step)
        print(f"wrote {args.output}; `tokjax generate {args.output} --tokenizer TOKENIZER -o samples` draws from it")
        return 0
    export(args.workdir, args.output, args.step)
    print(f"wrote {args.output}; open it with tokjax.load({str(args.output)!r})")
    return 0
