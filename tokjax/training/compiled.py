"""What a compiled program says of itself: the memory that it plans, and what its devices send each other."""

from __future__ import annotations

import dataclasses
import math
import re

import jax

MESSAGES = ("all-gather", "all-to-all", "all-reduce", "reduce-scatter", "collective-permute")

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # others say it in their names, as f32 does
_LINE = re.compile(r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) (?P<opcode>[a-z][\w-]*)\(")
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\w*\[([\d,]*)\]")
_SOURCE = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Operation:
    """Attributes:
    name, opcode: in the program.
    arrays: of its result on one device, as in f32[2,8].
    bytes: of the largest of them.
    source: what it was traced from, module by module, or "".
    """

    name: str
    opcode: str
    arrays: tuple[str, ...]
    bytes: int
    source: str


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device, by the compiler's plan.

    Attributes:
      arguments: what the program is given; of a training step the state and the clips.
      results: what it gives back in memory of its own, arguments that it overwrites left out.
      temporaries: the most that live at once in between.
    """

    arguments: int
    results: int
    temporaries: int

    @property
    def total(self) -> int:
        return self.arguments + self.results + self.temporaries


def planned_memory(compiled: jax.stages.Compiled) -> Memory | None:
    """None where the backend does not say."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    results = plan.output_size_in_bytes - plan.alias_size_in_bytes
    return Memory(plan.argument_size_in_bytes, results, plan.temp_size_in_bytes)


def operations(compiled: jax.stages.Compiled) -> list[Operation]:
    """Every operation of the program, those inside fusions too."""
    found = []
    for line in compiled.as_text().splitlines():
        if match := _LINE.match(line):
            arrays = _ARRAY.findall(match["type"])
            source = _SOURCE.search(line)
            written = tuple(f"{kind}[{sides}]" for kind, sides in arrays)
            size = max((_bytes(kind, sides) for kind, sides in arrays), default=0)
            found.append(Operation(match["name"], match["opcode"], written, size, source[1] if source else ""))
    return found


def _bytes(kind: str, sides: str) -> int:
    bits = _BITS.get(kind) or int(re.sub(r"\D", "", kind))
    return math.prod(int(side) for side in sides.split(",") if side) * bits // 8


def sources(compiled: jax.stages.Compiled) -> dict[str, str]:
    """What each operation was traced from, by its name."""
    return {one.name: one.source for one in operations(compiled)}


def messages(compiled: jax.stages.Compiled, kind: str) -> list[Operation]:
    """The operations of one of MESSAGES, the largest first; their results are what a device has after it."""
    own = [one for one in operations(compiled) if one.opcode in (kind, f"{kind}-start")]
    return sorted(own, key=lambda one: -one.bytes)
