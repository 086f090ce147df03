"""Runs a corpus recipe as the launcher would: prepare, the command, verify."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines.base import Job, Verified
from residency.pubmed.corpus import Corpus, open_corpus
from residency.stages.corpus import KIND

PROJECT = Path(__file__).resolve().parents[2]
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'


@dataclass
class Case:
    config: dict[str, Any]
    folder: Path
    cache: Path
    threads: int = 1

    @property
    def job(self) -> Job:
        return Job(
            name="corpus",
            kind="corpus",
            config={"kind": "corpus", **self.config},
            folder=self.folder / "stage",
            recipe_folder=self.folder,
            project=PROJECT,
            threads=self.threads,
        )

    def command(self) -> tuple[tuple[str, ...], dict[str, str]]:
        KIND.engine(self.config).resume(self.job)
        launch = KIND.engine(self.config).prepare(self.job)
        self.job.folder.mkdir(exist_ok=True, parents=True)
        for name, text in launch.files.items():
            (self.job.folder / name).write_text(text, encoding="utf-8")
        env = {k: v for k, v in os.environ.items() if k not in ("RESIDENCY_MIRROR", "NCBI_API_KEY")}
        return launch.argv, {**env, "RESIDENCY_CACHE": str(self.cache), **launch.env}

    def run(self, *, preexec: Any = None, **env: str) -> subprocess.CompletedProcess[str]:
        argv, base = self.command()
        return subprocess.run(
            argv,
            cwd=self.job.folder,
            env={**base, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=preexec,
        )

    def made(self, **env: str) -> Corpus:
        done = self.run(**env)
        assert done.returncode == 0, done.stdout + done.stderr
        self.verify()
        return open_corpus(self.job.outputs / "corpus")

    def verify(self) -> Verified:
        return KIND.engine(self.config).verify(self.job)

    def error(self) -> str:
        found = json.loads((self.job.folder / "error.json").read_text())
        return f"{found['message']} ({found['hint']})"


def record(
    pmid: int, title: str = "", *, version: int = 1, abstract: str = "It is so.", lang: str = "eng"
) -> str:
    text = f"<Abstract><AbstractText>{abstract}</AbstractText></Abstract>" if abstract else ""
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="{version}">{pmid}</PMID><Article>'
        f"<Journal><JournalIssue><PubDate><Year>2020</Year></PubDate></JournalIssue><Title>J</Title></Journal>"
        f"<ArticleTitle>{title or f'About {pmid}'}</ArticleTitle>{text}<Language>{lang}</Language>"
        "</Article></MedlineCitation></PubmedArticle>"
    )


def deleted(*pmids: int) -> str:
    return "<DeleteCitation>" + "".join(f'<PMID Version="1">{p}</PMID>' for p in pmids) + "</DeleteCitation>"


def write(path: Path, *parts: str, md5: bool | str = True) -> Path:
    """A gzipped PubMed file, with its MD5 beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress((HEAD + "\n".join(parts) + "\n</PubmedArticleSet>\n").encode()))
    if md5:
        digest = md5 if isinstance(md5, str) else hashlib.md5(path.read_bytes()).hexdigest()
        path.with_name(path.name + ".md5").write_text(f"MD5({path.name})= {digest}\n")
    return path
