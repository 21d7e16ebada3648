"""Choosing the node image within seconds."""

from dataclasses import replace

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import engine, node_image, pull, versions
from tools.cluster.errors import ClusterError


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record builds from source instead of running them."""
    built: list[str] = []
    monkeypatch.setattr(node_image._Recipe, "build", lambda recipe, *_: built.append(recipe.reference))
    return built


def provided(host: Host, **chosen: str) -> str:
    settings = replace(host.settings, **chosen)  # type: ignore[arg-type]
    return node_image.provide(engine.require(settings, host.console), settings, host.console)


def test_the_stock_image_is_pulled(fake_host: Host) -> None:
    """The stock image is pulled once."""
    assert provided(fake_host) == provided(fake_host) == versions.STOCK_NODE_IMAGE
    assert len(fake_host.calls("docker pull")) == 1


def test_without_a_registry_one_is_built(fake_host: Host, builds: list[str]) -> None:
    """Without a registry an image is built, with the reason; later runs do not try to pull."""
    fake_host.change(registry="lookup registry.example.com: no such host")
    image = provided(fake_host)
    assert builds == [image]
    assert "cannot be pulled: lookup registry.example.com: no such host" in fake_host.said
    fake_host.change(images=[image])
    assert provided(fake_host) == image
    assert builds == [image]
    assert len(fake_host.calls("docker pull")) == 1


def test_a_registry_that_does_not_answer_is_given_up(
    fake_host: Host, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that does not respond is given up quickly."""
    monkeypatch.setattr(pull, "_PATIENCE", 0.5)
    fake_host.change(registry="stalls")
    assert builds == [provided(fake_host)]
    assert "no registry answered within 0.5 s" in fake_host.said


def test_the_image_that_the_user_names_is_the_one(fake_host: Host, builds: list[str]) -> None:
    """The user's image is pulled if missing, and never replaced by another."""
    assert provided(fake_host, node_image="example.com/node:1") == "example.com/node:1"
    fake_host.change(registry="denied")
    with pytest.raises(ClusterError, match="denied"):
        provided(fake_host, node_image="example.com/node:2")
    assert builds == []
