"""The run store: every finished training, kept once and found again by its configuration.

A run's key is a hash of its full configuration and of :data:`RESULTS_VERSION`. Its folder holds readable files:
``config.json``, ``history.csv`` and ``meta.json`` (status, wall time, machine, versions, checksums), the weights along
the training, as safetensors, if it was asked to keep any, and ``SHA256SUMS`` over all of them, so that
``sha256sum -c SHA256SUMS`` needs none of this code. All of it is data: nothing is ever unpickled.

A folder appears under its key by one rename after everything is written, so a killed process leaves no half-written
run, and two processes may store the same run. On loading all checksums are verified; a run that does not fit is said
so, set aside and trained again. ``python -m eureka_lib.store`` lists, verifies, exports, prunes and merges.
"""

from eureka_lib.store.runs import RESULTS_VERSION, Config, Run, RunStore, StoreError, key_of

__all__ = ["RESULTS_VERSION", "Config", "Run", "RunStore", "StoreError", "key_of"]
