"""The HTTP interface with a runner that computes nothing: places, limits, deletion, and clients that misbehave."""

import asyncio
import gzip
import logging
import time
from dataclasses import replace

import pytest
from asgi_calls import GONE, call

from segpipe.errors import SegpipeError
from segpipe.serving.answer import OK, REFUSED, Answer
from segpipe.serving.app import make_app
from segpipe.serving.jobs import Desk
from segpipe.serving.options import ServeLimits, ServeOptions

SCAN = gzip.compress(b"a scan of Doe^Jane")  # the runner reads nothing of it
LABELS = b"labels" * 1000


class StandIn:
    """Answers at once, or when it is let go."""

    restarts = 0
    is_ready = True

    def __init__(self, answer=None):
        self.answer = answer or Answer(OK, content={"volumes": []}, files={"label_map": "scan.nii.gz"})
        self.seen = []
        self.is_held = self.is_stopped = False

    def run(self, upload, output):
        self.seen.append([path.name for path in upload.iterdir()])
        while self.is_held and not self.is_stopped:
            time.sleep(0.002)
        for file in self.answer.files.values():
            (output / file).write_bytes(LABELS)
        return self.answer

    def stop(self):
        self.is_stopped = True


def serving(scratch, steps, runner=None, **changes):
    """Run the steps of a client, `async def steps(ask, desk)`, and return their result."""
    options = ServeOptions(**{"queue": 2, "limits": ServeLimits(megabytes=1), **changes})

    async def session():
        desk = Desk(runner or StandIn(), options, scratch)
        app = make_app(desk, options, {"task": "segmentation"})

        async def ask(method, path, *chunks, **how):
            return await call(app, method, path, chunks, **how)

        async with app.router.lifespan_context(app):
            return await steps(ask, desk)

    return asyncio.run(session())


async def finished(ask, *chunks):
    """Post a scan, and return its path once it is finished."""
    posted = await ask("POST", "/scans", *(chunks or (SCAN,)))
    assert posted.status == 202, posted.body
    while (await ask("GET", "/metrics")).body.find(b"segpipe_serve_results 1") < 0:
        await asyncio.sleep(0.002)
    return posted.headers["location"]


def test_a_scan_is_answered_and_then_nothing_of_it_is_left(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask, SCAN[:5], SCAN[5:])
        (job,) = tmp_path.iterdir()
        kept = sorted(path.name for path in job.rglob("*"))
        mode = job.stat().st_mode & 0o777
        result = await ask("GET", place)
        label_map = await ask("GET", f"{place}/label_map")
        gone = await ask("GET", place)
        return kept, mode, result, label_map, gone

    runner = StandIn()
    kept, mode, result, label_map, gone = serving(tmp_path, steps, runner)

    assert runner.seen == [["upload.nii.gz"]]
    assert kept == ["output", "scan.nii.gz"]  # the upload was deleted with the answer
    assert mode == 0o700
    assert (result.status, result.json["state"], result.json["volumes"]) == (200, "finished", [])
    assert label_map.body == LABELS
    assert label_map.headers["content-disposition"] == 'attachment; filename="label_map.nii.gz"'
    assert label_map.headers["cache-control"] == "no-store"
    assert gone.status == 404
    assert list(tmp_path.iterdir()) == []


def test_a_dicom_seg_is_a_file_of_the_result_and_the_last_one_fetched_ends_it(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask)
        result = await ask("GET", place)
        await ask("GET", f"{place}/label_map")
        segmentation = await ask("GET", f"{place}/dicom_seg")
        return result, segmentation, await ask("GET", place)

    files = {"label_map": "scan.nii.gz", "dicom_seg": "scan.dcm"}
    result, segmentation, gone = serving(tmp_path, steps, StandIn(Answer(OK, files=files)))

    assert list(result.json["files"]) == ["label_map", "dicom_seg"]
    assert (segmentation.body, segmentation.headers["content-type"]) == (LABELS, "application/dicom")
    assert segmentation.headers["content-disposition"] == 'attachment; filename="dicom_seg.dcm"'
    assert gone.status == 404


def test_a_file_that_a_result_lacks_answers_with_the_reason(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask)
        return await ask("GET", f"{place}/dicom_seg"), await ask("GET", place)

    answer = Answer(OK, files={"label_map": "scan.nii.gz"}, withheld={"dicom_seg": "the upload is NIFTI"})
    refused, result = serving(tmp_path, steps, StandIn(answer))

    assert (refused.status, refused.json["detail"]) == (404, "the upload is NIFTI")
    assert result.json["withheld"] == {"dicom_seg": "the upload is NIFTI"}


def test_a_label_map_that_was_not_taken_as_a_whole_stays(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask)
        await ask("GET", place)
        await ask("GET", f"{place}/label_map", gone_after=1)
        again = await ask("GET", f"{place}/label_map")
        return again.body, await ask("GET", place)

    body, gone = serving(tmp_path, steps)

    assert body == LABELS
    assert gone.status == 404


def test_a_result_that_nobody_fetches_is_deleted_in_time(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask)
        desk.sweep(time.monotonic() + 599)
        before = await ask("GET", f"{place}/nothing")
        desk.sweep(time.monotonic() + 601)
        return before, await ask("GET", place), list(tmp_path.iterdir())

    before, after, left = serving(tmp_path, steps)

    assert (before.status, before.json["detail"]) == (
        404,
        "the result has no file of this name; its files: label_map",
    )
    assert (after.status, left) == (404, [])


def test_ten_uploads_at_once_fill_the_queue(tmp_path):
    runner = StandIn()
    runner.is_held = True

    async def steps(ask, desk):
        replies = await asyncio.gather(*(ask("POST", "/scans", SCAN, pause=0.01) for _ in range(10)))
        runner.is_held = False
        return replies, len(list(tmp_path.iterdir()))

    replies, folders = serving(tmp_path, steps, runner)
    refused = [reply for reply in replies if reply.status == 503]

    assert sorted(reply.status for reply in replies) == [202] * 2 + [503] * 8
    assert {reply.headers["retry-after"] for reply in refused} == {"10"}
    assert folders == 2


def test_results_that_nobody_fetches_leave_no_place_either(tmp_path):
    async def steps(ask, desk):
        place = await finished(ask)
        full = await ask("POST", "/scans", SCAN)
        deleted = await ask("DELETE", place)
        return full, deleted, await ask("POST", "/scans", SCAN)

    full, deleted, after = serving(tmp_path, steps, results=1)

    assert (full.status, deleted.status, after.status) == (503, 204, 202)
    assert "1 results wait to be fetched" in full.json["detail"]
    assert 590 <= int(full.headers["retry-after"]) <= 600


MIB = bytes(1 << 20)


@pytest.mark.parametrize(
    ("chunks", "headers", "status", "message"),
    [
        ([], {}, 400, "the body is empty"),
        ([b"dear server, here is"], {}, 415, "no scan by its first bytes; send NIfTI"),
        (
            [SCAN],
            {"content-type": "multipart/form-data; boundary=x"},
            415,
            "curl --data-binary @FILE, not -F",
        ),
        ([SCAN, MIB], {}, 413, "larger than 1 MiB; compress it, or raise --max-megabytes"),
        ([SCAN], {"content-length": str(2 << 20)}, 413, "larger than 1 MiB"),
    ],
)
def test_an_upload_that_is_not_taken_leaves_nothing(tmp_path, chunks, headers, status, message):
    async def steps(ask, desk):
        reply = await ask("POST", "/scans", *chunks, headers=headers)
        return reply, list(tmp_path.iterdir()), (await ask("GET", "/metrics")).body.decode()

    reply, left, metrics = serving(tmp_path, steps)

    assert (reply.status, left) == (status, [])
    assert message in reply.json["detail"]
    assert f'segpipe_serve_rejected_uploads_total{{status="{status}"}} 1' in metrics
    assert "segpipe_serve_receiving 0" in metrics


def test_an_upload_is_counted_while_it_comes(tmp_path):
    """The third MiB is never asked for."""
    sizes = []

    async def steps(ask, desk):
        task = asyncio.ensure_future(ask("POST", "/scans", SCAN, MIB, MIB, MIB, pause=0.02))
        while not task.done():
            sizes.extend(path.stat().st_size for path in tmp_path.glob("*/upload/*"))
            await asyncio.sleep(0.005)
        return (await task).status

    assert serving(tmp_path, steps) == 413
    assert max(sizes) <= len(MIB)


def test_a_client_that_goes_away_frees_its_place(tmp_path):
    async def steps(ask, desk):
        await ask("POST", "/scans", SCAN, GONE)
        return list(tmp_path.iterdir()), desk.gauges()["receiving"][1]

    assert serving(tmp_path, steps) == ([], 0)


def test_an_upload_that_takes_too_long_ends(tmp_path):
    async def steps(ask, desk):
        return await ask("POST", "/scans", SCAN, SCAN, pause=1.5)

    reply = serving(tmp_path, steps, upload_seconds=1)

    assert reply.status == 408
    assert "longer than 1 s" in reply.json["detail"]


def test_a_refusal_has_its_status_and_ends_with_its_reading(tmp_path):
    runner = StandIn(Answer(REFUSED, "scan.nii.gz: blank"))

    async def steps(ask, desk):
        place = await finished(ask)
        return await ask("GET", f"{place}/label_map"), await ask("GET", place), await ask("GET", place)

    part, first, second = serving(tmp_path, steps, runner)

    assert (part.status, first.status, second.status) == (404, 422, 404)
    assert first.json["detail"] == "scan.nii.gz: blank"


def test_a_scan_that_waits_tells_so_and_may_be_deleted(tmp_path):
    runner = StandIn()
    runner.is_held = True

    async def steps(ask, desk):
        places = [(await ask("POST", "/scans", SCAN)).headers["location"] for _ in range(2)]
        early = await ask("GET", f"{places[1]}/label_map")
        waiting = await ask("GET", f"{places[1]}?wait=0.01")
        await ask("DELETE", places[1])
        await ask("DELETE", places[0])
        runner.is_held = False
        while desk.gauges()["running"][1] or list(tmp_path.iterdir()):
            await asyncio.sleep(0.002)
        return early, waiting

    early, waiting = serving(tmp_path, steps, runner)

    assert early.status == 409
    assert (waiting.json["state"], waiting.json["ahead"]) == ("queued", 1)
    assert len(runner.seen) == 1


def test_the_end_of_the_server_deletes_what_runs_and_waits(tmp_path):
    runner = StandIn()
    runner.is_held = True

    async def steps(ask, desk):
        for _ in range(2):
            await ask("POST", "/scans", SCAN)
        return len(list(tmp_path.iterdir()))

    assert serving(tmp_path, steps, runner) == 2
    assert runner.is_stopped
    assert list(tmp_path.iterdir()) == []


def test_the_log_names_neither_file_nor_result(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def steps(ask, desk):
        place = await finished(ask)
        await ask("GET", f"{place}?name=Doe%5EJane")
        return place.rpartition("/")[2]

    job = serving(tmp_path, steps, StandIn(Answer(REFUSED, "Doe^Jane.nii.gz: blank")))

    assert f"scan {job[:6]}: status 422" in caplog.text
    assert "Doe" not in caplog.text
    assert job not in caplog.text


TOKEN = "0123456789abcdef0123"
OPEN = {"token": TOKEN, "host": "0.0.0.0"}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("Bearer 0123456789abcdef012x", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ü", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
    ],
)
def test_a_token_opens_all_but_health(tmp_path, given, status):
    headers = {"host": "pacs.example"} | ({} if given is None else {"authorization": given})

    async def steps(ask, desk):
        return [(await ask("GET", path, headers=headers)).status for path in ("/metrics", "/health")]

    assert serving(tmp_path, steps, **OPEN) == [status, 200]


def test_a_scan_without_token_is_not_even_received(tmp_path):
    async def steps(ask, desk):
        reply = await ask("POST", "/scans", SCAN)
        return reply, desk.counts.received_bytes

    reply, received = serving(tmp_path, steps, **OPEN)

    assert (reply.status, received) == (401, 0)
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),  # a name that was turned to this machine's address
        ({"host": "127.0.0.1.evil.example:8000"}, 421),
        ({"host": ""}, 421),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "localhost"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8000"}, 200),
    ],
)
def test_without_token_no_web_page_gets_in(tmp_path, headers, status):
    async def steps(ask, desk):
        return await ask("GET", "/bundle", headers=headers)

    reply = serving(tmp_path, steps)

    assert reply.status == status
    assert "access-control-allow-origin" not in reply.headers


def test_a_server_without_its_network_is_not_healthy(tmp_path):
    runner = StandIn()
    runner.is_ready = False

    async def steps(ask, desk):
        return await ask("GET", "/health")

    assert serving(tmp_path, steps, runner).status == 503


@pytest.mark.parametrize("path", ["/scans/../bundle", "/scans/x/../../etc", "/docs", "/scans/%2e%2e"])
def test_paths_lead_nowhere_else(tmp_path, path):
    async def steps(ask, desk):
        return (await ask("GET", path)).status

    assert serving(tmp_path, steps) == 404


def test_options_are_checked_before_anything_starts():
    limits = ServeLimits(seconds=float("nan"))
    for changes, message in (
        ({"host": "0.0.0.0"}, "a token is needed"),
        ({"host": "pacs.example"}, "a token is needed"),
        ({"host": "127.1"}, "a token is needed"),
        ({"token": "short"}, "the token has 5 characters, must be at least 16"),
        ({"token": "with a space in the middle"}, "a space or a character that is not ASCII"),
        ({"queue": 0}, "--queue is 0, must be at least 1"),
        ({"limits": limits}, "--max-seconds is nan, must be at least 1"),
        ({"port": 70_000}, "--port is 70000, must be from 0 to 65535"),
    ):
        with pytest.raises(SegpipeError, match=message):
            replace(ServeOptions(), **changes).check()
    for host in ("localhost", "127.0.0.1", "127.0.0.2", "::1"):
        ServeOptions(host).check()
    ServeOptions("0.0.0.0", token=TOKEN).check()
