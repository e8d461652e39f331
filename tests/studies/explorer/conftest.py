"""Subjects and their pages, made once."""

from pathlib import Path

import pytest

import thresher
from tests.studies.explorer import cases
from thresher.studies.explorer.explore import write_explorer
from thresher.studies.explorer.subject import Subject


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    return cases.hostile_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return cases.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def matrix(tmp_path_factory):
    return cases.many(tmp_path_factory.mktemp("few"), 300)


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    return cases.many(tmp_path_factory.mktemp("many"))


def address(subject, folder: Path) -> str:
    """The subject's page as a browser opens it from a mail."""
    write_explorer(subject, folder / "explorer.html")
    return (folder / "explorer.html").as_uri()


@pytest.fixture(scope="session")
def text_page(text, tmp_path_factory):
    return address(text, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def long_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return address(cases.long_text(folder), folder)


@pytest.fixture(scope="session")
def self_page(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("self")
    models = list(pictures.models)
    scores = thresher.self_influence(pictures.pool.artifact, models=models, k=16, out=folder / "scores")
    return address(Subject(scores=scores.artifact, pool=pictures.pool, models=models), folder)


@pytest.fixture(scope="session")
def picture_page(pictures, tmp_path_factory):
    return address(pictures, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def many_page(many, tmp_path_factory):
    return address(many, tmp_path_factory.mktemp("page"))
