"""Services from a recipe's text to the plan: names, needs, fingerprints, what is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from residency.plan.build import Selection, build
from residency.plan.check import Checked, check
from residency.plan.hashing import FileHashes
from residency.plan.model import Plan
from residency.plan.services import address, filled
from residency.report.plan_text import plan_text
from residency.run.store import Store

SERVER = "{kind: serve, engine: retriever, retriever: {index: INDEX}}"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"documents_sha256": "1"}')
    return folder


def checked(tmp_path: Path, **files: str) -> Checked:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("INDEX", str(tmp_path / "index")))
    found = check(tmp_path / "recipe.yaml")
    assert [f"{d.span.line}: {d.code}: {d.message}" for d in found.found] == []
    return found


def planned(tmp_path: Path, recipe: str, only: str | None = None, **files: str) -> Plan:
    found = checked(tmp_path, recipe=recipe, **files)
    assert found.recipe is not None
    hashes = FileHashes(tmp_path / "hashes.json")
    return build(
        found.recipe,
        found.stages,
        store=Store(tmp_path / "runs"),
        hashes=hashes,
        selection=Selection(only=only),
    )


ONE = f"""
kind: export
model: org/model
services:
  r: {SERVER}
env: {{R: "${{services.r.url}}/x", P: "${{services.r.port}}"}}
"""


def test_one_stage_with_a_service(tmp_path: Path, index: Path) -> None:
    plan = planned(tmp_path, ONE)
    (stage,), (service,) = plan.stages, plan.services
    assert stage.services == ("r",)
    assert plan.to_serve == [service]
    assert "services" not in stage.job.config
    assert stage.job.config["env"]["R"] == "⟦services.r.url⟧/x"
    job = filled(stage.job, {"r": "http://127.0.0.1:4123"})
    assert job.config["env"] == {"R": "http://127.0.0.1:4123/x", "P": "4123"}
    shown = plan_text(plan, 100)
    assert "service r: serve by retriever" in shown
    assert plan.to_json()["services"][0]["used_by"] == ["export"]


def test_the_fingerprint_has_the_service_and_not_how_it_runs(tmp_path: Path, index: Path) -> None:
    first = planned(tmp_path, ONE).stages[0]
    assert any(part.startswith("service.r.") for part in first.parts)

    def same(old: str, new: str) -> bool:
        return planned(tmp_path, ONE.replace(old, new)).stages[0].fingerprint == first.fingerprint

    assert same("engine: retriever,", "engine: retriever, port: 8123, restarts: 9, host: localhost,")
    assert same("index: INDEX", "index: INDEX, batch: 8, queue: 9, max_topk: 50")
    assert not same("index: INDEX", "index: INDEX, topk: 5")
    (index / "manifest.json").write_text('{"documents_sha256": "2"}')
    assert planned(tmp_path, ONE).stages[0].fingerprint != first.fingerprint


EXTERNAL = 'kind: export\nmodel: org/model\nservices: {r: {url: "URL/"}}\nenv: {R: "${services.r.host}"}\n'


def test_an_external_one_counts_by_its_address(tmp_path: Path) -> None:
    first = planned(tmp_path, EXTERNAL.replace("URL", "http://10.0.0.1:8000"))
    other = planned(tmp_path, EXTERNAL.replace("URL", "https://10.0.0.2"))
    assert first.stages[0].fingerprint != other.stages[0].fingerprint
    assert first.stages[0].job.config["env"] == {"R": "10.0.0.1"}
    assert "runs already at http://10.0.0.1:8000" in plan_text(first, 100)
    assert address("https://10.0.0.2", "port") == "443"


PIPELINE = """
kind: pipeline
services:
  r: {kind: serve, engine: retriever, retriever: {index: "${stages.made.outputs.model}"}}
stages:
  last: {kind: export, model: org/last, env: {R: "${services.r.url}"}}
  made: {kind: export, model: org/made}
  child: {recipe: child.yaml, with: {url: "${services.r.url}"}}
"""
CHILD = """
kind: export
params: {url: none}
model: org/child
services: {r: {recipe: server.yaml}}
env: {OUTER: "${params.url}", OWN: "${services.r.url}"}
"""
FILE = "kind: serve\nengine: retriever\nretriever: {index: INDEX}\n"


def test_a_pipeline_and_the_services_of_its_stages(tmp_path: Path, index: Path) -> None:
    plan = planned(tmp_path, PIPELINE, child=CHILD, server=FILE)
    assert [stage.name for stage in plan.stages] == ["made", "last", "child"]
    services = {service.name: service for service in plan.services}
    assert set(services) == {"r", "child/r"}
    assert plan.stage("last").services == ("r",)
    assert set(plan.stage("child").services) == {"r", "child/r"}
    assert plan.stage("child").job.config["env"] == {
        "OUTER": "⟦services.r.url⟧",
        "OWN": "⟦services.child/r.url⟧",
    }
    assert services["r"].needs == ("made",)
    assert plan.stage("last").needs == ("made",)
    where = services["r"].job.config["retriever"]["index"]
    assert where == str(plan.stage("made").job.outputs / "model")
    before = plan.stage("last").fingerprint
    changed = PIPELINE.replace("org/made", "org/other")
    assert planned(tmp_path, changed, child=CHILD, server=FILE).stage("last").fingerprint != before


def test_a_stage_of_the_pipelines_own_file_with_a_service_of_its_own(tmp_path: Path, index: Path) -> None:
    recipe = f"""
kind: pipeline
stages:
  a:
    kind: export
    model: org/a
    services: {{r: {SERVER}}}
    env: {{R: "${{services.r.url}}"}}
"""
    plan = planned(tmp_path, recipe)
    assert plan.stage("a").services == ("a/r",)


def test_what_only_stages_that_are_left_out_use_is_not_started(tmp_path: Path, index: Path) -> None:
    plan = planned(tmp_path, PIPELINE, "made", child=CHILD, server=FILE)
    assert plan.to_serve == []
    assert "not needed now" in plan_text(plan, 100)
    assert json.dumps(plan.to_json())


def test_a_service_that_uses_a_service(tmp_path: Path, index: Path) -> None:
    recipe = f"""
kind: export
model: org/model
services:
  top: {SERVER[:-1]}, env: {{UP: "${{services.base.url}}"}}}}
  base: {SERVER}
env: {{R: "${{services.top.url}}"}}
"""
    plan = planned(tmp_path, recipe)
    assert [service.name for service in plan.services] == ["base", "top"]
    assert plan.stages[0].services == ("base", "top")
    assert plan.services[1].uses == ("base",)
