"""Fixtures of the end-to-end tests."""

from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end import cluster, stage


@pytest.fixture
def open_stage(tmp_path: Path):
    """Open a service and its simulator on a folder of this test."""
    return partial(stage.open_stage, tmp_path)


@pytest.fixture
def open_cluster(tmp_path: Path, kafka, topic_prefix):
    """Open the same on Kafka: a receiver and two workers, processes of their own."""
    return partial(cluster.open_cluster, tmp_path, kafka.url, topic_prefix)


@pytest.fixture(params=["serve", pytest.param("cluster", marks=pytest.mark.kafka)])
def open_either(request: pytest.FixtureRequest):
    """Open a stage of one process, or a cluster: what is promised holds on both."""
    name = "open_stage" if request.param == "serve" else "open_cluster"
    return request.getfixturevalue(name)
