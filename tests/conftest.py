"""Settings for every test: CPU, a persistent compilation cache, and where the golden numbers lie."""

import gc
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and compute little. The emitters that jaxlib 0.10 can do without take twice as long to compile.
QUICK = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tokjax-test-compilations"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

ROOT = Path(__file__).parents[1]


def golden_files(pattern: str) -> list[Path]:
    """Golden files that match, in $TOKJAX_GOLDEN, in `shared/golden` beside the project, or in the selection here."""
    places = [os.environ.get("TOKJAX_GOLDEN", ""), ROOT.parent / "shared" / "golden", ROOT / "tests" / "golden"]
    for place in places:
        if place and (found := sorted(Path(place).glob(pattern))):
            return found
    return []


def pytest_collection_finish() -> None:
    """Tracing makes many objects, and each search for garbage would visit all that tests have imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def golden():
    """golden("vidtok/unit_regularizers.npz") -> path of that file; the test is skipped where it is not at hand."""

    def find(name: str) -> Path:
        found = golden_files(name)
        if not found:
            pytest.skip(f"the golden file {name} is neither in tests/golden nor in $TOKJAX_GOLDEN")
        return found[0]

    return find


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten():
    """Each compiled program holds memory maps, of which a process may have only so many; a worker runs hundreds of tests."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
