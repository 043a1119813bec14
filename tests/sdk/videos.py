"""Drives a provider, or a gateway before one, with the official Python SDK, unmodified, where videos are made.

usage: videos.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import warnings
import zlib

import openai
from driver import openai_client, refused, run

SORA = "sora-2"
SECOND_BYTES = 64 * 1024
PICTURE = bytes(range(251)) * 12_000  # more than is held

warnings.simplefilter("ignore", DeprecationWarning)


def made(client, prompt="tide", **more):
    return client.videos.create_and_poll(model=SORA, prompt=prompt, poll_interval_ms=20, **more)


def create_poll_and_download(client):
    video = client.videos.create(model=SORA, prompt="sea ", seconds="8", size="1280x720")
    assert (video.object, video.status, video.seconds, video.progress) == ("video", "queued", "8", 0), video
    video = client.videos.poll(video.id, poll_interval_ms=20)
    assert (video.status, video.progress, video.error) == ("completed", 100, None), video
    assert video.expires_at > video.completed_at >= video.created_at, video
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4", content.response.headers
    assert content.read() == b"sea " * (8 * SECOND_BYTES // 4)
    with client.videos.with_streaming_response.download_content(video.id, variant="thumbnail") as answer:
        assert sum(len(piece) for piece in answer.iter_bytes()) == SECOND_BYTES


def with_a_picture(client):
    video = made(client, input_reference=("tide.png", PICTURE), seconds="4")
    assert (video.status, video.prompt) == ("completed", f"tide [{zlib.crc32(PICTURE)}]"), video


def remixed(client):
    first = made(client)
    second = client.videos.remix(first.id, prompt="an ebb")
    assert (second.remixed_from_video_id, second.status) == (first.id, "queued"), second
    assert client.videos.poll(second.id, poll_interval_ms=20).status == "completed"


def listed(client):
    all_of_them = list(client.videos.list())
    assert len(all_of_them) >= 4, all_of_them
    paged = [video.id for video in client.videos.list(limit=2, order="asc")]
    assert paged == [video.id for video in reversed(all_of_them)], paged
    newest = client.videos.retrieve(all_of_them[0].id)
    assert (newest.status, all_of_them[0].status) == ("completed", "completed"), all_of_them[0]


def failed(client):
    video = made(client, "what nobody may see")
    assert (video.status, video.error.code) == ("failed", "moderation_blocked"), video


def deleted(client):
    video = made(client)
    gone = client.videos.delete(video.id)
    assert (gone.id, gone.deleted, gone.object) == (video.id, True, "video.deleted"), gone
    assert video.id not in [other.id for other in client.videos.list()]
    for ask in [client.videos.retrieve, client.videos.delete, client.videos.download_content]:
        error = refused(openai.NotFoundError, lambda: ask(video.id))
        assert error.type == "invalid_request_error", error


def invalid(client):
    for wrong in [{"seconds": "5"}, {"size": "1x1"}]:
        error = refused(openai.BadRequestError, lambda: client.videos.create(model=SORA, prompt="tide", **wrong))
        assert error.param in wrong, error


run(openai_client(), create_poll_and_download, with_a_picture, remixed, listed, failed, deleted, invalid)
