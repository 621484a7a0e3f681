"""An operator of one's own: what it computes, how it may be scheduled, and nothing else.

    flashsched tune examples/my_op.py:blur --trials 16
    flashsched show examples/my_op.py:blur --stage loops

``blur`` smooths an image with a 3x3 window, in two passes. The template leaves three decisions to the tuner: how many
rows a thread takes, how wide a vector is, and where the first pass is computed.
"""

from __future__ import annotations

import numpy as np

import flashsched as fs
from flashsched import te


def reference(image: np.ndarray) -> np.ndarray:
    """The same in NumPy, for the tuner to check results against."""
    wide = image.astype(np.float64)
    rows = (wide[:-2] + wide[1:-1] + wide[2:]) / 3
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 3


@fs.operator(shape=(1026, 2050), reference=reference)
def blur(height, width, dtype="float32"):
    """Each output is the mean of a 3x3 window of the image."""
    image = te.placeholder((height, width), dtype, name="image")
    vertical = te.compute(
        (height - 2, width), lambda y, x: (image[y, x] + image[y + 1, x] + image[y + 2, x]) / 3, name="vertical"
    )
    out = te.compute(
        (height - 2, width - 2),
        lambda y, x: (vertical[y, x] + vertical[y, x + 1] + vertical[y, x + 2]) / 3,
        name="out",
    )
    return [image, out]


@blur.template("cpu")
def schedule(s, args, knobs, spec):
    """Rows in strips for the threads; the first pass inline, or once a strip."""
    out = args[-1]
    (vertical,) = out.op.inputs
    y, x = s[out].op.axis
    strip, _ = s[out].split(y, factor=knobs.choice("rows", (4, 8, 16, 32), default=16))
    lanes = knobs.choice("lanes", (8, 16, 32, 64), default=16)
    _, vector = s[out].split(x, factor=lanes, tail="cut")
    s[out].vectorize(vector)
    s[out].parallel(strip)
    if knobs.choice("first pass", ("inline", "once a strip"), default="once a strip") == "inline":
        s[vertical].compute_inline()
        return
    s[vertical].compute_at(s[out], strip)
    _, vector = s[vertical].split(s[vertical].op.axis[1], factor=lanes, tail="cut")
    s[vertical].vectorize(vector)


if __name__ == "__main__":
    result = fs.tune(fs.Task(blur), trials=8)
    assert result.best is not None, result.why_nothing()
    print(result.to_frame()[["trial", "status", "time_s", "gflops"]].to_string(index=False))
    picture = np.random.default_rng(0).random((1026, 2050), dtype=np.float32)
    print("largest difference from NumPy:", float(abs(result.kernel(picture) - reference(picture)).max()))
