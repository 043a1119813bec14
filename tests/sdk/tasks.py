"""Drives a gateway with inference.sh's own Python client, unmodified: its default call and what belongs to it.

usage: python tasks.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import asyncio
import sys

from inferencesh import async_inference, inference

BASE_URL, KEY, _ = sys.argv[1:]
# Both with the prefix of versions and without it: the client's own default has none.
PLACES = {"v1": BASE_URL, "root": BASE_URL.removesuffix("/v1")}
APP = {"app": "openai/gpt-4o-mini", "input": {"prompt": "hello there"}}
SAID = "You said: hello there"


def check(case, task):
    assert task["status"] == 10, task
    assert task["output"]["response"] == SAID, task
    print("ok", case)


for place, base_url in PLACES.items():
    client = inference(api_key=KEY, base_url=base_url)
    check(f"run_{place}", client.run(dict(APP)))
    updates = list(client.run(dict(APP), stream=True))
    check(f"stream_{place}", updates[-1])
    task = client.run({**APP, "session": "new", "stream": True}, wait=False)
    assert task["status"] == 2, task
    print("ok", f"no_wait_{place}")
    check(f"wait_{place}", client.wait_for_completion(task["id"]))
    check(f"get_{place}", client.tasks.get(task["id"]).data)
    client.tasks.delete(task["id"])
    try:
        client.tasks.get(task["id"])
    except Exception as error:
        assert "404" in str(error), error
        print("ok", f"delete_{place}")


async def also_async():
    client = async_inference(api_key=KEY, base_url=PLACES["root"])
    check("async", await client.run(dict(APP)))


asyncio.run(also_async())
