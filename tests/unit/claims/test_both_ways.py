"""Every claim of a disruption is able to fail, and to hold: a claim of which these tests show only one says nothing."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.mark.timeout(300)
def test_each_claim_is_judged_both_ways(tmp_path: Path) -> None:
    file = tmp_path / "ways.json"
    tests = [str(HERE), f"--ignore={__file__}", "-p", "tests.unit.claims.ways", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *tests, f"--basetemp={tmp_path / 'base'}"]
    environment = os.environ | {"EMCO_CHAOS_WAYS": str(file)}
    for name in [name for name in environment if name.startswith(("PYTEST_", "COV_"))]:
        del environment[name]  # of the run that this is a part of
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
    judged = json.loads(file.read_text())
    claims = list(_claims())
    assert len(claims) > 50
    assert [f"{where} {name}" for where, name in claims if judged.get(where) != [False, True]] == []


def _claims() -> Iterator[tuple[str, str]]:
    """Where claims are judged, `fixtures/wipe.py:51`, with their names as they are written there."""
    for file in sorted((ROOT / "fixtures").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and any(one.arg == "holds" for one in node.keywords):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.args[0])
