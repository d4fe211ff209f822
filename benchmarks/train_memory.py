"""Memory of one training step of a config on each device of a mesh, by the compiler's plan: compiled, never run.

    python benchmarks/train_memory.py --config experiments/vidtok.py:kl_causal_488_4chn
    python benchmarks/train_memory.py --config experiments/vidtok.py:kl_causal_488_4chn --context 1 --largest 20

    python benchmarks/train_memory.py --config experiments/vidtok.py:kl_causal_488_4chn --topology v5p:2x2x1 --context 1 2 4

Convolutions are in the form that accelerators use. With --topology the compiler is that of TPUs, for which `pip install libtpu`
is enough, and the numbers are what a TPU would allocate; it is told to make little effort (JAX_OPTIMIZATION_LEVEL=O0), which
takes two minutes a program rather than the better part of an hour. Without it the devices are pretended ones of the CPU, whose
compiler computes bfloat16 convolutions in float32, copies what they read and write, and leaves gradients of parameters to the
end, with all that they are made of: shares of devices can be compared, the size of one cannot be taken for an accelerator's.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout this file is in, which need not be installed


# Compile quickly, and order operations for little memory, as compilers for accelerators do, not for many cores.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_enable_concurrency_optimized_scheduler=false"

# For the TPU compiler on a machine that is no TPU's.
ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "JAX_OPTIMIZATION_LEVEL": "O0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE:VARIANT", help="with --config.KEY=VALUE behind it for changes")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1, help="clips for each device of fsdp")
    parser.add_argument("--context", type=int, nargs="+", default=[1, 2, 4, 8], help="devices over which a clip is split")
    parser.add_argument("--fsdp", type=int, default=1, help="devices over which parameters and the batch are split")
    parser.add_argument("--topology", metavar="NAME", help="of TPUs to compile for, such as v5p:2x2x1; default: pretended CPUs")
    parser.add_argument("--largest", type=int, default=0, metavar="N", help="also the N largest arrays of each program")
    args, overrides = parser.parse_known_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices = f"--xla_force_host_platform_device_count={max(args.context) * args.fsdp}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices} {FLAGS}"
    os.environ.update(ALONE)

    from tokjax.experiment import apply_overrides, load_experiment

    config = load_experiment(args.config)
    apply_overrides(config, overrides)
    print("| fsdp | context | state and clip GB | between GB | total GB | largest all-gather MB | compile s |")
    print("|---|---|---|---|---|---|---|")
    for context in args.context:
        _row(config, args, context)


def _row(config: Any, args: argparse.Namespace, context: int) -> None:
    from tokjax.training.compiled import messages, operations, planned_memory

    start = time.perf_counter()
    program = compiled_step(config, args, context)
    memory, gathered = planned_memory(program), messages(program, "all-gather")
    cells = [args.fsdp, context, *(f"{n / 1e9:.2f}" for n in (memory.arguments, memory.temporaries, memory.total))]
    cells += [f"{gathered[0].bytes / 1e6:.2f}" if gathered else "none", f"{time.perf_counter() - start:.0f}"]
    print("|", " | ".join(map(str, cells)), "|", flush=True)
    for one in sorted(operations(program), key=lambda one: -one.bytes)[: args.largest]:
        print(f"    {one.bytes / 1e6:10.1f} MB  {one.opcode:24}{' '.join(one.arrays):40}{one.source[-100:]}")


def compiled_step(config: Any, args: argparse.Namespace, context: int) -> Any:
    """A training step on the first fsdp x context devices."""
    import jax
    from jax.experimental import topologies
    from jax.sharding import AxisType

    from tokjax.models.convolution import CONVOLUTION_FORM
    from tokjax.models.mesh import AXES
    from tokjax.models.tokenizer import build
    from tokjax.training.workloads import Clips, make_workload

    devices = topologies.get_topology_desc(args.topology, "tpu").devices if args.topology else jax.devices()
    shape = (1, args.fsdp, context, 1)  # also across hosts, which a run could not feed
    mesh = jax.make_mesh(shape, AXES, (AxisType.Auto,) * len(AXES), devices=devices[: args.fsdp * context])
    clips = Clips(args.batch * args.fsdp, args.frames, args.size)
    token = CONVOLUTION_FORM.set("direct")
    try:
        work = make_workload("train", build(config.model), None, clips, config, mesh)
        step = jax.jit(work.function, out_shardings=work.out_shardings, donate_argnums=0)
        return step.lower(*work.shapes).compile()
    finally:
        CONVOLUTION_FORM.reset(token)


if __name__ == "__main__":
    main()
