"""Each record is fetched once: by threads, by processes at the same time, after a kill, by another recipe."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eutils_server import Faulty, generated

from residency.pubmed.eutils.client import Client
from residency.pubmed.eutils.fetch import fetch_all
from residency.pubmed.eutils.standin import serve
from residency.pubmed.eutils.store import Store
from residency.sources.patience import Patience

QUICK = Patience(read=1, whole=10, first_wait=0.01, longest_wait=0.05, tries=4)
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Faulty:
    return Faulty(generated(300))


@pytest.fixture
def client(server: Faulty, tmp_path: Path) -> Iterator[Client]:
    with serve(server) as url:
        yield Client(tmp_path / "limits", url=url, per_second=400, patience=QUICK)


def test_records_are_kept_as_they_came_and_not_fetched_again(
    server: Faulty, client: Client, tmp_path: Path
) -> None:
    with Store(tmp_path, client.host) as store:
        outcome = fetch_all(range(1, 101), store, client, batch=30)
        assert (outcome.here, outcome.fetched, outcome.failures) == (0, 100, [])
        outcome = fetch_all(range(51, 151), store, client, batch=30)
        assert (outcome.here, outcome.fetched) == (50, 50)
        files = store.files(range(1, 200))
        assert sorted(p for some in files.values() for p in some) == list(range(1, 151))
        for path, pmids in files.items():
            content = gzip.decompress(path.read_bytes())
            assert all(server.records.xml[pmid] in content for pmid in pmids)
    assert set(server.given.values()) == {1}
    with Store(tmp_path, client.host) as again:
        assert fetch_all(range(1, 151), again, client).fetched == 0


def test_a_record_that_cannot_be_given_takes_no_other_with_it(
    server: Faulty, client: Client, tmp_path: Path
) -> None:
    server.poison = {77, 78, 240}
    with Store(tmp_path, client.host) as store:
        outcome = fetch_all(range(1, 301), store, client, batch=50)
        assert outcome.failures == [77, 78, 240]
        assert outcome.fetched == 297
        assert all("Unable to obtain query" in why for _, why in outcome.failed)
        assert store.missing(range(1, 301)) == [77, 78, 240]
        server.poison.clear()
        assert fetch_all(range(1, 301), store, client).fetched == 3
    assert set(server.given.values()) == {1}


def test_what_pubmed_does_not_have_is_told_apart(client: Client, tmp_path: Path) -> None:
    with Store(tmp_path, client.host) as store:
        outcome = fetch_all([*range(1, 11), 5000, 5001], store, client)
    assert (outcome.fetched, outcome.absent, outcome.failures) == (10, [5000, 5001], [])


def test_answers_with_fewer_records_are_completed(server: Faulty, client: Client, tmp_path: Path) -> None:
    server.planned = ["fewer"] * 2
    with Store(tmp_path, client.host) as store:
        outcome = fetch_all(range(1, 41), store, client, batch=40)
    assert (outcome.fetched, outcome.absent) == (40, [])
    assert set(server.given.values()) == {1}


def test_a_server_that_is_down_is_not_asked_forever(server: Faulty, client: Client, tmp_path: Path) -> None:
    server.share, server.kinds = 1.0, ("500",)
    with Store(tmp_path, client.host) as store:
        outcome = fetch_all(range(1, 301), store, client, batch=5)
    assert outcome.failures == list(range(1, 301))
    assert len(server.asked) < 60


def test_a_batch_that_is_gone_or_changed_is_fetched_again(client: Client, tmp_path: Path) -> None:
    with Store(tmp_path, client.host) as store:
        fetch_all(range(1, 61), store, client, batch=20)
        gone, changed, _ = store.files(range(1, 61))
        gone.unlink()
        changed.chmod(0o644)
        changed.write_bytes(changed.read_bytes()[:-5])
        assert len(store.missing(range(1, 61))) == 40
        assert fetch_all(range(1, 61), store, client, batch=20).fetched == 40
        for path in store.files(range(1, 61)):
            gzip.decompress(path.read_bytes())


def test_a_batch_that_was_not_indexed_is_found(server: Faulty, client: Client, tmp_path: Path) -> None:
    with Store(tmp_path, client.host) as store:
        fetch_all(range(1, 61), store, client, batch=20)
        folder = store.folder
    (folder / "index.sqlite").unlink()
    (folder / "batches" / "zz").mkdir()
    (folder / "batches" / "zz" / "zz.xml.gz").write_bytes(b"half written")
    with Store(tmp_path, client.host) as store:
        assert store.missing(range(1, 61)) == []
    assert set(server.given.values()) == {1}


def test_what_another_is_fetching_is_left_alone_until_it_is_gone(client: Client, tmp_path: Path) -> None:
    one, two = Store(tmp_path, client.host), Store(tmp_path, client.host)
    assert one.claim([1, 2, 3], 2) == ([1, 2], [], [])
    assert two.claim([1, 2, 3], 5) == ([3], [], [1, 2])
    one._owner_file.close()  # as the kernel does for a process that was killed
    assert two.claim([1, 2], 5) == ([1, 2], [], [])
    two.close()


CHILD = """
import sys
from pathlib import Path
from residency.pubmed.eutils.client import Client
from residency.sources.patience import Patience
from residency.pubmed.eutils.fetch import fetch_all
from residency.pubmed.eutils.store import Store
limits, patience = Path(sys.argv[1]) / "limits", Patience(first_wait=0.05)
client = Client(limits, url=sys.argv[2], per_second=100, patience=patience)
with Store(Path(sys.argv[1]), client.host) as store:
    outcome = fetch_all(range(1, 301), store, client, batch=10, workers=2)
    print(outcome.fetched, store.missing(range(1, 301)))
"""


def test_two_processes_share_the_work_and_one_may_be_killed(server: Faulty, tmp_path: Path) -> None:
    with serve(server) as url:
        command = [sys.executable, "-c", CHILD, str(tmp_path), url]
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) for _ in range(3)
        ]
        until = time.monotonic() + 30
        while len(server.given) < 60 and time.monotonic() < until:
            time.sleep(0.01)
        children[0].kill()
        said = [child.communicate(timeout=60)[0].split(maxsplit=1) for child in children[1:]]
    assert all(missing.strip() == "[]" for _, missing in said)
    assert sum(int(fetched) for fetched, _ in said) > 100
    twice = [pmid for pmid, times in server.given.items() if times > 1]
    assert len(twice) <= 20, "only what the killed one had under way may come again"
    assert set(server.given) == set(range(1, 301))


def test_threads_share_a_store(client: Client, tmp_path: Path) -> None:
    with Store(tmp_path, client.host) as store:
        threads = [
            threading.Thread(target=fetch_all, args=(range(1, 201), store, client), kwargs={"batch": 7})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert store.missing(range(1, 201)) == []
