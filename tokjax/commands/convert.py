"""Examples:
  tokjax convert vidtok --checkpoint vidtok_kl_causal_488_4chn.ckpt --config vidtok_kl_causal_488_4chn.yaml -o models/kl
  tokjax convert vidtok --checkpoint weights.safetensors --like experiments/vidtok.py:kl_causal_488_4chn -o models/kl
  tokjax convert vidtok --checkpoint DIFFUSERS_DIR -o models/kl
  tokjax convert vidtok --to-torch models/kl -o back.safetensors
  tokjax convert vidtok --to-diffusers models/kl -o for_diffusers
  tokjax convert omnitokenizer --checkpoint imagenet_k600.ckpt -o models/omni
  tokjax convert omnitokenizer --to-torch models/omni -o back.ckpt
  tokjax convert language-model --checkpoint ucf_class_lm.ckpt --like experiments/generation.py:ucf_class -o models/lm
  tokjax convert diffusion --checkpoint dit.pt --like experiments/generation.py:dit_xl_2 -o models/dit
  tokjax convert perceptual --vgg16 vgg16-397923af.pth --lpips vgg.pth -o weights/lpips_vgg16.npz
  tokjax convert perceptual --checkpoint vidtok_kl_causal_488_4chn.ckpt -o weights/lpips_vgg16.npz
  tokjax convert perceptual --inception pt_inception-2015-12-05-6726825d.pth -o weights/inception.npz
  tokjax convert perceptual --i3d i3d_pretrained_400.pt -o weights/i3d.npz

Reading needs no PyTorch and never runs code that a checkpoint holds; writing .ckpt needs pip install "tokjax[torch]".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

_VIDTOK = """Turns a released VidTok checkpoint into a directory that tokjax.load opens, and back.

Checkpoints of v1.0 and v1.1 hold the same tensors but mean different arithmetic: the .yaml that came with the checkpoint decides,
or the row of an experiment file. A diffusers directory (AutoencoderVidTok) says so itself."""

_OMNITOKENIZER = """Turns a released OmniTokenizer checkpoint into a directory that tokjax.load opens, and back.

A checkpoint holds the arguments of its training, but not whether attention added biases of positions. By the authors' README it
did for imagenet_only, so: with relative positions and that in the file's name, yes; else no. --attention overrides this."""

_PERCEPTUAL = """Makes a file of published weights that judge: for `tokjax evaluate --weights`, and for training the one that
config.loss.perceptual_weights_file names.

LPIPS needs a network that was trained on ImageNet (torchvision's vgg16-397923af.pth or alexnet-owt-7be5be79.pth) and five heads
that its authors trained (vgg.pth or alex.pth, in weights/v0.1 of richzhang/PerceptualSimilarity). Released checkpoints of VidTok
and OmniTokenizer hold both for VGG16.

FID needs pt_inception-2015-12-05-6726825d.pth (releases of mseitzer/pytorch-fid), FVD i3d_pretrained_400.pt (VideoGPT) or
i3d_torchscript.pt (StyleGAN-V). A state dict, a TorchScript archive, .safetensors and .npz are read."""

_GENERATOR = """Turns a released model of tokens into a directory that `tokjax generate` opens, and back.

The row of an experiment file says which model it is; tensors that it lacks, does not know or has in another shape are refused.
Masks of attention and the tokenizer that a language model's checkpoint carries are left out; of a checkpoint of diffusion the
moving average is taken."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    families = parser.add_subparsers(dest="family", metavar="FAMILY", required=True)
    _add_vidtok(families)
    _add_omnitokenizer(families)
    _add_generator(families, "language-model", "OmniTokenizer's language models", "experiments/generation.py:imagenet_class")
    _add_generator(families, "diffusion", "DiT and Latte on OmniTokenizer's latents", "experiments/generation.py:dit_xl_2")
    _add_perceptual(families)


def _family(
    families: argparse._SubParsersAction, name: str, text: str, description: str, convert: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = families.add_parser(name, help=text, description=description, epilog=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(convert=convert)
    return parser


def _add_there_and_back(parser: argparse.ArgumentParser, sources: str, *ways_back: tuple[str, str]) -> None:
    """What is converted, and where to."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, metavar="FILE", help=sources)
    for option, form in (("--to-torch", "the original's .ckpt or .safetensors"), *ways_back):
        what.add_argument(option, type=Path, metavar="MODEL", help=f"write this model as {form}")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a name that does not exist yet")


def _add_with_discriminator(parser: argparse.ArgumentParser) -> None:
    text = "keep the tensors of the training losses, for fine-tuning"
    parser.add_argument("--with-discriminator", action="store_true", help=text)


def _add_vidtok(families: argparse._SubParsersAction) -> None:
    text = "VidTok's checkpoints, and diffusers' AutoencoderVidTok"
    parser = _family(families, "vidtok", text, _VIDTOK, _convert_vidtok)
    sources = "a .ckpt or .safetensors file, or a diffusers directory"
    _add_there_and_back(parser, sources, ("--to-diffusers", "a directory for diffusers"))
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--config", type=Path, metavar="YAML", help="the original's configuration of the checkpoint")
    how.add_argument("--like", metavar="FILE:VARIANT", help="an experiment's row that is the same model, without a .yaml")
    _add_with_discriminator(parser)


def _add_omnitokenizer(families: argparse._SubParsersAction) -> None:
    parser = _family(families, "omnitokenizer", "OmniTokenizer's checkpoints", _OMNITOKENIZER, _convert_omnitokenizer)
    _add_there_and_back(parser, "a .ckpt or .safetensors file")
    parser.add_argument("--attention", choices=("fused", "explicit"), help="without or with the biases of positions")
    parser.add_argument("--like", metavar="FILE:VARIANT", help="an experiment's row that is the same model, for .safetensors")
    _add_with_discriminator(parser)


def _add_generator(families: argparse._SubParsersAction, name: str, text: str, row: str) -> None:
    parser = _family(families, name, text, _GENERATOR, _convert_generator)
    _add_there_and_back(parser, "a .ckpt, .pt or .safetensors file")
    parser.add_argument("--like", metavar="FILE:VARIANT", help=f"an experiment's row that is the same model, such as {row}")


def _add_perceptual(families: argparse._SubParsersAction) -> None:
    text = "the weights that judge: of LPIPS, of FID and of FVD"
    parser = _family(families, "perceptual", text, _PERCEPTUAL, _convert_perceptual)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--vgg16", type=Path, metavar="FILE", help="torchvision's VGG16, trained on ImageNet")
    what.add_argument("--alexnet", type=Path, metavar="FILE", help="torchvision's AlexNet, trained on ImageNet")
    what.add_argument("--checkpoint", type=Path, metavar="FILE", help="a released checkpoint that holds its perceptual network")
    what.add_argument("--inception", type=Path, metavar="FILE", help="Inception-v3 of FID")
    what.add_argument("--i3d", type=Path, metavar="FILE", help="I3D of FVD")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="the heads for that network: vgg.pth or alex.pth")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a name that ends in .npz and does not exist yet")


def run(args: argparse.Namespace) -> int:
    return args.convert(args)


def _convert_vidtok(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError
    from tokjax.conversion import converted

    if args.checkpoint is None and (args.config or args.like or args.with_discriminator):
        raise ConfigError("--config, --like and --with-discriminator belong to --checkpoint; a model of ours has its own config")
    if args.to_torch or args.to_diffusers:
        write = converted.to_torch_file if args.to_torch else converted.to_diffusers
        print(f"wrote {write(args.to_torch or args.to_diffusers, args.output)} tensors to {args.output}")
        return 0
    config = _vidtok_config(args)
    tokenizer = converted.convert_vidtok(args.checkpoint, config, args.output, args.with_discriminator)
    _print_converted(args.checkpoint, tokenizer, args.output)
    return 0


def _vidtok_config(args: argparse.Namespace):
    from tokjax.config import ConfigError
    from tokjax.conversion.diffusers import config_from_diffusers
    from tokjax.conversion.vidtok_yaml import config_from_yaml

    if args.checkpoint.is_dir():
        if args.config or args.like:
            raise ConfigError(f"{args.checkpoint} is a directory, whose config.json describes it; leave out --config and --like")
        return config_from_diffusers(args.checkpoint)
    if args.config:
        return config_from_yaml(args.config)
    if not args.like:
        raise ConfigError(
            "a checkpoint does not say which model it is (v1.0 and v1.1 hold the same tensors); give its .yaml with --config, "
            "or the same model as --like experiments/vidtok.py:VARIANT"
        )
    return _row(args.like, "vidtok")


def _row(like: str, family: str):
    """The config of an experiment's row that is a model of this family."""
    from tokjax.config import ConfigError, validate
    from tokjax.defaults import GENERATORS
    from tokjax.experiment import load_experiment

    config = load_experiment(like)
    validate(config)
    if config.model.family != family:
        file = "generation" if family in GENERATORS else family
        raise ConfigError(
            f"{like} is a model of the family {config.model.family}, not {family}; give a row of experiments/{file}.py"
        )
    config.model.dtype = "float32"  # rows train in lower precision; what is converted computes as published weights are compared
    return config


def _convert_omnitokenizer(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError
    from tokjax.conversion import omnitokenizer_files as files

    if args.to_torch:
        if args.attention or args.like or args.with_discriminator:
            raise ConfigError("--attention, --like and --with-discriminator belong to --checkpoint; a model of ours has its own")
        print(f"wrote {files.to_torch_file(args.to_torch, args.output)} tensors to {args.output}")
        return 0
    like = _row(args.like, "omnitokenizer") if args.like else None
    tokenizer = files.convert_omnitokenizer(args.checkpoint, args.output, args.attention, like, args.with_discriminator)
    _print_converted(args.checkpoint, tokenizer, args.output)
    return 0


def _convert_generator(args: argparse.Namespace) -> int:
    import jax

    from tokjax.config import ConfigError
    from tokjax.conversion import generator_files

    if args.to_torch:
        if args.like:
            raise ConfigError("--like belongs to --checkpoint; a model of ours has its own config")
        print(f"wrote {generator_files.to_torch_file(args.to_torch, args.output)} tensors to {args.output}")
        return 0
    if not args.like:
        raise ConfigError("a checkpoint does not say which model it is; give it as --like experiments/generation.py:VARIANT")
    model = generator_files.convert_generator(args.checkpoint, args.output, _row(args.like, args.family.replace("-", "_")))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    print(f"read {args.checkpoint}: {model.config.model.family}, {parameters:,} parameters")
    print(f"wrote {args.output}; `tokjax generate {args.output} --tokenizer TOKENIZER -o samples` draws from it")
    return 0


def _convert_perceptual(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError
    from tokjax.conversion import perceptual

    if args.inception or args.i3d:
        return _convert_judging(args)
    if (args.checkpoint is None) != (args.lpips is not None):
        raise ConfigError("--lpips goes with --vgg16 or --alexnet; a released checkpoint holds the heads itself")
    if args.checkpoint:
        about = perceptual.convert_from_checkpoint(args.checkpoint, args.output)
    else:
        network, weights = ("vgg16", args.vgg16) if args.vgg16 else ("alexnet", args.alexnet)
        about = perceptual.convert_perceptual(network, weights, args.lpips, args.output)
    for note in about["notes"]:
        print(f"tokjax: warning: {note}", file=sys.stderr)
    name = about["network"]
    print(f"wrote LPIPS with {name}, digest {about['digest'][:16]}, to {args.output}")
    print(f"train with it: --config.loss.perceptual_weights_file={args.output} --config.loss.perceptual_network={name}")
    return 0


def _convert_judging(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError
    from tokjax.conversion.judging_networks import convert_network
    from tokjax.conversion.perceptual import require_output

    if args.lpips:
        raise ConfigError("--lpips goes with --vgg16 or --alexnet; Inception and I3D have no heads")
    require_output(args.output)
    network, source = ("inception", args.inception) if args.inception else ("i3d", args.i3d)
    about = convert_network(network, source, args.output)
    for note in about["notes"]:
        print(f"tokjax: warning: {note}", file=sys.stderr)
    print(f"wrote {network}, digest {about['digest'][:16]}, to {args.output}")
    print(f"judge with it: tokjax evaluate MODEL --data DIR --protocol NAME --weights {args.output}")
    return 0


def _print_converted(source: Path, tokenizer, output: Path) -> None:
    import jax

    from tokjax.conversion.package import digest

    model = tokenizer.config.model
    parameters = sum(leaf.size for leaf in jax.tree.leaves(tokenizer.variables["params"]))
    kind = (model.family, model.get("causality"), model.get("attention"), model.quantizer.name)
    print(f"read {source}: {' '.join(filter(None, kind))}, {parameters:,} parameters, digest {digest(tokenizer)[:16]}")
    print(f"wrote {output}; open it with tokjax.load({str(output)!r})")
