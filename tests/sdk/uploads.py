"""Drives a gateway with inference.sh's own Python client, unmodified: uploads, and runs that read them.

usage: python uploads.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import asyncio
import pathlib
import sys
import tempfile
import urllib.request

from inferencesh import UploadFileOptions, async_inference, inference

BASE_URL, KEY, _ = sys.argv[1:]
PLACES = {"v1": BASE_URL, "root": BASE_URL.removesuffix("/v1")}
TEXT = b"Revenue rose by 4 %, costs fell."


def read(uri):
    request = urllib.request.Request(uri, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return answer.read(), answer.headers["content-type"]


def run(client, document):
    task = client.run({"app": "openai/gpt-4o-mini", "input": {"prompt": "Summarize", "document": document}})
    assert task["status"] == 10 and "Revenue rose" in task["output"]["response"], task


for place, base_url in PLACES.items():
    client = inference(api_key=KEY, base_url=base_url)
    file = client.files.upload(TEXT, UploadFileOptions(filename="report.txt", content_type="text/plain"))
    assert file["id"].startswith("fil_") and file["size"] == len(TEXT), file
    assert read(file["uri"]) == (TEXT, "text/plain"), file
    print("ok", f"bytes_{place}")
    run(client, file["uri"])
    run(client, file["id"])
    print("ok", f"run_{place}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "quarter.csv")
        path.write_bytes(TEXT)
        # The client uploads files that an input names by their path, and puts their address there.
        run(client, str(path))
        file = client.files.upload(str(path))
    assert file["filename"] == "quarter.csv" and file["content_type"] == "text/csv", file
    print("ok", f"path_{place}")
    large = bytes(range(256)) * 40_000
    file = client.files.upload(large)
    assert read(file["uri"])[0] == large
    print("ok", f"large_{place}")


# An agent of the client's stamps its files' types itself, names no version of the envelope, and reads `success`.
agent = inference(api_key=KEY, base_url=PLACES["root"]).agent({"name": "reader", "core_app": {"ref": "openai/gpt-4o-mini"}})
file = agent.upload_file(TEXT, "report.txt")
assert read(file["uri"])[0] == TEXT and file["id"].startswith("fil_"), file
last = {}
agent.send_message("Summarize", files=[TEXT], on_message=lambda message: last.update({message["role"]: message}))
assert "Revenue rose" in "".join(part.get("text") or "" for part in last["assistant"]["content"]), last
print("ok", "agent")


async def also_async():
    client = async_inference(api_key=KEY, base_url=PLACES["root"])
    file = await client.files.upload(TEXT, UploadFileOptions(filename="a.txt", content_type="text/plain"))
    assert read(file["uri"])[0] == TEXT
    print("ok", "async")


asyncio.run(also_async())
