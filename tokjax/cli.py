"""The `tokjax` command: one thin file for each sub-command in `tokjax.commands`, imported when it runs."""

from __future__ import annotations

import argparse
import importlib
import sys

from tokjax import __version__
from tokjax.errors import in_one_line, is_too_large

COMMANDS = {
    "prepare": "make a data set: the offline sample, or shards from folders, lists and tables of images and videos",
    "data": "look at data as a model will see it, and measure how fast it is read",
    "train": "train a tokenizer from an experiment file; resumes where it stopped",
    "evaluate": "score a tokenizer, reconstructions or generated samples: one JSON and an HTML report with pictures",
    "reconstruct": "encode and decode a video or image file",
    "encode": "turn a video or image file into tokens (.npz)",
    "decode": "turn tokens (.npz) back into a video or image file",
    "generate": "images and videos from a trained model of tokens",
    "sweep": "train the rows of an ablation file, here or on a cluster, and write the paper's table",
    "export": "write a trained tokenizer as a directory that tokjax.load opens",
    "convert": "turn released PyTorch weights into a directory that tokjax.load opens, and back",
    "inspect": "parameters, latent shape, FLOPs and memory of a config, before anything is allocated",
    "benchmark": "frames per second, FLOPs, utilization and memory of a model on this machine",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns 0 when done, 1 on an error the user can mend, 2 on wrong usage, 75 when stopped on request."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="tokjax",
        description="Train, judge and serve image-and-video tokenizers in JAX.",
        epilog="`tokjax COMMAND --help` tells more about each.",
    )
    parser.add_argument("--version", action="version", version=f"tokjax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"tokjax.commands.{name}")
            command.formatter_class = argparse.RawDescriptionHelpFormatter
            command.epilog = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(argv)
    overrides = [word for word in rest if word.startswith("--config.")]
    if len(overrides) < len(rest):
        parser.error(f"unknown argument {next(word for word in rest if word not in overrides)!r} of `tokjax {args.command}`")
    if overrides and not hasattr(args, "overrides"):
        parser.error(f"`tokjax {args.command}` takes no --config.* values")
    args.overrides = overrides
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Mistakes of the user's, and of their files and disks, become one line; a bug keeps its traceback."""
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("tokjax: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        if not is_too_large(error) and not _is_for_user(error):
            raise
        print(f"tokjax: {in_one_line(error)}", file=sys.stderr)
        return 1


def _is_for_user(error: Exception) -> bool:
    """What the operating system says of files, and what our own code raised, rather than something it called."""
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    return isinstance(error, OSError) or last.tb_frame.f_globals["__name__"].startswith("tokjax.")


if __name__ == "__main__":
    sys.exit(main())
