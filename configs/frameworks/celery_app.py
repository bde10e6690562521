"""A task that calls a service, with Celery: its workers are forked, and the client may be made before that.

    celery --workdir configs/frameworks --app celery_app worker --pool prefork --concurrency 2

BROKER and BACKEND are Celery's URLs of both, redis://… in earnest.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

import mesh

app = Celery("celery_app", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
if app.conf.broker_url.startswith("filesystem://"):
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = dict.fromkeys(folders, os.environ["BROKER_FOLDER"])
users = mesh.connect("users", timeout=5)


@app.task
def name_of(number: int) -> Any:
    return users.get(number)["name"]


@app.task
def process() -> int:
    """The number of the worker's process."""
    return os.getpid()
