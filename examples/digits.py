"""A trained network on real images, its layers run by tuned kernels.

scikit-learn trains a multi-layer perceptron on its handwritten digits (1,797 images of 8x8 pixels). Each layer is then
one kernel, ``relu(x @ w + b)``, tuned for this machine and loaded back from the log; the predictions must be those of
scikit-learn on every test image.

    python examples/digits.py [--trials 8] [--log runs/digits.jsonl]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import flashsched as fs


def layer_task(rows: int, weights: np.ndarray, *, last: bool) -> fs.Task:
    """The task of one layer for a batch of *rows* images: a matmul, its bias and (but for the last) a ReLU."""
    depth, width = weights.shape
    return fs.Task("matmul", shape=(rows, width, depth), bias=True, activation=None if last else "relu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8, help="schedules tried for each layer")
    parser.add_argument("--log", type=Path, default=Path("runs/digits.jsonl"), help="where the tuning log is kept")
    arguments = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.3, random_state=0)
    model = MLPClassifier(hidden_layer_sizes=(128, 64), max_iter=400, tol=1e-3, random_state=0).fit(train_x, train_y)
    print(f"scikit-learn: {100 * model.score(test_x, test_y):.1f}% of {len(test_x)} test images right")

    weights = [np.ascontiguousarray(w, dtype=np.float32) for w in model.coefs_]
    biases = [np.ascontiguousarray(b, dtype=np.float32) for b in model.intercepts_]
    kernels = []
    for number, w in enumerate(weights):
        task = layer_task(len(test_x), w, last=number == len(weights) - 1)
        result = fs.tune(task, trials=arguments.trials, log=arguments.log)
        assert result.best is not None, result.why_nothing()
        kernels.append(fs.load(arguments.log, task))
        print(f"layer {number}: {w.shape[0]:3d} -> {w.shape[1]:3d}   {result.best.median_s * 1e6:7.1f} us")

    def predict(x: np.ndarray) -> np.ndarray:
        for kernel, w, b in zip(kernels, weights, biases, strict=True):
            x = kernel(x, w, b)
        return model.classes_[x.argmax(axis=1)]

    ours, theirs = predict(test_x), model.predict(test_x)
    start = time.perf_counter()
    for _ in range(100):
        predict(test_x)
    print(f"all layers: {(time.perf_counter() - start) * 1e4:.0f} us for {len(test_x)} images")
    same = int((ours == theirs).sum())
    print(f"same prediction as scikit-learn on {same} of {len(test_x)} test images")
    return 0 if same == len(test_x) else 1


if __name__ == "__main__":
    sys.exit(main())
