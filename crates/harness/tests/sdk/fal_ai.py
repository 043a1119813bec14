"""Drives fal with the official Python SDK and checks what a user of it would see.

usage: fal_ai.py RUN_HOST QUEUE_HOST CA_FILE KEY
"""

import os
import sys

run_host, queue_host, ca_file, key = sys.argv[1:5]
# Read when the client is loaded, host names alone: it asks by https whatever they are.
os.environ.update(FAL_RUN_HOST=run_host, FAL_QUEUE_RUN_HOST=queue_host, SSL_CERT_FILE=ca_file)

import fal_client  # noqa: E402

SCHNELL = "fal-ai/flux-1/schnell"
DEV = "fal-ai/flux/dev"
STREAMING = "fal-ai/flux/schnell"
KLING = "fal-ai/kling-video/v2.5-turbo/pro/text-to-video"
KOKORO = "fal-ai/kokoro/american-english"
WHISPER = "fal-ai/whisper"
ASK = {"prompt": "a tide"}
client = fal_client.SyncClient(key=key)


def refused(status, words, call):
    try:
        call()
    except fal_client.FalClientHTTPError as error:
        assert error.status_code == status, error.status_code
        assert words in str(error.message), error.message
        return error
    raise AssertionError(f"{status} was expected")


def run():
    answer = client.run(SCHNELL, {**ASK, "num_images": 2, "image_size": "square", "seed": 7})
    pictures = answer["images"]
    assert [picture["width"] for picture in pictures] == [512, 512], answer
    assert pictures[0]["url"].startswith("https://v3.fal.media/"), answer
    assert (answer["seed"], answer["prompt"]) == (7, "a tide"), answer


def run_by_data():
    answer = client.run(SCHNELL, {**ASK, "sync_mode": True, "output_format": "png"})
    assert answer["images"][0]["url"].startswith("data:image/png;base64,iVBOR"), answer


def submit_and_fetch():
    handle = client.submit(SCHNELL, ASK)
    # What is below the app is no part of where its requests are.
    assert handle.status_url.endswith(f"/fal-ai/flux-1/requests/{handle.request_id}/status"), handle
    assert isinstance(handle.status(), fal_client.Queued)
    assert isinstance(handle.status(with_logs=True), fal_client.InProgress)
    assert isinstance(handle.status(), fal_client.Completed)
    assert len(handle.get()["images"]) == 1
    assert client.result(SCHNELL, handle.request_id)["prompt"] == "a tide"


def subscribe():
    seen = []
    answer = client.subscribe(SCHNELL, ASK, with_logs=True, on_queue_update=lambda state: seen.append(type(state).__name__))
    assert answer["images"] and seen == ["Queued", "InProgress", "Completed"], seen


def cancel():
    handle = client.submit(DEV, ASK, priority="low", start_timeout=30)
    handle.cancel()
    state = client.status(DEV, handle.request_id)
    assert isinstance(state, fal_client.Completed) and state.error_type == "client_cancelled", state


def cancel_too_late():
    handle = client.submit(DEV, ASK)
    handle.get()
    refused(400, "ALREADY_COMPLETED", handle.cancel)


def stream():
    events = list(client.stream(STREAMING, ASK))
    assert [event.get("progress") for event in events] == [0.25, 0.75, None], events
    assert len(events[-1]["images"]) == 1, events


def wrong_fields():
    error = refused(422, "extra_forbidden", lambda: client.run(SCHNELL, {**ASK, "size": "1x1"}))
    assert error.message[0]["loc"] == ["body", "size"], error.message
    refused(422, "missing", lambda: client.run(SCHNELL, {}))
    refused(422, "14142", lambda: client.run(SCHNELL, {**ASK, "image_size": {"width": 20_000, "height": 1}}))


def policy():
    refused(422, "content_policy_violation", lambda: client.run(SCHNELL, {"prompt": "something forbidden"}))


def unknown_app():
    refused(404, "not found", lambda: client.run("fal-ai/nothing", ASK))


def unknown_request():
    refused(404, "not found", lambda: client.status(SCHNELL, "00000000-0000-4000-8000-000000000000"))


def wrong_key():
    refused(401, "No user found", lambda: fal_client.SyncClient(key="id:wrong").run(SCHNELL, ASK))


def film():
    handle = client.submit(KLING, {**ASK, "duration": "10", "aspect_ratio": "9:16"})
    assert isinstance(handle.status(), fal_client.Queued)
    answer = handle.get()["video"]
    assert (answer["content_type"], answer["file_size"]) == ("video/mp4", 10 * 65_536), answer
    assert answer["url"].startswith(f"https://{run_host}/files/"), answer
    off = client.submit(KLING, ASK)
    off.cancel()
    assert client.status(KLING, off.request_id).error_type == "client_cancelled"
    refused(422, "extra_forbidden", lambda: client.run(KLING, {**ASK, "resolution": "1080p"}))


def speech_and_recordings():
    answer = client.run(KOKORO, {**ASK, "voice": "af_heart"})
    assert answer["audio"]["content_type"] == "audio/wav", answer
    recording = fal_client.encode(b"a tide comes in", "audio/mpeg")
    heard = client.subscribe(WHISPER, {"audio_url": recording, "chunk_level": "word"})
    assert heard["text"] == "a tide comes in" and len(heard["chunks"]) == 4, heard
    refused(422, "file_download_error", lambda: client.run(WHISPER, {"audio_url": "https://sea.example/a.mp3"}))


for case in [
    run, run_by_data, submit_and_fetch, subscribe, cancel, cancel_too_late, stream, wrong_fields, policy, unknown_app,
    unknown_request, wrong_key, film, speech_and_recordings,
]:
    case()
    print("ok", case.__name__, flush=True)
