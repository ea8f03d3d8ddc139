"""The table of `make mutate`: each mutation applies to the source as it is."""

from __future__ import annotations

from collections import Counter

import pytest
from samples import ROOT

from scripts.mutate import mutated
from scripts.mutations import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_mutations_apply(mutation: Mutation) -> None:
    text = mutated(mutation, (ROOT / mutation.file).read_text())
    if mutation.file.endswith(".py"):
        compile(text, mutation.file, "exec")
    for test in mutation.tests.split():
        assert (ROOT / test.partition("::")[0]).exists(), test


def test_there_are_mutations_of_all_kinds_of_files() -> None:
    folders = Counter(mutation.file.rpartition("/")[0] for mutation in MUTATIONS)
    assert len(MUTATIONS) >= 60
    packages = {str(p.parent.relative_to(ROOT)) for p in ROOT.glob("pear_ros/*/__init__.py")}
    assert packages - {"pear_ros/cli"} <= folders.keys()
    assert {"src", "launch", "training", "pear_ros"} <= folders.keys()


def test_few_survive() -> None:
    assert sum(bool(mutation.survives) for mutation in MUTATIONS) <= 3


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(Mutation("f.py", "b", "x", ""), id="missing"),
        pytest.param(Mutation("f.py", "a", "x", ""), id="twice"),
        pytest.param(Mutation("f.py", "c", "c", ""), id="no change"),
    ],
)
def test_mutations_that_do_not_apply_are_refused(mutation: Mutation) -> None:
    with pytest.raises(ValueError, match=r"f\.py"):
        mutated(mutation, "a a c")
