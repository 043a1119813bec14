"""Drives a gateway with the official Python SDK, unmodified, where another cloud's model makes the videos.

usage: veo.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import warnings

import openai
from driver import openai_client, refused, run

VEO = "google/veo-3.0-generate-001"
SECOND_BYTES = 64 * 1024
PICTURE = "data:image/png;base64,iVBORw0KGgo="

warnings.simplefilter("ignore", DeprecationWarning)


def made(client, prompt="tide", **more):
    return client.videos.create_and_poll(model=VEO, prompt=prompt, poll_interval_ms=20, **more)


def create_poll_and_download(client):
    video = client.videos.create(model=VEO, prompt="sea ", seconds="8", size="1280x720")
    assert (video.object, video.status, video.seconds, video.progress) == ("video", "queued", "8", 0), video
    video = client.videos.poll(video.id, poll_interval_ms=20)
    assert (video.status, video.progress, video.error, video.size) == ("completed", 100, None, "1280x720"), video
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4", content.response.headers
    assert content.read() == b"sea " * (8 * SECOND_BYTES // 4)
    assert [other.id for other in client.videos.list()] == [video.id]


def with_a_picture(client):
    more = {"input_reference": {"image_url": PICTURE}, "seed": 7}
    video = made(client, seconds="4", extra_body=more)
    assert (video.status, video.seconds) == ("completed", "4"), video
    assert client.videos.download_content(video.id).read().startswith(b"tide [")
    video = made(client, "sand", seconds="4", input_reference=("tide.png", b"\x89PNG"))
    assert client.videos.download_content(video.id).read().startswith(b"sand [")
    for wrong in [b"GIF8", b"\x89PNG" + bytes(2 * 1024 * 1024)]:
        make = lambda: client.videos.create(model=VEO, prompt="tide", input_reference=("tide.png", wrong))
        error = refused(openai.BadRequestError, make)
        assert error.param == "input_reference" and "JSON" in str(error), error


def failed(client):
    video = made(client, "a tide, all filtered")
    assert (video.status, video.error.code) == ("failed", "moderation_blocked"), video


def deleted(client):
    video = made(client, seconds="6")
    gone = client.videos.delete(video.id)
    assert (gone.id, gone.deleted, gone.object) == (video.id, True, "video.deleted"), gone
    assert video.id not in [other.id for other in client.videos.list()]
    for ask in [client.videos.retrieve, client.videos.delete, client.videos.download_content]:
        error = refused(openai.NotFoundError, lambda: ask(video.id))
        assert error.type == "invalid_request_error", error


run(openai_client(), create_poll_and_download, with_a_picture, failed, deleted)
