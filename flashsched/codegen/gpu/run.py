"""A program's kernels run on a CUDA device: its arrays there and back, its plan carried out, its time taken."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from math import prod

from flashsched.codegen.arrays import Array
from flashsched.codegen.gpu.driver import CudaDevice
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

    def run(self, stmt: Stmt, memory: dict[Buffer, int], env: Mapping[Var, int]) -> None:
        """Start all that *stmt*, of the plan's body, says, in order.

        Args:
            stmt: what is to be done.
            memory: where each buffer lies on the device.
            env: the program's sizes, and the loops around.
        """
        match stmt:
            case Launch():
                self._launch(stmt, memory, env)
            case Seq():
                for inner in stmt.stmts:
                    self.run(inner, memory, env)
            case For():
                for turn in range(host_value(stmt.extent, env)):
                    self.run(stmt.body, memory, {**env, stmt.var: turn})
            case If():
                chosen = stmt.then if host_value(stmt.condition, env) else stmt.otherwise
                if chosen is not None:
                    self.run(chosen, memory, env)
            case Let():
                self.run(stmt.body, memory, {**env, stmt.var: host_value(stmt.value, env)})
            case Alloc():
                address = self.device.allocate(_bytes(stmt.buffer, env))
                try:
                    self.run(stmt.body, {**memory, stmt.buffer: address}, env)
                    self.device.wait()  # what is freed must not be in use
                finally:
                    self.device.free(address)
            case _:
                raise AssertionError(f"the host runs no {type(stmt).__name__}")  # pragma: no cover - an internal fault

    def _launch(self, launch: Launch, memory: Mapping[Buffer, int], env: Mapping[Var, int]) -> None:
        grid = [host_value(extent, env) for extent in launch.grid]
        if not prod(grid):
            return
        function, dynamic = self._functions[launch.name]
        words = [memory[buffer] for buffer in launch.buffers] + [env[scalar] for scalar in launch.scalars]
        self.device.launch(function, grid, launch.block, dynamic, words)


class DeviceArrays:
    """The arrays of one call on the device, from when it is made until `close`.

    Args:
        loaded: the program.
        arrays: those of its parameters, inputs first.
        env: its sizes.
    """

    def __init__(self, loaded: Loaded, arrays: Sequence[Array], env: Mapping[Var, int]) -> None:
        self._loaded, self._env = loaded, dict(env)
        program = loaded.plan.program
        self._buffers = (*program.params, *program.outputs)
        self._inputs = len(program.params)
        self._arrays = list(arrays)
        self._memory: dict[Buffer, int] = {}
        device = loaded.device
        device.use()
        try:
            for buffer, array in zip(self._buffers, self._arrays, strict=True):
                self._memory[buffer] = device.allocate(array.nbytes)
                device.to_device(self._memory[buffer], array.ctypes.data, array.nbytes)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the program's kernels."""
        self._loaded.run(self._loaded.plan.body, dict(self._memory), self._env)

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
        self._loaded.device.use()
        while self._memory:
            self._loaded.device.free(self._memory.popitem()[1])


def _bytes(buffer: Buffer, env: Mapping[Var, int]) -> int:
    size = dtypes.bits(buffer.dtype) // 8
    for extent, stride in zip(buffer.shape[:1], buffer.element_strides[:1], strict=True):
        for part in (extent, stride):
            size *= part if isinstance(part, int) else max(host_value(part, env), 0)
    return size
