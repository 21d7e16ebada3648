"""Building Kubernetes from source: version and progress."""

import pytest

from tools.cluster.errors import ClusterError
from tools.cluster.kubernetes_build import SOURCE, is_package, link_flags, progress, required_version

GO_MOD = """\
require (
	k8s.io/api v0.37.2
	k8s.io/kubernetes v1.37.2
)
replace (
	k8s.io/kubernetes-extras => k8s.io/kubernetes-extras v0.1.0
)
"""


def test_the_version_is_the_one_that_go_mod_requires() -> None:
    """The version is read from go.mod."""
    assert required_version(GO_MOD, "k8s.io/kubernetes") == "v1.37.2"


def test_a_go_mod_without_the_module_is_an_error() -> None:
    """A go.mod without the module is an error, even with one of a similar name."""
    with pytest.raises(ClusterError):
        required_version(GO_MOD, "k8s.io/kube")


def test_the_staging_modules_are_of_the_same_release() -> None:
    """The staging modules have the version of Kubernetes: v0.N.P for v1.N.P."""
    go_mod = (SOURCE / "go.mod").read_text()
    version = required_version(go_mod, "k8s.io/kubernetes")
    replaced = [line.split() for line in go_mod.splitlines() if "=>" in line]
    assert len(replaced) > 30
    assert {words[-1] for words in replaced} == {version.replace("v1.", "v0.", 1)}


def test_the_programs_are_told_their_version() -> None:
    """Linker flags set the version, without which kubeadm does not work."""
    flags = link_flags("v1.37.2")
    assert "-X=k8s.io/component-base/version.gitVersion=v1.37.2" in flags
    assert "-X=k8s.io/component-base/version.gitMinor=37" in flags


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("k8s.io/api/core/v1", True),
        ("gopkg.in/yaml.v3", True),
        ("fmt", True),
        ("go: downloading k8s.io/api v0.37.2", False),
        ("# k8s.io/kubernetes/pkg/apis/core", False),
        ("pkg/x.go:3:2: undefined: y", False),
        ("", False),
    ],
)
def test_packages_are_told_from_what_else_go_prints(line: str, package: bool) -> None:
    """Only finished packages count as progress."""
    assert is_package(line) is package


def test_progress_never_exceeds_the_whole() -> None:
    """Progress is limited to the total, since packages for two platforms count twice."""
    assert progress(1500, 3000) == "1500 of 3000 packages (50 %)"
    assert progress(3001, 3000) == "3000 of 3000 packages (100 %)"
