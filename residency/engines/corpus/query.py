"""The records of a PubMed query, all of them in the store before the corpus is made."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.corpus.spec import LICENCE, Query
from residency.engines.processors.notes import Notes
from residency.errors import StageFailed
from residency.files import write_json
from residency.pubmed.eutils.client import TRIES, Client, no_network
from residency.pubmed.eutils.fetch import fetch_all
from residency.pubmed.eutils.slices import Slicer
from residency.pubmed.eutils.store import Store
from residency.pubmed.select import drawn
from residency.sources import fetch
from residency.sources.patience import Patience

FAILED = "failed.json"
_SHOWN = 10
_STANDIN_PER_SECOND = 50.0


@dataclass
class Answered:
    """What a query brought."""

    about: dict[str, Any]
    """As the manifest has it."""
    files: dict[Path, set[int]] = field(default_factory=dict)
    """Batch → the PMIDs of it that are meant."""
    warnings: list[str] = field(default_factory=list)


def run(asked: Query, folder: Path, base: Path, cache: Path, mirror: Path | None, notes: Notes) -> Answered:
    """Find the query's PMIDs and fetch what is not there yet.

    Raises:
        Missing: The server cannot be reached, or refuses the query.
        StageFailed: Nothing was found, or some records could not be fetched; the others are safe.
    """
    (folder / FAILED).unlink(missing_ok=True)
    with _client(asked, folder, base, cache, mirror, notes) as (client, kept):
        ids, answered = _find(asked, client, folder / "search", notes)
        with Store(kept, client.host) as store:
            _fetch(ids, asked, client, store, folder, answered, notes)
            absent = set(answered.about["absent"])
            answered.files = store.files(pmid for pmid in ids if pmid not in absent)
    return answered


@contextmanager
def _client(
    asked: Query, folder: Path, base: Path, cache: Path, mirror: Path | None, notes: Notes
) -> Iterator[tuple[Client, Path]]:
    """The client, and the folder of its store."""
    if asked.standin is None:
        client = Client(
            cache / "eutils" / "limits",
            url=asked.url,
            email=asked.email,
            patience=Patience(tries=asked.tries or TRIES),
            per_second=asked.per_second,
            tell=notes.say,
        )
        refused = no_network(client.url, mirror)
        if refused is not None:
            raise refused
        yield client, cache
        return
    from residency.pubmed.eutils.standin import Records, StandIn, serve

    source = {key: value for key, value in asked.standin.items() if key != "records"}
    got = fetch(source, cache=cache, mirror=mirror, base=base, report=notes.say)
    notes.say(f"PubMed is not asked: {got.url} stands in for it, on this machine")
    notes.progress("reading the records that stand in for PubMed", force=True)
    standin = StandIn(Records.of(list(got.files), asked.standin.get("records")))
    with serve(standin) as url:
        own = folder / "standin"
        yield Client(own, url=url, tell=notes.say, per_second=_STANDIN_PER_SECOND), own


def _find(asked: Query, client: Client, folder: Path, notes: Notes) -> tuple[list[int], Answered]:
    """The PMIDs that are meant, and what PubMed said."""
    notes.say(f"query: {asked.term}")
    notes.progress("searching PubMed", force=True)

    def tell(text: str) -> None:
        notes.say(text)
        notes.progress(text, force=True)

    slicer = Slicer(client, asked.term, folder, tell)
    if asked.order == "relevance":
        ids = slicer.relevant(asked.size or 0)
    elif asked.order == "random" and asked.size:
        ids = drawn(slicer.ids(), asked.size, asked.seed)
    else:
        ids = list(itertools.islice(slicer.ids(), asked.size))
    said = slicer.said
    assert said is not None
    about = {
        "query": asked.query,
        "term": asked.term,
        "server": client.host if asked.standin is None else "stand-in",
        "found": said.count,
        "asked_for": asked.size,
        "order": asked.order,
        "entered_until": str(slicer.last_day),
        "understood_as": said.translation,
        "pmids": len(ids),
        "pmids_sha256": hashlib.sha256("\n".join(map(str, sorted(ids))).encode()).hexdigest(),
        "licence": LICENCE,
        "absent": [],
    }
    answered = Answered(about, warnings=[f"PubMed says of the query: {text}" for text in said.warnings])
    notes.say(f"{said.count:,} records found, {len(ids):,} of them wanted")
    if not ids:
        said_ = "; ".join(said.warnings)
        raise StageFailed(
            f"PubMed finds no records for {asked.term}",
            f"PubMed says: {said_}" if said_ else "try the query on pubmed.ncbi.nlm.nih.gov",
        )
    if asked.size and len(ids) < asked.size:
        answered.warnings.append(f"the query finds {len(ids):,} records where {asked.size:,} were asked for")
    return ids, answered


def _fetch(
    ids: list[int], asked: Query, client: Client, store: Store, folder: Path, answered: Answered, notes: Notes
) -> None:
    """Bring every record into the store; raise StageFailed with the list of those that failed."""
    told = 0

    def progress(text: str, done: int, total: int) -> None:
        nonlocal told
        notes.progress(f"fetching records: {text}", done, total)
        if done * 20 // max(total, 1) > told:
            told = done * 20 // total
            notes.say(f"{done:,} of {total:,} records are here; {text}")

    outcome = fetch_all(ids, store, client, batch=asked.batch, progress=progress)
    rate = outcome.fetched / max(outcome.seconds, 1e-3)
    notes.say(
        f"{outcome.fetched:,} records fetched in {outcome.seconds:.0f} s ({rate:,.0f} a second), "
        f"{outcome.here:,} were here; {client.requests:,} requests, {client.retried:,} of them asked again"
    )
    if outcome.failures:
        failures = outcome.failures
        batches = [{"pmids": pmids, "why": why} for pmids, why in outcome.failed]
        write_json(folder / FAILED, {"records": len(failures), "batches": batches})
        shown = ", ".join(map(str, failures[:_SHOWN])) + (", …" if len(failures) > _SHOWN else "")
        raise StageFailed(
            f"{len(failures):,} of {len(ids):,} records could not be fetched: PMID {shown} "
            f"({outcome.failed[0][1]}); {FAILED} lists them",
            "run the same command again: the others are kept and are not fetched again",
        )
    if outcome.absent:
        answered.about["absent"] = outcome.absent
        shown = ", ".join(map(str, outcome.absent[:_SHOWN]))
        answered.warnings.append(
            f"PubMed lists {len(outcome.absent)} records and does not give them: {shown}"
        )
