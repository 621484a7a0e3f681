"""A search that takes next to no time, on a device whose trials end as a test says."""

import flashsched as fs
from flashsched.hw import devices
from flashsched.testing import programs
from flashsched.tune.logs.log import read
from flashsched.tune.runner import SimulatedRunner, Trial
from flashsched.tune.task import Task


def two_splits(s, args, knobs, spec):
    """A few hundred schedules that take next to no time to make."""
    out = args[-1]
    i, j = out.op.axis
    for name, axis in (("i", i), ("j", j)):
        _, inner = s[out].split(axis, factor=knobs.choice(name, (1, 2, 3, 4, 6, 8, 12, 16, 24)))
        if knobs.choice(f"unrolled {name}", (False, True)):
            s[out].unroll(inner)
    if knobs.choice("order", ("rows", "columns")) == "columns":
        s[out].reorder(s[out].loops[2], s[out].loops[0])


CHEAP = Task.from_te(programs.pointwise(33, 40), template={"gpu": two_splits})


def canonical(record):
    return fs.Trace.from_json(record.trace).canonical()


def trials_of(path):
    return [record for record in read(path) if "retimes" not in record.extra]


class Scripted(SimulatedRunner):
    """A device whose trials end as a test says: ``script(number, trial) -> trial``, and for the finals ``settle``."""

    def __init__(self, script=None, settle=None):
        super().__init__(devices.for_simulation("a100-sim"))
        self.script, self.settle, self.ran, self.batches = script, settle, [], []

    def run(self, task, candidates, best_s, beside=()):
        self.batches.append((len(candidates), best_s))
        for index, trial in super().run(task, candidates, best_s):
            self.ran.append(candidates[index].trace.canonical())
            yield index, trial if self.script is None else self.script(len(self.ran) - 1, trial)

    def finals(self, task, candidates):
        if self.settle is None:
            proof = {"max_error": 0.0, "tolerance": 1.0}
            return [Trial("correct", trial.times_s, None, proof) for _, trial in super().run(task, candidates, None)]
        return [self.settle(candidate, trial) for candidate, (_, trial) in
                zip(candidates, super().run(task, candidates, None), strict=True)]  # fmt: skip


def tune(task=CHEAP, trials=8, **options):
    return fs.tune(task, device="a100-sim", trials=trials, **options)
