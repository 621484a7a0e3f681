"""A program's kernels run on a CUDA device: its arrays there and back, its plan carried out, its time taken."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from math import prod

from flashsched.codegen.arrays import Array
from flashsched.codegen.gpu.driver import CudaDevice, Start
from flashsched.codegen.gpu.emit import shared_bytes
from flashsched.codegen.gpu.plan import Launch, Plan, host_value
from flashsched.schedule.ir import Alloc, Buffer, For, If, Let, Seq, Stmt
from flashsched.te import dtypes
from flashsched.te.expr import Var

__all__ = ["DeviceArrays", "Loaded"]


class Loaded:
    """The kernels of *plan* as a module of the driver's.

    Raises:
        DeviceError: the driver refuses the PTX.
    """

    def __init__(self, plan: Plan, ptx: str, device: CudaDevice) -> None:
        self.plan, self.device = plan, device
        device.use()
        module = device.load(ptx)
        weakref.finalize(self, device.unload, module).atexit = False  # the driver may be gone by then
        self._functions: dict[str, tuple[int, int]] = {}
        for launch in plan.launches:
            _, dynamic = shared_bytes(launch)
            self._functions[launch.name] = device.function(module, launch.name, dynamic), dynamic

    def started(self, launch: Launch, memory: Mapping[Buffer, int], env: Mapping[Var, int]) -> Start | None:
        """The launch with its arguments packed; None where its grid is empty."""
        grid = [host_value(extent, env) for extent in launch.grid]
        if not prod(grid):
            return None
        function, dynamic = self._functions[launch.name]
        words = [memory[buffer] for buffer in launch.buffers] + [env[scalar] for scalar in launch.scalars]
        return self.device.start(function, grid, launch.block, dynamic, words)


class DeviceArrays:
    """The arrays of one call on the device, and the launches that the call comes to, until `close`.

    What the host decides (loops, conditions, grids) depends on sizes alone, so it is worked out once, however often the
    launches are repeated. Memory that kernels hand each other is taken once, too: launches run in order, so the next
    run's first store comes after the last one's last read.

    Args:
        loaded: the program.
        arrays: those of its parameters, inputs first.
        env: its sizes.
    """

    def __init__(self, loaded: Loaded, arrays: Sequence[Array], env: Mapping[Var, int]) -> None:
        self._loaded = loaded
        program = loaded.plan.program
        self._buffers = (*program.params, *program.outputs)
        self._inputs = len(program.params)
        self._arrays = list(arrays)
        self._held: list[int] = []
        self._starts: list[Start] = []
        device = loaded.device
        self._freed = weakref.finalize(self, _free, device, self._held)
        self._freed.atexit = False  # the driver may be gone by then
        device.use()
        try:
            memory = {}
            for buffer, array in zip(self._buffers, self._arrays, strict=True):
                memory[buffer] = self._allocate(array.nbytes)
                device.to_device(memory[buffer], array.ctypes.data, array.nbytes)
            self._memory = dict(memory)
            self._plan(loaded.plan.body, memory, env)
        except BaseException:
            self.close()
            raise

    def _allocate(self, size: int) -> int:
        address = self._loaded.device.allocate(size)
        self._held.append(address)
        return address

    def _plan(self, stmt: Stmt, memory: Mapping[Buffer, int], env: Mapping[Var, int]) -> None:
        """Note all launches that *stmt*, of the plan's body, comes to, in order.

        Args:
            stmt: what is to be done.
            memory: where each buffer lies on the device.
            env: the program's sizes, and the loops around.
        """
        match stmt:
            case Launch():
                start = self._loaded.started(stmt, memory, env)
                if start is not None:
                    self._starts.append(start)
            case Seq():
                for inner in stmt.stmts:
                    self._plan(inner, memory, env)
            case For():
                for turn in range(host_value(stmt.extent, env)):
                    self._plan(stmt.body, memory, {**env, stmt.var: turn})
            case If():
                chosen = stmt.then if host_value(stmt.condition, env) else stmt.otherwise
                if chosen is not None:
                    self._plan(chosen, memory, env)
            case Let():
                self._plan(stmt.body, memory, {**env, stmt.var: host_value(stmt.value, env)})
            case Alloc():
                self._plan(stmt.body, {**memory, stmt.buffer: self._allocate(_bytes(stmt.buffer, env))}, env)
            case _:
                raise AssertionError(f"the host runs no {type(stmt).__name__}")  # pragma: no cover - an internal fault

    def start(self) -> None:
        """Start the program's kernels."""
        for start in self._starts:
            start()

    def seconds(self, calls: int) -> float:
        """How long *calls* runs take on the device, one after another, without copies."""
        self._loaded.device.use()

        def run() -> None:
            for _ in range(calls):
                self.start()

        return self._loaded.device.seconds(run)

    def fetch(self) -> None:
        """Wait, and copy the outputs into their arrays."""
        device = self._loaded.device
        device.wait()
        for buffer, array in list(zip(self._buffers, self._arrays, strict=True))[self._inputs :]:
            device.to_host(array.ctypes.data, self._memory[buffer], array.nbytes)

    def close(self) -> None:
        """Give the device's memory back."""
        self._freed()


def _free(device: CudaDevice, held: list[int]) -> None:
    device.use()
    while held:
        device.free(held.pop())


def _bytes(buffer: Buffer, env: Mapping[Var, int]) -> int:
    size = dtypes.bits(buffer.dtype) // 8
    for extent, stride in zip(buffer.shape[:1], buffer.element_strides[:1], strict=True):
        for part in (extent, stride):
            size *= part if isinstance(part, int) else max(host_value(part, env), 0)
    return size
