"""Drives the client's Python SDK against the gateway whose address and key are the arguments; prints what it was answered."""

import json
import sys

from stimulir import StimulirClient
from stimulir_cli.http import ApiError

origin, key, model = sys.argv[1:]
client = StimulirClient(api_base=origin, api_key=key, tags=["journey", "second"])
answered = client.agent("Tides of {place}", variables={"place": "Brest"}, model=model, tag="call")
out = {
    "agent": [answered.status, answered.content, answered.error],
    "tokens": answered.token_usage.get("completion_tokens"),
    "models": client.models.list(),
    "image": len(client.images.generate(model="openai/gpt-image-1-mini", prompt="a tide", size="1024x1024")["data"]),
    "adapters": client.lab_adapters.list(),
    "jobs": client.lab_jobs.list(),
    "peers": client.compute.peers(),
    "traces": [json.loads(line) for line in client.traces.export(tag="journey").splitlines()],
}
workspace = client.request("GET", "/api/v1/users/me")["workspace_id"]
stored = client.storage.upload(b"The tide is high", workspace_id=workspace, filename="tides.txt")
listed = client.storage.list(workspace_id=workspace)
folders = client.storage.folders(workspace_id=workspace)
out["stored"] = client.storage.read_by_key(stored, workspace_id=workspace).decode()
out["objects"] = [[one["storage_key"] == stored, one["filename"], one["size_bytes"]] for one in listed]
out["folders"] = [[one["object_count"], one["total_bytes"]] for one in folders]
client.storage.delete(listed[0]["id"])
out["left"] = client.storage.list(workspace_id=workspace)
try:
    client.prompts.get("greeting")
except ApiError as error:
    out["prompts"] = [error.status_code, error.message]
print(json.dumps(out))
