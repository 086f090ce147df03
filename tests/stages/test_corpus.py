"""Corpora from a query and from files: exact, resumable, each record fetched once, clear errors."""

from __future__ import annotations

import functools
import json
import resource
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "pubmed"))
from corpus_case import Case, deleted, record, write
from eutils_server import Faulty, generated

from residency.engines.corpus.spec import expand, query
from residency.errors import EXIT_FAILED, EXIT_MISSING, StageFailed
from residency.pubmed.corpus import row_of
from residency.pubmed.eutils.standin import serve
from residency.pubmed.reader import records

HOST = "ftp.ncbi.nlm.nih.gov/pubmed"
QUERY = {"query": "asthma", "per_second": 200, "batch": 20}
KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f90123"


def case(folder: Path, **config: object) -> Case:
    return Case(config, folder, folder.parent / "cache")


# From a query


def test_a_query_becomes_a_corpus_and_a_second_recipe_fetches_nothing(tmp_path: Path) -> None:
    server = Faulty(generated(200), every=4, kinds=("500", "truncated", "error", "fewer", "html"))
    with serve(server) as url:
        one = case(tmp_path / "one", pubmed=QUERY, jsonl={"words": 40}, filters={"languages": "eng"})
        corpus = one.made(RESIDENCY_EUTILS_URL=url, NCBI_API_KEY=KEY)
        asked = len(server.asked)
        other = case(
            tmp_path / "two", pubmed={**QUERY, "size": 50, "url": url}, sample={"size": 20, "seed": 1}
        )
        small = other.made()
    assert corpus.pmids() == list(range(1, 201))
    assert corpus.get(7)["title"] == "Study 7 of asthma."  # type: ignore[index]
    assert set(server.given.values()) == {1}
    assert server.spoilt
    assert [program for program, _ in server.asked[asked:]].count("efetch") == 0
    assert small.count == 20
    assert set(small.pmids()) <= set(range(151, 201))
    manifest = corpus.manifest
    assert manifest["query"]["found"] == manifest["read"] == manifest["kept"] == 200
    assert "NLM" in manifest["licence"]
    passages = [json.loads(line) for line in (one.job.outputs / "corpus.jsonl").read_text().splitlines()]
    assert passages[6] == {"id": "7", "contents": '"Study 7 of asthma."\nNumber 7.'}
    assert one.verify().metrics["passages"] == 200
    for path in [*one.folder.rglob("*"), *one.cache.rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_records_that_cannot_be_fetched_fail_it_in_the_end_and_are_listed(tmp_path: Path) -> None:
    server = Faulty(generated(120), poison={33, 90})
    with serve(server) as url:
        one = case(tmp_path / "one", pubmed={**QUERY, "url": url, "tries": 1})
        done = one.run()
        assert done.returncode == EXIT_FAILED, done.stdout
        assert "2 of 120 records could not be fetched: PMID 33, 90" in one.error()
        assert "not fetched again" in one.error()
        listed = json.loads((one.job.folder / "failed.json").read_text())
        assert [batch["pmids"] for batch in listed["batches"]] == [[33], [90]]
        assert set(server.given) == set(range(1, 121)) - {33, 90}
        assert not (one.job.outputs / "corpus").exists()
        server.poison.clear()
        assert one.made().count == 120
    assert set(server.given.values()) == {1}
    assert not (one.job.folder / "failed.json").exists()


def test_what_pubmed_lists_and_does_not_give_is_a_warning(tmp_path: Path) -> None:
    server = Faulty(generated(50))
    del server.records.xml[13]
    with serve(server) as url:
        one = case(tmp_path / "one", pubmed={**QUERY, "url": url})
        assert one.made().count == 49
    assert any("does not give them: 13" in text for text in one.verify().warnings)


def test_a_query_that_finds_nothing_says_so(tmp_path: Path) -> None:
    with serve(Faulty(generated(5))) as url:
        one = case(tmp_path / "one", pubmed={**QUERY, "query": "xyzzy", "url": url})
        assert one.run().returncode == EXIT_FAILED
    assert "finds no records for xyzzy (PubMed says: not found: xyzzy" in one.error()


def test_with_a_mirror_pubmed_is_not_asked(tmp_path: Path) -> None:
    one = case(tmp_path / "one", pubmed=QUERY)
    done = one.run(RESIDENCY_MIRROR=str(tmp_path))
    assert done.returncode == EXIT_MISSING
    assert "nothing is fetched from the network" in one.error()


def test_dates_are_part_of_the_query() -> None:
    def term(**dates: object) -> str:
        found = query({"pubmed": {"query": "a OR b", "dates": dates}})
        assert found is not None
        return found.term

    assert term() == "a OR b"
    assert term(**{"from": 2015}) == '(a OR b) AND ("2015/01/01"[dp] : "3000"[dp])'
    assert term(**{"from": "2015-06", "to": "2015-06-09"}) == (
        '(a OR b) AND ("2015/06/01"[dp] : "2015/06/09"[dp])'
    )
    assert term(to=2016, by="entered") == '(a OR b) AND ("1700/01/01"[edat] : "2016/12/31"[edat])'


@pytest.mark.parametrize("order", ["newest", "relevance", "random"])
def test_the_size_bounds_a_query(tmp_path: Path, order: str) -> None:
    with serve(Faulty(generated(60))) as url:
        one = case(tmp_path / "one", pubmed={**QUERY, "url": url, "size": 25, "order": order, "seed": 3})
        assert one.made().count == 25


def test_records_stand_in_for_pubmed(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.xml.gz", *(record(n, "On asthma") for n in range(1, 31)))
    standin = {"url": "a.xml.gz", "records": 20}
    one = case(tmp_path / "one", pubmed={"query": "asthma AND 5:40[uid]", "standin": standin})
    assert one.made(RESIDENCY_MIRROR=str(tmp_path)).pmids() == list(range(5, 21))
    assert not (one.cache / "eutils").exists(), "the stand-in's records are not PubMed's"


# From files


def baseline(folder: Path) -> Path:
    """A mirror with two yearly files and one update."""
    mirror = folder / "mirror"
    write(mirror / HOST / "b" / "p26n0001.xml.gz", record(3), record(1), record(5, abstract=""))
    write(mirror / HOST / "b" / "p26n0002.xml.gz", record(9, "On asthma"), record(7, lang="ger"))
    write(mirror / HOST / "u" / "p26n0003.xml.gz", record(3, "Revised"), record(11), deleted(1, 99))
    return mirror


SOURCES = {
    "baseline": {"url": f"https://{HOST}/b/p26n{{0001..0002}}.xml.gz"},
    "updates": {"url": f"https://{HOST}/u/p26n0003.xml.gz"},
}


@pytest.mark.parametrize("threads", [1, 2])
def test_yearly_files_and_updates(tmp_path: Path, threads: int) -> None:
    one = case(tmp_path / "one", sources=SOURCES)
    one.threads = threads
    corpus = one.made(RESIDENCY_MIRROR=str(baseline(tmp_path)))
    assert [(row["pmid"], row["title"]) for row in corpus.rows(["pmid", "title"])] == [
        (3, "Revised"),
        (5, "About 5"),
        (7, "About 7"),
        (9, "On asthma"),
        (11, "About 11"),
    ]
    assert {drop["reason"]: drop["n"] for drop in corpus.manifest["dropped"]} == {
        "an older version": 1,
        "deleted by NLM": 1,
    }
    assert [source["file"] for source in corpus.manifest["sources"]] == [
        "p26n0001.xml.gz",
        "p26n0002.xml.gz",
        "p26n0003.xml.gz",
    ]
    assert all(source["md5"] for source in corpus.manifest["sources"])


def test_filters_take_the_newest_version_for_the_record(tmp_path: Path) -> None:
    """A record whose last version is not taken does not come back in an older one."""
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", record(1), record(2), record(3, lang="ger"), record(4, abstract=""))
    write(folder / "b.xml.gz", record(2, abstract=""))
    sources = {"a": {"url": "a.xml.gz"}, "b": {"url": "b.xml.gz"}}
    one = case(folder, sources=sources, filters={"abstract": True, "languages": ["eng"]})
    corpus = one.made()
    assert corpus.pmids() == [1]
    dropped = {drop["reason"]: drop["n"] for drop in corpus.manifest["dropped"]}
    assert dropped == {"no abstract": 2, "another language": 1, "an older version": 1}
    assert corpus.manifest["read"] == 5


def test_repeated_texts_and_a_sample(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", *(record(n, f"Title {n % 10}") for n in range(1, 41)))
    one = case(folder, sources={"a": {"url": "a.xml.gz"}}, dedupe=True, sample={"size": 4, "seed": 2})
    corpus = one.made()
    assert corpus.count == 4
    assert set(corpus.pmids()) <= set(range(1, 11))
    dropped = {drop["reason"]: drop["n"] for drop in corpus.manifest["dropped"]}
    assert dropped == {"the text of another record": 30, "not drawn": 6}


def test_an_md5_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    mirror = baseline(tmp_path)
    write(mirror / HOST / "b" / "p26n0002.xml.gz", record(9), md5="0" * 32)
    one = case(tmp_path / "one", sources=SOURCES)
    assert one.run(RESIDENCY_MIRROR=str(mirror)).returncode == EXIT_MISSING
    assert "p26n0002.xml.gz.md5 says" in one.error()
    write(mirror / HOST / "b" / "p26n0002.xml.gz", record(9), md5="not one")
    assert one.run(RESIDENCY_MIRROR=str(mirror)).returncode == EXIT_MISSING
    assert "holds no MD5" in one.error()


def test_files_over_http_must_have_their_md5(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    for n in range(1, 4):
        write(folder / f"p{n:04d}.xml.gz", record(n))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/p{{0001..0003}}.xml.gz"
        one = case(tmp_path / "one", sources={"year": {"url": url}})
        assert one.made().pmids() == [1, 2, 3]
        (folder / "p0002.xml.gz.md5").unlink()
        other = Case(one.config, tmp_path / "two", tmp_path / "another cache")
        done = other.run()
        assert done.returncode == EXIT_MISSING
        assert "p0002.xml.gz.md5 could not be fetched: the server answered 404" in other.error()
    finally:
        server.shutdown()
        server.server_close()


def test_a_broken_record_is_passed_over_counted_and_placed(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    broken = record(2).replace("</Article>", "")
    write(folder / "a.xml.gz", record(1), broken, record(3))
    one = case(folder, sources={"a": {"url": "a.xml.gz"}})
    assert one.made().pmids() == [1, 3]
    report = json.loads((one.job.outputs / "report.json").read_text())
    (said,) = report["broken"]
    assert (said["pmid"], said["offset"]) == ("2", len("<PubmedArticleSet>\n") + 39 + len(record(1)) + 1)
    assert report["dropped"][0]["reason"] == "broken XML"
    assert any("1 broken record was passed over" in text for text in one.verify().warnings)


def test_a_truncated_file_is_an_error_and_what_was_read_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", record(1))
    whole = write(folder / "b.xml.gz", record(2), md5=False).read_bytes()
    (folder / "b.xml.gz").write_bytes(whole[:-30])
    one = case(folder, sources={"a": {"url": "a.xml.gz"}, "b": {"url": "b.xml.gz"}})
    assert one.run().returncode == EXIT_FAILED
    assert "cut short or damaged" in one.error()
    (folder / "b.xml.gz").write_bytes(whole)
    done = one.run()
    assert done.returncode == 0
    assert "a.xml.gz: read before" in done.stdout


def test_a_corpus_of_no_records_says_where_they_went(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", record(1), record(2, abstract=""))
    one = case(folder, sources={"a": {"url": "a.xml.gz"}}, filters={"languages": "ger"})
    assert one.run().returncode == EXIT_FAILED
    assert "would have 0 records (2 records were read, dropped: 2 another language)" in one.error()
    assert not (one.job.outputs / "corpus").exists()


def test_a_full_disk_is_said_and_leaves_no_half_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", *(record(n, "x" * 3000 + str(n * n * n)) for n in range(1, 400)))
    one = case(folder, sources={"a": {"url": "a.xml.gz"}})
    limit = 12_000  # bytes of a file, which the system refuses as it does a full disk
    done = one.run(preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == EXIT_FAILED, done.stdout
    assert "make room" in one.error()
    assert not (one.job.outputs / "corpus").exists()
    assert one.made().count == 399


def test_real_records(tmp_path: Path, reference_dir: Path) -> None:
    path = reference_dir / "pubmed_xml" / "pubmed21n1298_slice500.xml.gz"
    one = case(tmp_path / "one", sources={"slice": {"url": str(path)}})
    corpus = one.made()
    expected = {}
    for found in records(path, names=True):
        if not found.get("deleted"):
            expected[int(found["pmid"])] = row_of(found)
    assert {row["pmid"]: row for row in corpus.rows()} == expected
    assert corpus.count == 500
    assert corpus.manifest["figures"]["with_abstract"] == 500


def test_a_corpus_that_was_changed_is_not_verified(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder / "a.xml.gz", record(1), record(2))
    one = case(folder, sources={"a": {"url": "a.xml.gz"}}, jsonl=True)
    corpus = one.made()
    with (one.job.outputs / "corpus.jsonl").open("a") as out:
        out.write('{"id": "3"')
    with pytest.raises(StageFailed, match="line 3 is broken"):
        one.verify()
    data = bytearray(corpus.parts[0].path.read_bytes())
    data[100] ^= 1
    corpus.parts[0].path.write_bytes(data)
    with pytest.raises(StageFailed, match="not the file that was written"):
        one.verify()


def test_ranges() -> None:
    assert expand("https://h/a{08..11}.gz") == [f"https://h/a{n}.gz" for n in ("08", "09", "10", "11")]
    assert expand("a.xml") == ["a.xml"]
