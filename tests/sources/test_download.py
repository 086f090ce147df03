from __future__ import annotations

import email.utils
import hashlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from residency.errors import Missing
from residency.sources import Fetched, fetch
from residency.sources.patience import Patience

sys.path.insert(0, str(Path(__file__).parent))
from faulty_server import Plan, serve

BODY = random.Random(7).randbytes(1_500_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


class Waits:
    """Stands in for sleeping: remembers how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def get(url: str, cache: Path, waits: Waits | None = None, **source: Any) -> Fetched:
    lines: list[str] = source.pop("lines", [])
    patience = Patience(connect=2, read=source.pop("read", 2.0), sleep=waits or Waits())
    return fetch(
        {"url": url, **source}, cache=cache, mirror=None, base=cache, report=lines.append, patience=patience
    )


FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "drops mid-way": [{"drop_after": 700_000}],
    "drops again and again": [{"drop_after": 300_000} for _ in range(4)],
    "drops at once": [{"drop_after": 0}, {"drop_after": 0}],
    "500 then 503": [{"status": 500}, {"status": 503}],
    "drops, then 500": [{"drop_after": 500_000}, {"status": 500}],
    "says too many bytes": [{"length_off_by": 1000}],
    "slow": [{"pause": 0.01}],
    "falls silent": [{"drop_after": 400_000, "silent": 3}],
    "sends another part": [{"drop_after": 500_000}, {"shift": 10}],
}


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("etag", [True, False], ids=["etag", "no etag"])
@pytest.mark.parametrize("name", FAULTS)
def test_the_exact_bytes_arrive_whatever_happens(name: str, ranges: bool, etag: bool, tmp_path: Path) -> None:
    plan = Plan(BODY, [dict(fault) for fault in FAULTS[name]], ranges=ranges, etag=etag)
    with serve(plan) as server:
        found = get(f"{server}/data/rows.bin", tmp_path, read=0.5 if "silent" in name else 2.0)
    assert found.path.read_bytes() == BODY
    assert (found.sha256, found.bytes, found.from_) == (SHA256, len(BODY), "network")
    assert found.path.name == "rows.bin"
    assert plan.faults == []
    assert not list((tmp_path / "parts").iterdir())


def test_a_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"drop_after": 1_000_000}])
    with serve(plan) as server:
        get(f"{server}/rows.bin", tmp_path)
    assert plan.statuses == [200, 206]
    assert plan.requests[1]["Range"] == "bytes=1000000-"
    assert plan.requests[1]["If-Range"].startswith('"')
    assert plan.sent == len(BODY)


def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path: Path) -> None:
    other = random.Random(8).randbytes(len(BODY))
    plan = Plan(BODY, [{"drop_after": 1_000_000, "body": other}])
    with serve(plan) as server:
        found = get(f"{server}/rows.bin", tmp_path)
    assert plan.statuses == [200, 200]
    assert found.path.read_bytes() == BODY


def test_without_a_validator_only_a_known_hash_allows_to_go_on(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"drop_after": 1_000_000}], etag=False)
    with serve(plan) as server:
        get(f"{server}/rows.bin", tmp_path / "a")
        assert plan.statuses == [200, 200]
        plan.statuses.clear()
        plan.faults.append({"drop_after": 1_000_000})
        get(f"{server}/rows.bin", tmp_path / "b", sha256=SHA256)
        assert plan.statuses == [200, 206]


def test_pieces_of_two_versions_are_fetched_once_more(tmp_path: Path) -> None:
    other = random.Random(8).randbytes(len(BODY))
    plan = Plan(BODY, [{"drop_after": 1_000_000, "body": other}], etag=False)
    with serve(plan) as server:
        found = get(f"{server}/rows.bin", tmp_path, sha256=SHA256)
    assert found.path.read_bytes() == BODY
    assert plan.statuses == [200, 206, 200]


def test_a_size_that_the_recipe_gives_exposes_a_short_answer(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"body": BODY[:900_000]}])
    with serve(plan) as server:
        found = get(f"{server}/rows.bin", tmp_path, bytes=len(BODY))
    assert found.path.read_bytes() == BODY


def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    soon = email.utils.formatdate(time.time() + 20, usegmt=True)
    faults = [
        {"status": 429, "headers": {"Retry-After": "7"}},
        {"status": 503, "headers": {"Retry-After": soon}},
        {"status": 429},
        {"status": 429},
    ]
    waits = Waits()
    with serve(Plan(BODY, faults)) as server:
        assert get(f"{server}/rows.bin", tmp_path, waits).sha256 == SHA256
    assert waits.seconds[0] == 7
    assert 15 < waits.seconds[1] <= 20
    assert 2 <= waits.seconds[2] <= 4  # third failure: 1 s doubled twice, times 0.5 to 1
    assert 4 <= waits.seconds[3] <= 8


def test_a_server_that_asks_for_too_long_is_left_alone(tmp_path: Path) -> None:
    waits = Waits()
    plan = Plan(BODY, [{"status": 429, "headers": {"Retry-After": "86400"}}])
    with serve(plan) as server, pytest.raises(Missing, match="left alone for 86400 s"):
        get(f"{server}/rows.bin", tmp_path, waits)
    assert waits.seconds == []


def test_it_gives_up_after_some_attempts_and_goes_on_next_time(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"drop_after": 600_000}, *[{"status": 502}] * 5])
    with serve(plan) as server:
        with pytest.raises(Missing, match=r"502.*in a row") as error:
            get(f"{server}/rows.bin", tmp_path)
        assert "mirror" in str(error.value.hint)
        plan.statuses.clear()
        assert get(f"{server}/rows.bin", tmp_path).sha256 == SHA256
    assert plan.statuses == [206]


@pytest.mark.parametrize(
    ("status", "hint"), [(404, "address"), (401, "netrc"), (403, "account"), (410, "gone")]
)
def test_what_waiting_will_not_mend_is_said_at_once(status: int, hint: str, tmp_path: Path) -> None:
    plan = Plan(BODY, [{"status": status}])
    with serve(plan) as server, pytest.raises(Missing, match=str(status)) as error:
        get(f"{server}/rows.bin", tmp_path)
    assert hint in str(error.value.hint)
    assert len(plan.requests) == 1


def test_redirects_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"redirect": "/elsewhere/rows.bin"}])
    with serve(plan) as server:
        assert get(f"{server}/rows.bin", tmp_path).sha256 == SHA256
        assert [r["path"] for r in plan.requests] == ["/rows.bin", "/elsewhere/rows.bin"]
        plan.faults += [{"redirect": "/round"}] * 30
        with pytest.raises(Missing, match="from place to place"):
            get(f"{server}/other.bin", tmp_path)


def test_a_redirect_to_plain_http_elsewhere_is_refused(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"redirect": "http://192.0.2.1/rows.bin?token=s3cret"}])
    with serve(plan) as server, pytest.raises(Missing, match="not https") as error:
        get(f"{server}/rows.bin", tmp_path)
    assert "s3cret" not in error.value.message


def test_nothing_listens(tmp_path: Path) -> None:
    with serve(Plan(BODY)) as server:
        pass
    waits = Waits()
    with pytest.raises(Missing, match="could not be reached"):
        get(f"{server}/rows.bin", tmp_path, waits)
    assert len(waits.seconds) == 5


def test_nothing_is_fetched_twice(tmp_path: Path) -> None:
    plan = Plan(BODY)
    with serve(plan) as server:
        first = get(f"{server}/rows.bin", tmp_path)
        second = get(f"{server}/rows.bin", tmp_path)
        third = get(f"{server}/elsewhere.bin", tmp_path, sha256=SHA256.upper())
    assert (first.from_, second.from_, third.from_) == ("network", "cache", "cache")
    assert first.path == second.path == third.path
    assert len(plan.requests) == 1


def test_a_wrong_hash_says_both_and_deletes_nothing(tmp_path: Path) -> None:
    plan = Plan(BODY)
    with serve(plan) as server:
        for _ in range(2):
            with pytest.raises(Missing) as error:
                get(f"{server}/rows.bin", tmp_path, sha256="0" * 64)
            assert SHA256 in error.value.message
            assert "0" * 64 in error.value.message
            path = Path(str(error.value.hint).split("it lies at ")[1].split(" and was not")[0])
            assert path.read_bytes() == BODY
        assert plan.statuses == [200, 304]  # the second time only asked whether there is a newer one
        plan.body = b"the right one"
        right = hashlib.sha256(plan.body).hexdigest()
        assert get(f"{server}/rows.bin", tmp_path, sha256=right).path.read_bytes() == b"the right one"
    assert path.read_bytes() == BODY


def test_a_changed_file_in_the_cache_is_not_used(tmp_path: Path) -> None:
    plan = Plan(BODY)
    with serve(plan) as server:
        path = get(f"{server}/rows.bin", tmp_path, sha256=SHA256).path
        path.chmod(0o644)
        path.write_bytes(b"changed")
        assert get(f"{server}/rows.bin", tmp_path, sha256=SHA256).path.read_bytes() == BODY


def test_two_at_once_download_once(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"pause": 0.02}])
    found: list[Fetched] = []
    with serve(plan) as server:
        url = f"{server}/rows.bin"
        threads = [threading.Thread(target=lambda: found.append(get(url, tmp_path))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert [f.sha256 for f in found] == [SHA256] * 4
    assert len(plan.requests) == 1


def test_a_killed_process_loses_nothing_that_arrived(tmp_path: Path) -> None:
    plan = Plan(BODY, [{"pause": 0.1}])
    code = (
        "import sys; from pathlib import Path; from residency.sources import fetch; c = Path(sys.argv[2]);"
        "fetch({'url': sys.argv[1]}, cache=c, mirror=None, base=c)"
    )
    with serve(plan) as server:
        url = f"{server}/rows.bin"
        child = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path)])
        part = tmp_path / "parts"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(p.stat().st_size > 200_000 for p in part.glob("*.part")):
                break
            time.sleep(0.02)
        child.kill()
        child.wait()
        (left,) = part.glob("*.part")
        size = left.stat().st_size
        assert 0 < size < len(BODY)
        found = get(url, tmp_path)
    assert found.path.read_bytes() == BODY
    assert plan.statuses[-1] == 206
    assert int(plan.requests[-1]["Range"].removeprefix("bytes=").rstrip("-")) == size


def test_no_secret_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = Plan(BODY, [{"status": 500}, {"drop_after": 1000}])
    with serve(plan) as server:
        found = get(
            f"{server}/rows.bin?api_key=s3cret&v=2&X-Sig=abcdefabcdefabcdefabcdef", tmp_path, lines=lines
        )
        plan.faults.append({"status": 404})
        with pytest.raises(Missing) as error:
            get(f"{server}/other.bin?api_key=s3cret", tmp_path)
    written = "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*.json"))
    for text in ("\n".join(lines), found.url, error.value.message, str(error.value.hint), written):
        assert "s3cret" not in text
        assert "abcdef" not in text
    assert "v=2" in found.url


def test_compressed_on_the_way_is_not_compressed_on_the_disk(tmp_path: Path) -> None:
    import gzip

    packed = gzip.compress(b"plain text " * 1000)
    fault = {"body": packed, "headers": {"Content-Encoding": "gzip"}}
    with serve(Plan(BODY, [dict(fault), dict(fault)])) as server:
        assert get(f"{server}/rows.txt", tmp_path).path.read_bytes() == b"plain text " * 1000
        # The name says that the file itself is a gzip: it is kept as it is.
        assert get(f"{server}/rows.txt.gz", tmp_path).path.read_bytes() == packed
