"""The schedule primitives, one file each; see `registry` for what a primitive is."""

from __future__ import annotations

from flashsched.schedule.primitives.add_unit_loop import add_unit_loop
from flashsched.schedule.primitives.annotate import annotate, unannotate
from flashsched.schedule.primitives.bind import bind
from flashsched.schedule.primitives.blockize import blockize
from flashsched.schedule.primitives.cache_read import cache_read
from flashsched.schedule.primitives.cache_write import cache_write
from flashsched.schedule.primitives.compute_at import compute_at, compute_root
from flashsched.schedule.primitives.compute_inline import compute_inline
from flashsched.schedule.primitives.decompose_reduction import decompose_reduction
from flashsched.schedule.primitives.double_buffer import double_buffer
from flashsched.schedule.primitives.env_threads import env_threads
from flashsched.schedule.primitives.flatten_axes import flatten_axes
from flashsched.schedule.primitives.fuse import fuse
from flashsched.schedule.primitives.join_axes import join_axes
from flashsched.schedule.primitives.loop_partition import loop_partition, peel
from flashsched.schedule.primitives.pad_einsum import pad_einsum
from flashsched.schedule.primitives.parallel import parallel
from flashsched.schedule.primitives.pragma import pragma
from flashsched.schedule.primitives.prefetch import prefetch
from flashsched.schedule.primitives.registry import PRIMITIVES, apply, primitive, replay_loop_step
from flashsched.schedule.primitives.reindex import reindex
from flashsched.schedule.primitives.reorder import reorder
from flashsched.schedule.primitives.reverse_compute_at import reverse_compute_at
from flashsched.schedule.primitives.reverse_compute_inline import reverse_compute_inline
from flashsched.schedule.primitives.rfactor import rfactor
from flashsched.schedule.primitives.rolling_buffer import rolling_buffer
from flashsched.schedule.primitives.set_scope import set_scope
from flashsched.schedule.primitives.set_store_predicate import set_store_predicate
from flashsched.schedule.primitives.software_pipeline import software_pipeline
from flashsched.schedule.primitives.specialize import specialize
from flashsched.schedule.primitives.split import split
from flashsched.schedule.primitives.stage_mem import stage_mem
from flashsched.schedule.primitives.storage_align import storage_align
from flashsched.schedule.primitives.store_at import store_at
from flashsched.schedule.primitives.tensorize import tensorize
from flashsched.schedule.primitives.tile import tile
from flashsched.schedule.primitives.transform_layout import transform_layout
from flashsched.schedule.primitives.unroll import unroll
from flashsched.schedule.primitives.unroll_and_jam import unroll_and_jam
from flashsched.schedule.primitives.vectorize import vectorize

__all__ = [
    "PRIMITIVES",
    "add_unit_loop",
    "annotate",
    "apply",
    "bind",
    "blockize",
    "cache_read",
    "cache_write",
    "compute_at",
    "compute_inline",
    "compute_root",
    "double_buffer",
    "decompose_reduction",
    "env_threads",
    "flatten_axes",
    "fuse",
    "join_axes",
    "loop_partition",
    "pad_einsum",
    "parallel",
    "peel",
    "pragma",
    "prefetch",
    "primitive",
    "reindex",
    "reorder",
    "replay_loop_step",
    "reverse_compute_at",
    "reverse_compute_inline",
    "rfactor",
    "rolling_buffer",
    "set_scope",
    "set_store_predicate",
    "software_pipeline",
    "specialize",
    "split",
    "stage_mem",
    "storage_align",
    "store_at",
    "tensorize",
    "tile",
    "transform_layout",
    "unannotate",
    "unroll",
    "unroll_and_jam",
    "vectorize",
]
