"""An `Explanation` for people, for programs, and for tables: text, JSON values, rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flashsched.errors import counted
from flashsched.tune.figures import figure_text, percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.tune.explaining.explain import Ablation, Explanation, Timed
    from flashsched.tune.logs.nearest import Misfit

__all__ = ["bytes_text", "explanation_json", "explanation_rows", "explanation_text", "finite", "misfits_text"]

_SAME = 1.02  # a schedule within 2 % of the whole is called as fast


def explanation_text(found: Explanation) -> str:
    """All of it in lines: what it takes, what bounds it, where the speed comes from, what each step is worth."""
    title = f"{found.task.op} {','.join(map(str, found.task.shape))} {found.task.dtype}"
    title += "".join(f" {key}={value}" for key, value in found.task.options.items())
    if found.record is None:
        lines = [f"no record of {title} for {found.device} fits"]
        return "\n".join([*lines, *misfits_text(found.missed)])
    lines = [f"{title} on {found.device}: trial {found.record.trial}, record {found.record.record_id}", ""]
    lines += [*_speed(found), "", *_limits(found), "", *_worths(found), "", *_ablations(found)]
    return "\n".join(lines)


def misfits_text(missed: Sequence[Misfit]) -> list[str]:
    """The records that come nearest, with all that keeps them from serving."""
    if not missed:
        return ["  there is no record at all"]
    lines = ["  the nearest are"]
    for misfit in missed:
        record = misfit.record
        took = f", {seconds_text(record.median_s)}" if record.times_s else ""
        shape = ",".join(map(str, record.task["shape"]))
        lines.append(
            f"  {record.record_id}  distance {misfit.distance:.3g}   "
            f"{record.task['op']} {shape} {record.task['dtype']} on {record.device}{took}"
        )
        lines += [f"      {each.what + ':':<9}{each.reason} ({each.distance:.3g})" for each in misfit.differences]
    return lines


def _speed(found: Explanation) -> list[str]:
    assert found.record is not None
    assert found.whole is not None
    simulated = found.record.source == "simulated"
    rate = f", {figure_text(found.task.flops / found.time_s / 1e9)} GFLOP/s" if found.task.flops else ""
    lines = [f"  time         {seconds_text(found.time_s)}{rate}{' (simulated)' if simulated else ''}"]
    if not simulated:
        low, high = map(seconds_text, found.whole.interval_s)
        lines.append(
            f"  just now     {seconds_text(found.whole.time_s)} ({low} to {high}; drift {_times(found.drift)})"
        )
    if not math.isnan(found.fma_use):
        lines.append(f"  arithmetic   {percent_text(found.fma_use)} of the device's peak")
    if found.prediction is not None:
        roof = seconds_text(found.prediction.roofline_s)
        lines.append(f"  roofline     {percent_text(found.share_of_roofline)} of it ({roof} at least)")
    return lines


def _limits(found: Explanation) -> list[str]:
    if found.prediction is None:
        return []
    limits = sorted(found.prediction.breakdown.items(), key=lambda item: -item[1])
    lines = [f"  bound by {found.prediction.bound}, says the device's model; what each limit alone would take"]
    lines += [f"    {name:<12}{seconds_text(seconds):>10}" for name, seconds in limits if seconds > 0]
    lines += ["  bytes moved, says the model"]
    return [*lines, *(f"    {name:<12}{bytes_text(moved):>10}" for name, moved in found.prediction.bytes.items())]


def _worths(found: Explanation) -> list[str]:
    if found.default is None or not found.default.times_s:
        why = (
            "" if found.default is None else f": {found.default.status}, {(found.default.error or '').splitlines()[:1]}"
        )
        return [f"  the default nest could not be run{why}, so no step has a share of the speed-up"]
    if not found.worths:
        return ["  the schedule is the default nest"]
    least = "at least " if found.default.least else ""
    head = f"  {least}{_times(found.speedup)} as fast as the default nest ({least}{seconds_text(found.default.time_s)})"
    how = "all orders" if found.exact else f"{found.orders} orders (seed {found.seed})"
    lines = [f"{head}; each group's part, over {how} of putting them in place"]
    width = max(len(worth.group.name) for worth in found.worths)
    for worth in found.worths:
        spread = f" ± {worth.spread * 100:.0f}" if worth.spread else ""
        share = f"{worth.share * 100:.0f}{spread} %"
        count = counted(len(worth.group.steps), "step")
        lines.append(f"    {worth.group.name:<{width}}  {_times(worth.factor):>7}  {share:>10}   {count}")
    if found.failed:
        lines.append(f"  {found.failed} of the schedules on the way could not be run, and count as the default nest")
    return lines


def _ablations(found: Explanation) -> list[str]:
    if not found.ablations:
        return []
    lines = ["  without one step"]
    texts = [each.step.lines()[0] for each in found.ablations]
    width = min(60, max(map(len, texts)))
    for each, text in zip(found.ablations, texts, strict=True):
        name = f"{each.number:>3} {text if len(text) <= width else text[: width - 1] + '…'}"
        lines.append(f"  {name:<{width + 4}}  {_effect(each)}{_falls(each)}")
    return lines


def _effect(each: Ablation) -> str:
    if not each.timed.times_s:
        return f"{each.timed.status}: {(each.timed.error or '').splitlines()[0] if each.timed.error else ''}"
    at_least = "at least " if each.timed.least else ""
    low, high = each.interval
    if low > 1 and each.slower > _SAME:
        word = f"{at_least}{_times(each.slower)} the time"
    elif high < 1 and each.slower < 1 / _SAME:
        word = f"FASTER: {_times(each.slower)} the time"
    else:
        word = f"no difference ({_times(low)} to {_times(high)})" if low < high else "no difference"
    return f"{seconds_text(each.timed.time_s):>8}  {word}"


def _falls(each: Ablation) -> str:
    if not each.fallen:
        return ""
    numbers = _ranges([fallen.number for fallen in each.fallen])
    return f"; {numbers} {'falls' if len(each.fallen) == 1 else 'fall'} with it"


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers that rise, with runs of them joined: ``1-4, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _times(factor: float) -> str:
    return f"{figure_text(factor)}×" if math.isfinite(factor) else "–"


def bytes_text(count: float) -> str:
    """A number of bytes with three digits and a fitting unit.

    >>> bytes_text(3.2e6), bytes_text(12)
    ('3.20 MB', '12 B')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{figure_text(count / scale)} {unit}"
    return f"{count:.0f} B"


def explanation_rows(found: Explanation) -> list[dict[str, Any]]:
    """The rows of `Explanation.to_frame`."""
    if found.record is None:
        return [
            {
                "record_id": misfit.record.record_id,
                "distance": misfit.distance,
                **{name: getattr(each, name) for name in ("what", "there", "here", "reason")},
            }
            for misfit in found.missed
            for each in misfit.differences
        ]
    group = {number: worth.group.name for worth in found.worths for number in worth.group.steps}
    return [
        {
            "step": each.step.lines()[0],
            "group": group.get(each.number, ""),
            "falls": [fallen.number for fallen in each.fallen],
            "time_s": each.timed.time_s,
            "slower": each.slower,
            "low": each.interval[0],
            "high": each.interval[1],
            "status": each.timed.status,
        }
        for each in found.ablations
    ]


def explanation_json(found: Explanation) -> dict[str, Any]:
    """The whole explanation as JSON values; what is no number is null."""
    prediction = found.prediction
    return {
        "task": found.task.to_json(),
        "device": found.device,
        "record": None if found.record is None else found.record.record_id,
        "source": None if found.record is None else found.record.source,
        "missed": [
            {
                "record": misfit.record.record_id,
                "distance": misfit.distance,
                "differences": [
                    {name: getattr(each, name) for name in ("what", "there", "here", "distance", "reason")}
                    for each in misfit.differences
                ],
            }
            for misfit in found.missed
        ],
        "time_s": finite(found.time_s),
        "gflops": finite(found.task.flops / found.time_s / 1e9) if found.time_s > 0 else None,
        "fma_use": finite(found.fma_use),
        "share_of_roofline": finite(found.share_of_roofline),
        "roofline_s": None if prediction is None else prediction.roofline_s,
        "bound": None if prediction is None else prediction.bound,
        "breakdown_s": None if prediction is None else dict(prediction.breakdown),
        "bytes": None if prediction is None else dict(prediction.bytes),
        "whole": _timed_json(found.whole),
        "default": _timed_json(found.default),
        "speedup": finite(found.speedup),
        "drift": finite(found.drift),
        "orders": {"count": found.orders, "all": found.exact, "seed": found.seed},
        "groups": [
            {
                "name": worth.group.name,
                "steps": list(worth.group.steps),
                "factor": finite(worth.factor),
                "share": worth.share,
                "spread": worth.spread,
            }
            for worth in found.worths
        ],
        "steps": [
            {
                "number": each.number,
                "step": each.step.to_json(),
                "falls": [{"number": fallen.number, "reason": fallen.reason} for fallen in each.fallen],
                "slower": finite(each.slower),
                "slower_interval": [finite(bound) for bound in each.interval],
                **(_timed_json(each.timed) or {}),
            }
            for each in found.ablations
        ],
    }


def _timed_json(timed: Timed | None) -> dict[str, Any] | None:
    if timed is None:
        return None
    low, high = map(finite, timed.interval_s)
    return {
        "time_s": finite(timed.time_s),
        "interval_s": [low, high],
        "status": timed.status,
        "error": timed.error,
        "at_least": timed.least,
    }


def finite(value: float) -> float | None:
    """*value*, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None
