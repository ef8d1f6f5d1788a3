"""synced_early: a file is on the disk before its writer has ended."""

from __future__ import annotations

import os
import threading

from hookrun.checkpoints.early_sync import synced_early

BOUND_SECS = 30


def test_a_file_that_grows_is_synced_meanwhile(tmp_path, monkeypatch):
    synced, fsync = threading.Event(), os.fsync

    def noted(descriptor):
        fsync(descriptor)
        synced.set()

    monkeypatch.setattr(os, "fsync", noted)
    with synced_early(str(tmp_path)):
        (tmp_path / "data").write_bytes(b"some")
        assert synced.wait(BOUND_SECS)


def test_a_file_that_cannot_be_synced_is_left_to_its_writer(tmp_path, monkeypatch):
    tried = threading.Semaphore(0)

    def broken(descriptor):
        tried.release()
        raise OSError("of the disk")

    monkeypatch.setattr(os, "fsync", broken)
    (tmp_path / "data").write_bytes(b"some")
    with synced_early(str(tmp_path)):
        for _ in range(2):
            assert tried.acquire(timeout=BOUND_SECS)
