"""What an installation makes importable, what it carries, and how little `import qstore_db` loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import editables
import pytest

import qstore_db
from qstore_db import quantum
from qstore_db.quantum import convert

ROOT = Path(__file__).parents[2]
ROOTS = {"qstore_db", "qstore_server", "qstore_client"}
HEAVY = {
    "aiohttp", "cirq", "cryptography", "faiss", "google_crc32c", "lmdb", "matplotlib", "msgpack", "numba", "numpy",
    "pandas", "prometheus_client", "pyarrow", "rich", "scipy", "sklearn", "torch", "typer", "uvloop", "zarr",
}  # fmt: skip
PUBLIC = [
    "AsyncQuantumDatabase",
    "Change",
    "DatabaseConfig",
    "Group",
    "Match",
    "Page",
    "QuantumDatabase",
    "QuantumLayer",
    "QueryResult",
    "Record",
    "TunnelResult",
    "__version__",
    "errors",
]
QUANTUM = [
    "Angle",
    "Channel",
    "Circuit",
    "Estimates",
    "Metric",
    "PauliString",
    "PauliSum",
    "Program",
    "Projector",
    "Samples",
    "Specs",
    "Trajectories",
    "amplitude_states",
    "data",
    "density_matrix",
    "encode",
    "encoded_states",
    "encoding",
    "estimate",
    "expectations",
    "iqp_features",
    "natural",
    "parameter",
    "pauli",
    "quantum_kernel",
    "read_through",
    "sample",
    "state",
    "trajectory_expectations",
]
CONVERT = [
    "from_cirq",
    "from_openqasm",
    "from_qiskit",
    "to_cirq",
    "to_ionq",
    "to_openqasm",
    "to_qiskit",
]

# Run without `site`, so that neither the repository nor another installation of the project is on the path;
# the installation under test is then added as a site directory, which runs the .pth file of an editable one.
PROBE = """
import importlib, json, site, sys
sys.path.append(sys.argv[1])
site.addsitedir(sys.argv[2])
found = []
for name in sys.argv[3:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    else:
        found.append(name)
print(json.dumps(found))
"""


def install(target: Path, *source: str) -> Path:
    """Installs the project alone into the folder `target`; without build isolation it needs no index."""
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *source]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("wheel"), ".")


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("editable"), "-e", ".")


@pytest.fixture(params=["wheel", "editable"])
def installation(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def importable(installation: Path, names: set[str], scratch: Path) -> set[str]:
    """Those of `names` that a program elsewhere can import where only this installation is present."""
    dependencies = scratch / "dependencies"
    dependencies.mkdir()
    # An editable installation needs `editables` at run time; nothing else of this environment is offered.
    (dependencies / "editables").symlink_to(Path(editables.__file__).parent)
    command = [sys.executable, "-I", "-S", "-c", PROBE, str(dependencies), str(installation), *sorted(names)]
    answer = subprocess.run(command, cwd=scratch, check=True, timeout=120, capture_output=True, text=True)
    return set(json.loads(answer.stdout))


def test_the_three_import_roots_import_without_any_dependency(installation: Path, tmp_path: Path) -> None:
    assert importable(installation, ROOTS, tmp_path) == ROOTS


def test_no_other_folder_of_the_repository_is_importable(installation: Path, tmp_path: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier()}
    others = (folders | {"server", "client", "tests", "benchmarks", "tools", "docs", "conftest"}) - ROOTS
    assert importable(installation, others, tmp_path) == set()


def test_the_wheel_puts_nothing_but_the_import_roots_at_top_level(wheel: Path) -> None:
    top = {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"}
    assert top - {"bin", "__pycache__"} == ROOTS


def test_the_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert (wheel / "qstore_db" / "py.typed").is_file()


def test_the_wheel_carries_the_sample_data_and_both_licences(wheel: Path) -> None:
    data = ROOT / "qstore_db" / "demo" / "data"
    installed = {path.name for path in (wheel / "qstore_db" / "demo" / "data").iterdir()}
    assert installed == {path.name for path in data.iterdir()}
    assert len(installed) == 5
    licences = next(wheel.glob("qstore_db-*.dist-info")) / "licenses"
    assert "Apache License" in (licences / "LICENSE").read_text(encoding="utf-8")
    assert "Zalando SE" in (licences / "qstore_db/demo/data/LICENSE").read_text(encoding="utf-8")


def test_importing_the_package_and_its_errors_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = loaded_by("import qstore_db; qstore_db.errors.QStoreError; dir(qstore_db)", tmp_path)
    assert "qstore_db" in loaded
    assert loaded & HEAVY == set()


def test_circuits_load_no_other_library_of_circuits(tmp_path: Path) -> None:
    program = (
        "from qstore_db.quantum import Circuit; from qstore_db.quantum.convert import to_ionq;"
        "circuit = Circuit(1).h(0); circuit.state(), circuit.draw('svg'), to_ionq(circuit)"
    )
    loaded = loaded_by(program, tmp_path)
    assert "numpy" in loaded
    assert loaded & (HEAVY | {"qiskit", "sympy"}) == {"numpy"}


def loaded_by(program: str, folder: Path) -> set[str]:
    """What a program imports, of each package the name; what the environment itself starts with does not count."""
    whole = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
        f"{program}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-I", "-c", whole, str(ROOT)]
    answer = subprocess.run(command, cwd=folder, check=True, timeout=120, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(answer.stdout)}


def test_the_public_names_are_these() -> None:
    assert qstore_db.__all__ == PUBLIC
    assert dir(qstore_db) == PUBLIC
    assert quantum.__all__ == QUANTUM
    assert convert.__all__ == CONVERT


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves_and_stays_the_same_object(name: str) -> None:
    assert getattr(qstore_db, name) is getattr(qstore_db, name)


def test_a_misspelt_name_is_answered_with_the_nearest_public_one() -> None:
    with pytest.raises(AttributeError, match="did you mean 'QuantumDatabase'"):
        qstore_db.QuantumDatabse  # noqa: B018


def test_a_name_like_no_other_is_answered_with_the_public_names() -> None:
    with pytest.raises(AttributeError, match=r"public names: AsyncQuantumDatabase, Change"):
        qstore_db.zzz  # noqa: B018
