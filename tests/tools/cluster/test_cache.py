"""What is built is named by what it is built from, and appears whole or not at all."""

from pathlib import Path

import pytest

from tools.cluster.cache import digest, digest_files, draft, drafts, files_below


def test_a_digest_tells_where_a_part_ends() -> None:
    """Moving a letter from one part to the next is another content."""
    assert digest("ab", "c") != digest("a", "bc")


def test_a_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    """The same files below another root, named in another order, have the same digest."""
    for root in (tmp_path / "one", tmp_path / "two"):
        (root / "sub").mkdir(parents=True)
        (root / "a").write_text("A")
        (root / "sub" / "b").write_text("B")
    assert digest_files(tmp_path / "one", ["a", "sub/b"]) == digest_files(tmp_path / "two", ["sub/b", "a"])


@pytest.mark.parametrize("change", ["content", "name", "mode", "link"])
def test_a_change_that_a_build_can_see_changes_the_digest(tmp_path: Path, change: str) -> None:
    """Content, names, the executable bit and links all count."""
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
    """The target is not there while it is being built, and is there as a whole afterwards."""
    target = tmp_path / "cache" / "thing"
    with draft(target) as path:
        path.mkdir()
        (path / "part").write_text("part")
        assert not target.exists()
        assert drafts(tmp_path / "cache") == [path]
    assert (target / "part").read_text() == "part"
    assert drafts(tmp_path / "cache") == []


def test_a_failed_draft_leaves_nothing(tmp_path: Path) -> None:
    """A build that fails publishes nothing, and what it had written is gone."""

    def build() -> None:
        with draft(tmp_path / "thing") as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_found(tmp_path: Path) -> None:
    """Drafts of other processes are listed, in the cache and in its folders; finished things are not."""
    (tmp_path / "rootfs").mkdir()
    left = {tmp_path / "cluster.json.draft-1", tmp_path / "rootfs" / "node.tar.draft-2"}
    for path in (*left, tmp_path / "rootfs" / "node.tar"):
        path.touch()
    assert set(drafts(tmp_path)) == left
