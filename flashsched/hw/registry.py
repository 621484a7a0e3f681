"""Devices by name: those shipped as data, this machine (``cpu``), and a user's own TOML files, by path or by name.

It stands above ``spec_file.py`` and ``host.py`` because it alone knows names and aliases; a device is added by putting
a file into ``specs/``, or, by a user, into the folder ``$FLASHSCHED_DEVICES`` (by default ``devices`` in the user's
data folder). A file is read when its device is asked for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.host import host_spec, load_measured
from flashsched.hw.predict import model_for
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.spec_base import shipped_stems, shipped_text
from flashsched.hw.spec_file import parse_spec

__all__ = ["Devices", "devices"]

_ALSO = {"sm_count": "units", "num_sms": "units", "cores": "units", "compute_units": "units"}
"""What vendors call the units, accepted where a device is made with changes."""


_HERE = ("cpu", "cuda")
"""This machine and its GPU."""


class UnknownDeviceError(DeviceError, AttributeError):
    """No device has that name (an AttributeError too, so that ``hasattr(devices, …)`` works)."""


@functools.cache
def _shipped(stem: str) -> DeviceSpec | None:
    """The device of a shipped file."""
    text = shipped_text(stem)
    return None if text is None else parse_spec(text, f"{stem}.toml")


@functools.cache
def _shipped_aliases() -> dict[str, DeviceSpec]:
    specs = [spec for stem in shipped_stems() if (spec := _shipped(stem)) is not None]
    return {alias: spec for spec in specs for alias in spec.aliases}


def _users_folder() -> Path:
    given = os.environ.get("FLASHSCHED_DEVICES", "").strip()
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("flashsched", appauthor=False)) / "devices"


def _users() -> dict[str, DeviceSpec]:
    """The devices in the user's folder, by name; read anew where a file has changed.

    Raises:
        DeviceError: a file is no device and no device's calibration, or has the name of another.
    """
    found: dict[str, DeviceSpec] = {}
    others: dict[Path, DeviceError] = {}
    for path in sorted(_users_folder().glob("*.toml")):
        try:
            spec = _read(path, path.stat().st_mtime_ns)
        except DeviceError as error:
            others[path.absolute()] = error
            continue
        taken = spec.name in found or _shipped(spec.name.removesuffix("-sim")) is not None
        if taken:
            raise DeviceError(
                f"{path}: a device called '{spec.name}' is known already",
                hint="give it another name, e.g. " + spec.name.removesuffix("-sim") + "-mine-sim",
            )
        found[spec.name] = spec
    calibrations = {Path(spec.calibration) for spec in found.values() if spec.calibration is not None}
    for path, problem in others.items():
        if path not in calibrations:
            raise problem
    return found


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed_at: int) -> DeviceSpec:
    return DeviceSpec.from_toml(path)


class Devices:
    """The devices flashsched knows; use the one instance ``devices``.

    >>> devices["a100-sim"].units
    108
    >>> devices["gpu-a100"] is devices["a100-sim"], "tpu-v4" in devices
    (True, True)
    >>> devices.NVIDIA_A100(sm_count=54).name
    'a100-sim[units=54]'
    >>> devices["a100-sim[units=54]"] == devices.NVIDIA_A100(sm_count=54)
    True
    """

    def __getitem__(self, name: str) -> DeviceSpec:
        """The device of that name, alias, or TOML file; ``a100-sim[units=54]`` is one with figures changed.

        Raises:
            DeviceError: no such device (with the nearest names), or a file that is not a device.
        """
        if not isinstance(name, str):
            raise UnknownDeviceError(
                f"a device is looked up by its name, e.g. 'a100-sim', got a {type(name).__name__}",
                hint="a spec of one's own is written to a file with spec.to_toml(), and goes by that file's path",
            )
        if name.lower().endswith(".toml") or os.sep in name or "/" in name:
            return self.load(name)
        base, bracket, changes = name.partition("[")
        key = base.strip().lower()
        if key == "cpu":
            spec = host_spec(load_measured())
        else:
            found = self._find(key)
            if found is None:
                known = [*self, *_aliases()]
                raise UnknownDeviceError(
                    f"unknown device {name!r}",
                    hint=f"{did_you_mean(key, known)} (`flashsched devices` lists them, "
                    "and the path of a TOML file is one)",
                )
            spec = found
        return spec.replace(**_changes(name, changes)) if bracket else spec

    def __getattr__(self, name: str) -> functools.partial[DeviceSpec]:
        """A maker of the device whose alias *name* spells: ``devices.NVIDIA_A100(sm_count=54)``."""
        key = name.lower().replace("_", "-")
        if name.startswith("_"):
            raise AttributeError(name)
        if key != "cpu" and self._find(key) is None:
            known = [alias.upper().replace("-", "_") for alias in _aliases()]
            raise UnknownDeviceError(f"no device is called {name}", hint=did_you_mean(name.upper(), known))
        return functools.partial(self._made, key)

    def __iter__(self) -> Iterator[str]:
        """The devices' own names: ``cpu`` first, then the simulated ones in order, then the user's."""
        return iter(["cpu", *(f"{stem}-sim" for stem in shipped_stems()), *_users()])

    def __len__(self) -> int:
        return sum(1 for _ in self)  # list() would ask for the length first

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name == "cpu" or self._find(name) is not None)

    def __dir__(self) -> list[str]:
        makers = [alias.upper().replace("-", "_") for alias in _aliases()]
        return sorted([*super().__dir__(), *(maker for maker in makers if maker.isidentifier())])

    def load(self, path: str | Path) -> DeviceSpec:
        """The device in a TOML file.

        Raises:
            DeviceError: what is wrong with it; also where it bears the name of a device that ships and has other
                figures, whose calibration and logs would be taken for its own.
        """
        if not isinstance(path, str | Path):
            raise DeviceError(f"the path of a device file is a text or a Path, got a {type(path).__name__}")
        spec = DeviceSpec.from_toml(Path(path).expanduser())
        ships = _shipped(spec.name.removesuffix("-sim"))
        if spec.name in _HERE or (ships is not None and ships.fingerprint != spec.fingerprint):
            whose = "what runs here" if ships is None else f"a device that ships, {ships.title}, with other figures"
            raise DeviceError(
                f"{path}: '{spec.name}' is the name of {whose}",
                hint=f'give it a name of its own, e.g. name = "{spec.name.removesuffix("-sim")}-mine-sim"',
            )
        return spec

    def for_simulation(self, name: str) -> DeviceSpec:
        """``devices[name]``, if work can be simulated on it.

        Raises:
            DeviceError: no such device, or its kind has no model (says which kinds have).
        """
        spec = self[name]
        model_for(spec)
        return spec

    def _made(self, key: str, /, *unnamed: object, **changes: object) -> DeviceSpec:
        if unnamed:
            raise DeviceError(f"what changes is given by name, got {unnamed[0]!r} alone", hint="e.g. sm_count=54")
        named = {_ALSO.get(field, field): value for field, value in changes.items()}
        return self[key].replace(**named)

    @staticmethod
    def _find(key: str) -> DeviceSpec | None:
        """The device of that name or alias, a shipped one first."""
        found = _shipped(key.removesuffix("-sim")) or _shipped_aliases().get(key)
        if found is None:
            users = _users()
            found = users.get(key) or users.get(f"{key}-sim")
            found = found or next((spec for spec in users.values() if key in spec.aliases), None)
        return found


def _aliases() -> list[str]:
    return [*_shipped_aliases(), *(alias for spec in _users().values() for alias in spec.aliases)]


def _changes(name: str, text: str) -> dict[str, Any]:
    """The changes spelled in ``name[units=54,clock_hz=1.2e9]``."""
    if not text.endswith("]"):
        raise UnknownDeviceError(f"cannot read the changes in device name {name!r}: it does not end in ]")
    changes: dict[str, Any] = {}
    for part in text.removesuffix("]").split(","):
        field, equals, value = part.strip().partition("=")
        number: int | float
        try:
            number = int(value)
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                equals = ""
        if not equals:
            raise UnknownDeviceError(
                f"cannot read the changes in device name {name!r}: {part.strip()!r} is no field=number",
                hint="e.g. a100-sim[units=54]; keep a device with whole tables changed as a file: spec.to_toml()",
            )
        changes[_ALSO.get(field, field)] = number
    return changes


devices = Devices()
"""The one registry: ``devices["a100-sim"]``, ``for name in devices``, ``devices.load("my.toml")``."""
