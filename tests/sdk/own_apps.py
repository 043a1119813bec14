"""Drives a gateway with inference.sh's own Python client, unmodified: an app of the project, and one whose secret is missing.

usage: python own_apps.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import sys

from inferencesh import inference
from inferencesh.models.errors import RequirementsNotMetError

BASE_URL, KEY, _ = sys.argv[1:]
client = inference(api_key=KEY, base_url=BASE_URL.removesuffix("/v1"))
APP = {"app": "acme/count", "input": {"order": "a", "lines": [1, 2]}}

task = client.run(dict(APP))
assert task["status"] == 10 and task["output"]["total"] == 42, task
print("ok", "run")

updates = list(client.run(dict(APP), stream=True))
assert updates[-1]["status"] == 10 and updates[-1]["output"]["total"] == 42, updates
print("ok", "stream")

task = client.run(dict(APP), wait=False)
assert client.wait_for_completion(task["id"])["output"]["total"] == 42
print("ok", "no_wait")

try:
    client.run({"app": "acme/locked", "input": {"order": "a"}})
except RequirementsNotMetError as error:
    [missing] = error.errors
    assert (missing.type, missing.key, missing.action.type) == ("secret", "SHOP_KEY", "add_secret"), missing
    print("ok", "requirements")

try:
    client.run({"app": "acme/count", "input": {}})
except Exception as error:
    assert "422" in str(error) or getattr(error, "status_code", None) == 422, error
    print("ok", "input")
