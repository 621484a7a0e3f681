"""What is learned from a device's own rows beyond its constants: kept, held in bounds, and of that device alone."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError
from flashsched.hw import devices
from flashsched.hw.constants import (
    Fitted,
    Section,
    constants_for,
    fitted_in,
    shared_by,
    shipped_residual,
    users_constants,
)
from flashsched.hw.operators import (
    OPERATORS,
    ExplainsItself,
    conv2d,
    estimate,
    gemm,
    gemm_systolic,
    predicted,
    section_of,
)
from flashsched.hw.residual import LIMIT, Residual
from flashsched.hw.validation.boost import learned
from flashsched.hw.validation.calibrate import write_calibration

A100 = devices["a100-sim"]
DEFAULTS = {name: one.default for name, one in gemm.CONSTANTS.items()}
SIZES = {"m": np.array([64, 100, 4096]), "n": np.array([64, 4096, 4096]), "k": np.array([64, 512, 4096]),
         "batch": np.array([1, 4, 1])}  # fmt: skip
RESIDUALS = sorted((Path(gemm.__file__).parents[1] / "fitted" / "residuals").rglob("*.json"))


def constant(factor: float, names: tuple[str, ...]) -> Residual:
    """Whatever a row's traits are, the same factor."""
    values = np.full((1, 2), np.log(factor))
    return Residual(names, np.array([[0]]), np.array([[0.0]]), values)


def traits_of(dtype: str = "bfloat16") -> tuple[str, ...]:
    return tuple(gemm.explained(A100, DEFAULTS, dtype, SIZES)[1])


def test_trees_find_what_depends_on_the_traits() -> None:
    draw = np.random.default_rng(1)
    traits = draw.uniform(0, 1, (2000, 3))
    truth = np.where(traits[:, 0] > 0.5, 0.2, -0.1) + 0.1 * (traits[:, 1] > 0.3) * (traits[:, 0] > 0.5)
    seen, unseen = slice(0, 1500), slice(1500, None)
    found = learned(("a", "b", "c"), traits[seen], truth[seen] + draw.normal(0, 0.05, 1500))
    assert np.abs(np.log(found.factor(traits[unseen])) - truth[unseen]).mean() < 0.02
    again = learned(("a", "b", "c"), traits[seen], truth[seen])
    assert again.to_json() == learned(("a", "b", "c"), traits[seen], truth[seen]).to_json()


def test_noise_is_not_learned() -> None:
    draw = np.random.default_rng(2)
    traits, noise = draw.uniform(0, 1, (2000, 8)), draw.normal(0, 0.1, 2000)
    found = learned(tuple("abcdefgh"), traits[:1000], noise[:1000])
    left = np.abs(noise[1000:] - np.log(found.factor(traits[1000:]))).mean()
    assert left < 1.15 * np.abs(noise[1000:]).mean()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_residual_is_read_back_as_it_was_written(trees: int, depth: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    one = Residual(("a", "b"), draw.integers(0, 2, (trees, depth)), draw.normal(size=(trees, depth)).round(3),
                   draw.normal(size=(trees, 2**depth)).round(3))  # fmt: skip
    again = Residual.from_json(one.to_json(), "mine")
    rows = draw.normal(size=(20, 2))
    assert again.traits == one.traits
    assert np.allclose(again.factor(rows), one.factor(rows), rtol=1e-9)
    assert np.abs(np.log(one.factor(rows))).max() <= LIMIT


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"traits": ["a"], "trees": []}', '{"traits": ["a"], "trees": [[[1], [0.5], [0, 1]]]}',
     '{"traits": ["a"], "trees": [[[0], [0.5], [0, 1, 2]]]}', '{"traits": ["a"], "trees": [[[0], [0.5]]]}'],
)  # fmt: skip
def test_a_torn_residual_is_refused_by_name(text: str) -> None:
    with pytest.raises(DeviceError, match=r"mine\.json holds no residual"):
        Residual.from_json(text, "mine.json")


def test_a_residual_moves_a_prediction_but_never_below_the_roofline() -> None:
    plain = predicted(gemm, A100, "bfloat16", SIZES, DEFAULTS)
    for factor in (0.7, 1.2):
        moved = predicted(gemm, A100, "bfloat16", SIZES, DEFAULTS, constant(factor, traits_of()))
        assert np.allclose(moved, np.maximum(factor * plain, gemm.roofline(A100, "bfloat16", SIZES)))


def test_where_a_tree_says_that_more_is_faster_the_row_is_held_to_half_of_it() -> None:
    names = traits_of()
    edge = Residual(names, np.array([[names.index("n")]]), np.array([[6.5]]), np.array([[0.1, -0.1]]))
    sizes = {name: np.array([value, value]) for name, value in (("m", 8), ("k", 64), ("batch", 1))}
    half, whole = predicted(gemm, A100, "bfloat16", {**sizes, "n": np.array([64, 128])}, DEFAULTS, edge)
    free = gemm.seconds(A100, DEFAULTS, "bfloat16", {**sizes, "n": np.array([128, 128])})[0] * np.exp(-0.1)
    assert free < whole <= half * (1 + 1e-9)


def test_a_residual_of_another_version_of_the_model_is_told() -> None:
    with pytest.raises(DeviceError, match="another version of the model of 'gemm'"):
        predicted(gemm, A100, "bfloat16", SIZES, DEFAULTS, constant(1.1, ("no such trait",)))


def test_a_changed_device_has_none() -> None:
    for tier in (None, "family", "specs"):
        assert constants_for(A100, "gemm.tensor", gemm.CONSTANTS, tier=tier, own={}).residual is not None
        assert constants_for(devices["a100-sim[units=54]"], "gemm.tensor", gemm.CONSTANTS, tier=tier).residual is None


def test_what_devices_share_is_not_what_one_of_them_has() -> None:
    found = {tier: constants_for(A100, "gemm.tensor", gemm.CONSTANTS, tier=tier, own={}).residual
             for tier in ("calibrated", "specs")}  # fmt: skip
    assert found["calibrated"] is shipped_residual("a100-sim", "gemm.tensor")
    assert found["specs"] is shipped_residual(shared_by("defaults", without="ampere"), "gemm.tensor")
    assert shipped_residual(shared_by("defaults"), "gemm.tensor") is not found["specs"]


def test_a_users_own_residual_stands_beside_the_constants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_CONSTANTS", str(tmp_path))
    mine = Fitted(DEFAULTS, "calibrated", 5.0, 500, "mine", constant(1.25, traits_of()))
    write_calibration({"gemm.tensor": Section(devices={"a100-sim": mine})}, tmp_path / "a100-sim.toml", "a100-sim")
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a100-sim.gemm.tensor.json", "a100-sim.toml"]
    found, fitted = estimate(A100, "gemm", "bfloat16", SIZES)
    assert fitted.origin == "mine"
    assert np.allclose(found[2], 1.25 * gemm.seconds(A100, fitted.values, "bfloat16", SIZES)[2], rtol=1e-3)
    without = Section(devices={"a100-sim": replace(mine, residual=None)})
    write_calibration({"gemm.tensor": without}, tmp_path / "a100-sim.toml", "a100-sim")
    assert users_constants("a100-sim")["gemm.tensor"].devices["a100-sim"].residual is None


@functools.cache
def served_by(section: str) -> dict[str, set[str]]:
    """Devices that *section* predicts, with the traits that all its dtypes have there."""
    op, _, _ = section.partition(".")
    kind = next((one for one in ("tpu", "cpu") if section.endswith(one)), "gpu")
    model = OPERATORS[op, kind]
    assert isinstance(model, ExplainsItself)
    constants = {one: each.default for one, each in model.CONSTANTS.items()}
    sizes = {each: np.array([32]) for each in model.SIZES}
    found: dict[str, set[str]] = {}
    for spec in (devices[name] for name in devices):
        for dtype in (*spec.peaks, "float16/float32") if spec.kind == kind else ():
            if section_of(model, spec, dtype) == section:
                traits = set(model.explained(spec, constants, dtype, sizes)[1])
                found[spec.name] = found.get(spec.name, traits) & traits
    return found


@pytest.mark.parametrize("file", RESIDUALS, ids=lambda file: file.stem)
def test_what_ships_fits_the_models_as_they_are(file: Path) -> None:
    """Every device that would get a residual, its owner or all that share it, has the traits that it asks about."""
    owner, _, section = file.name.removesuffix(".json").partition(".")
    residual = Residual.from_json(file.read_text(encoding="utf-8"), file.name)
    served = served_by(section)
    if file.parent.name != "shared":
        served = {owner: served[owner]}
        assert owner in fitted_in(constants_family(owner))[section].devices
    elif not owner.startswith("defaults"):
        served = {name: traits for name, traits in served.items() if constants_family(name) == owner.split("-")[0]}
    assert served
    assert all(traits >= set(residual.traits) for traits in served.values())


def constants_family(name: str) -> str:
    from flashsched.hw.constants import family_of

    return family_of(devices[name])


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["a100-sim", "h100-sim", "b200-sim", "h200-sim", "l4-sim", "mi325x-sim"]),
    size=st.tuples(*[st.integers(1, 100)] * 3),
    axis=st.integers(0, 2),
)
def test_time_grows_with_work_whosever_residual_it_is(name: str, size: tuple[int, int, int], axis: int) -> None:
    less = [64 * one for one in size]
    more = [one * (2 if place == axis else 1) for place, one in enumerate(less)]
    columns = dict(zip(("m", "n", "k"), np.array([less, more]).T, strict=True)) | {"batch": np.array([1, 1])}
    (few, many), _ = estimate(devices[name], "gemm", "bfloat16", columns)
    assert many >= few / 1.25


def test_kernels_near_the_best_tell_the_same_time() -> None:
    near = gemm.narrowed(A100, DEFAULTS, "bfloat16", SIZES)
    assert near["kernels"].shape == (3, 3)
    assert np.allclose(gemm.seconds(A100, DEFAULTS, "bfloat16", near), gemm.seconds(A100, DEFAULTS, "bfloat16", SIZES))


def test_models_that_explain_themselves() -> None:
    assert all(isinstance(model, ExplainsItself) for model in (gemm, gemm_systolic, conv2d))
