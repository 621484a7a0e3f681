"""Device models held against real measurements: what they are off by, in three tiers, with the roofline beside it.

``tables.py`` reads measurements, ``names.py`` finds the device that a name means, ``operations.py`` and ``timing.py``
say what a row asks of a model, ``fit.py`` fits an operator's constants, ``calibrate.py`` does so for a user's device,
``run.py`` predicts rows that no fit has seen, ``scores.py`` sums them up.
"""

from __future__ import annotations

from flashsched.hw.validation.run import Validation, validate_models

__all__ = ["Validation", "validate_models"]
