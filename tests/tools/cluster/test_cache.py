"""The build cache: names are hashes of the inputs, and entries are complete."""

from pathlib import Path

import pytest

from tools.cluster.cache import digest, digest_files, draft, drafts, files_below


def test_a_digest_tells_where_a_part_ends() -> None:
    """Moving a letter between parts changes the digest."""
    assert digest("ab", "c") != digest("a", "bc")


def test_a_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    """The digest depends neither on the root nor on the order of names."""
    for root in (tmp_path / "one", tmp_path / "two"):
        (root / "sub").mkdir(parents=True)
        (root / "a").write_text("A")
        (root / "sub" / "b").write_text("B")
    assert digest_files(tmp_path / "one", ["a", "sub/b"]) == digest_files(tmp_path / "two", ["sub/b", "a"])


@pytest.mark.parametrize("change", ["content", "name", "mode", "link"])
def test_a_change_that_a_build_can_see_changes_the_digest(tmp_path: Path, change: str) -> None:
    """Content, names, executable bits and links change the digest."""
    file = tmp_path / "file"
    file.write_text("text")
    before = digest_files(tmp_path, files_below(tmp_path))
    match change:
        case "content":
            file.write_text("other")
        case "name":
            file.rename(tmp_path / "renamed")
        case "mode":
            file.chmod(0o755)
        case "link":
            file.unlink()
            file.symlink_to("text")
    assert digest_files(tmp_path, files_below(tmp_path)) != before


def test_a_draft_becomes_its_target_when_it_is_finished(tmp_path: Path) -> None:
    """The target appears complete, at the end of the build."""
    target = tmp_path / "cache" / "thing"
    with draft(target) as path:
        path.mkdir()
        (path / "part").write_text("part")
        assert not target.exists()
        assert drafts(tmp_path / "cache") == [path]
    assert (target / "part").read_text() == "part"
    assert drafts(tmp_path / "cache") == []


def test_a_failed_draft_leaves_nothing(tmp_path: Path) -> None:
    """A failed build publishes and leaves nothing."""

    def build() -> None:
        with draft(tmp_path / "thing") as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_found(tmp_path: Path) -> None:
    """Temporary paths of other processes are found; finished entries are not among them."""
    (tmp_path / "rootfs").mkdir()
    left = {tmp_path / "cluster.json.draft-1", tmp_path / "rootfs" / "node.tar.draft-2"}
    for path in (*left, tmp_path / "rootfs" / "node.tar"):
        path.touch()
    assert set(drafts(tmp_path)) == left
